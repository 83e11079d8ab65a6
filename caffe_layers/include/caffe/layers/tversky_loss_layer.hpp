#ifndef CAFFE_TVERSKY_LOSS_LAYER_HPP_
#define CAFFE_TVERSKY_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/tversky.hpp"

namespace caffe {

/**
 * @brief Tversky loss: the mean over images and classes of
 *        @f$ (1 - T)^\gamma @f$ with
 * @f[ T = \frac{2 \sum p y + s}{2 \sum p y + 2 \alpha \sum p (1 - y) +
 *     2 \beta \sum (1 - p) y + s} @f]
 * (Salehi et al., MLMI 2017; with @f$ \gamma @f$ Abraham and Khan, ISBI 2019,
 * whose exponent is 1 over their gamma). randrop_tversky_param sets alpha
 * (0.3), the weight of false positives, beta (0.7), that of false negatives,
 * gamma (1), smooth @f$ s @f$ (1), activation, include_background and batch;
 * the last three are as in SoftDiceLoss. With alpha = beta = 0.5 and gamma = 1
 * it equals SoftDiceLoss without squares.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits
 *   -# SOFTMAX: @f$ (N \times 1 \times ...) @f$ or @f$ (N \times ...) @f$,
 *      classes 0 to C - 1 or loss_param.ignore_label; SIGMOID: the shape of the
 *      logits, 0, 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1)
 *   -# @f$ (1) @f$, 0 axes: the loss
 */
template <typename Dtype>
class TverskyLossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit TverskyLossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  RANDROP_DECLARE_PASSES();

  virtual const char* OwnType() const { return "TverskyLoss"; }
  virtual bool IsSoftmax() const {
    return param_.activation() == RandropDiceParameter_Activation_SOFTMAX;
  }

  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
    typedef randrop::TverskySums Sums;
    typedef randrop::ExpLogTerm<Dtype> Term;
    const int groups = this->images_ * this->classes_;
    Sums* sums = sums_.Get<Device, Sums>(groups);
    if (IsSoftmax()) {
      const randrop::SumSoftmaxTversky<Dtype> sum = {
          this->template Input<Device>(bottom)};
      Device::ReduceClasses(this->images_, this->classes_, this->area_, sum,
          sums, &this->loops_);
    } else {
      const randrop::SumSigmoidTversky<Dtype> sum = {
          this->template Input<Device>(bottom)};
      Device::Reduce(groups, this->area_, sum, sums, &this->loops_);
    }
    const randrop::ClassGroups<Sums> of = {sums, this->images_, this->classes_,
        param_.batch(), param_.include_background() ? 0 : 1};
    const randrop::CountClassGroups<Sums> count = {of};
    randrop::GroupTally* tally = tally_.Get<Device, randrop::GroupTally>(1);
    Device::Reduce(1, groups, count, tally, &this->loops_);
    Term* terms = terms_.Get<Device, Term>(groups);
    const randrop::WriteTverskyTerm<Dtype> write = {of, tally, param_.alpha(),
        param_.beta(), param_.gamma(), param_.smooth(), terms};
    Device::ForEach(groups, write);
    const randrop::SumGroupTerms<Sums, Term> sum_terms = {sums, terms};
    randrop::GroupedLoss* total = total_.Get<Device, randrop::GroupedLoss>(1);
    Device::Reduce(1, groups, sum_terms, total, &this->loops_);
    const randrop::GroupedLoss found = Device::Read(total);
    this->CheckLabel(*bottom[1], found.bad_label);
    top[0]->mutable_cpu_data()[0] = found.loss;
  }
  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
    if (!this->GoesDown(propagate_down)) {
      return;
    }
    const int groups = this->images_ * this->classes_;
    const randrop::ExpLogTerm<Dtype>* terms =
        terms_.Get<Device, randrop::ExpLogTerm<Dtype> >(groups);
    const Dtype scale = top[0]->cpu_diff()[0];
    Dtype* diff = Device::MutableDiff(bottom[0]);
    if (IsSoftmax()) {
      const randrop::WriteSoftmaxTverskyDiff<Dtype> write = {
          this->template Input<Device>(bottom), terms, scale, diff};
      Device::ForEach(this->images_, this->area_, write);
    } else {
      const randrop::WriteSigmoidTverskyDiff<Dtype> write = {
          this->template Input<Device>(bottom), terms, scale, diff};
      Device::ForEach(groups, this->area_, write);
    }
  }

  RandropTverskyParameter param_;
  randrop::ScratchMemory sums_, tally_, terms_, total_;
};

}  // namespace caffe

#endif  // CAFFE_TVERSKY_LOSS_LAYER_HPP_
