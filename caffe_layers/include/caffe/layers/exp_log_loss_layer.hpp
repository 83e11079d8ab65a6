#ifndef CAFFE_EXP_LOG_LOSS_LAYER_HPP_
#define CAFFE_EXP_LOG_LOSS_LAYER_HPP_

#include <algorithm>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/dice.hpp"
#include "caffe/randrop/losses/exp_log.hpp"

namespace caffe {

/**
 * @brief Exponential logarithmic loss (Wong et al., MICCAI 2018,
 *        arXiv:1809.00076), for images in two and three dimensions:
 * @f[ E = w_d \frac{1}{C} \sum_i (-\ln D_i)^{\gamma_d} +
 *     w_c \frac{1}{M} \sum_x w_l (-\ln p_l(x))^{\gamma_c}, \quad
 *     D_i = \frac{2 \sum p_i y_i + \epsilon}{\sum p_i + \sum y_i + \epsilon},
 *     \quad w_l = \sqrt{\sum_k f_k / f_l} @f]
 * over C classes and M pixels that are not ignored, with softmax p. Unless
 * batch is set, the first sum is averaged over the images with such pixels.
 * randrop_explog_param sets weight_dice (0.8), weight_cross (0.2), gamma_dice
 * and gamma_cross (0.3), epsilon (1) and label_frequency (f; if empty, counted
 * in each batch). The logarithm is taken of each class's Dice. If a gamma is
 * below 1, -ln is clamped to at least 1e-7, with derivative 0 below that.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits
 *   -# @f$ (N \times 1 \times ...) @f$ or @f$ (N \times ...) @f$: classes 0 to
 *      C - 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1)
 *   -# @f$ (1) @f$, 0 axes: the loss
 */
template <typename Dtype>
class ExpLogLossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit ExpLogLossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  RANDROP_DECLARE_PASSES();

  virtual const char* OwnType() const { return "ExpLogLoss"; }
  virtual bool IsSoftmax() const { return true; }

  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  RandropExpLogParameter param_;
  Blob<double> frequency_;
  Blob<Dtype> class_weights_;
  double cross_;
  randrop::ScratchMemory sums_, tally_, terms_, total_;
};

template <typename Dtype>
template <typename Device>
void ExpLogLossLayer<Dtype>::ForwardOn(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int images = this->images_, classes = this->classes_;
  const int groups = images * classes;
  randrop::ExpLogSums* sums = sums_.Get<Device, randrop::ExpLogSums>(groups);
  const randrop::SumExpLog<Dtype> sum = {this->template Input<Device>(bottom),
      param_.gamma_cross()};
  Device::ReduceClasses(images, classes, this->area_, sum, sums,
      &this->loops_);
  randrop::ExpLogTerm<Dtype>* terms =
      terms_.Get<Device, randrop::ExpLogTerm<Dtype> >(groups);
  const randrop::CountExpLogImages count = {sums, classes};
  randrop::GroupTally* tally = tally_.Get<Device, randrop::GroupTally>(1);
  Device::Reduce(1, images, count, tally, &this->loops_);
  const randrop::WriteExpLogTerm<Dtype> write = {sums, tally, images, classes,
      param_.batch(), param_.epsilon(), param_.gamma_dice(),
      param_.weight_dice(), terms};
  Device::ForEach(groups, write);
  const randrop::WriteClassWeight<Dtype> weigh = {
      frequency_.count() > 0 ? Device::Data(frequency_) : NULL, sums, images,
      classes, Device::MutableData(&class_weights_)};
  Device::ForEach(classes, weigh);
  const randrop::SumExpLogTerms<Dtype> sum_terms = {sums, terms,
      Device::Data(class_weights_), classes};
  randrop::ExpLogTotal* total = total_.Get<Device, randrop::ExpLogTotal>(1);
  Device::Reduce(1, groups, sum_terms, total, &this->loops_);
  const randrop::ExpLogTotal found = Device::Read(total);
  this->CheckLabel(*bottom[1], found.bad_label);
  cross_ = param_.weight_cross() / std::max(1, found.pixels);
  top[0]->mutable_cpu_data()[0] =
      found.dice + cross_ * randrop::AtMostFinite<double>(found.cross);
}

template <typename Dtype>
template <typename Device>
void ExpLogLossLayer<Dtype>::BackwardOn(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!this->GoesDown(propagate_down)) {
    return;
  }
  const randrop::WriteExpLogDiff<Dtype> write = {
      this->template Input<Device>(bottom),
      terms_.Get<Device, randrop::ExpLogTerm<Dtype> >(
          this->images_ * this->classes_),
      Device::Data(class_weights_), param_.gamma_cross(), cross_,
      top[0]->cpu_diff()[0], Device::MutableDiff(bottom[0])};
  Device::ForEach(this->images_, this->area_, write);
}

}  // namespace caffe

#endif  // CAFFE_EXP_LOG_LOSS_LAYER_HPP_
