#ifndef CAFFE_SIGMOID_FOCAL_CE_LOSS_LAYER_HPP_
#define CAFFE_SIGMOID_FOCAL_CE_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/focal.hpp"

namespace caffe {

/**
 * @brief Sigmoid focal loss (Lin et al., ICCV 2017, arXiv:1708.02002),
 * @f[ E = \frac{1}{Z} \sum -\alpha_t (1 - p_t)^\gamma \log p_t @f]
 * with @f$ p_t = p = \sigma(x) @f$ and @f$ \alpha_t = \alpha @f$ for positives,
 * @f$ 1 - p @f$ and @f$ 1 - \alpha @f$ for negatives; randrop_focal_param sets
 * gamma (2), alpha (0.25) and alpha_mode: FIXED, or
 * @f$ \alpha = N_- / (N_+ + N_-) @f$ counted PER_IMAGE or PER_CHANNEL of each
 * image. The gradient is that of the whole expression.
 *
 * Registered as SigmoidFocalCELoss and, unless Caffe already has a layer of
 * that name, as SigmoidFocalLoss.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits @f$ x @f$
 *   -# the same shape: labels @f$ t @f$, 0, 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1)
 *   -# @f$ (1) @f$, 0 axes: the loss
 */
template <typename Dtype>
class SigmoidFocalCELossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit SigmoidFocalCELossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  RANDROP_DECLARE_PASSES();

  virtual const char* OwnType() const { return "SigmoidFocalCELoss"; }

  template <typename Device>
  randrop::SigmoidFocalInput<Dtype> Input(const vector<Blob<Dtype>*>& bottom) {
    const randrop::SigmoidFocalInput<Dtype> input = {Device::Data(*bottom[0]),
        Device::Data(*bottom[1]), this->has_ignore_label_,
        this->ignore_label_, static_cast<Dtype>(param_.gamma()),
        Device::Data(weights_), group_size_};
    return input;
  }
  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  RandropFocalParameter param_;
  int groups_, group_size_;
  /// (groups x 2): the weights of positives and of negatives.
  Blob<Dtype> weights_;
  randrop::ScratchMemory counts_, sums_;
};

template <typename Dtype>
template <typename Device>
void SigmoidFocalCELossLayer<Dtype>::ForwardOn(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  randrop::ClassCounts* counts = NULL;
  if (param_.alpha_mode() != RandropFocalParameter_AlphaMode_FIXED) {
    counts = counts_.Get<Device, randrop::ClassCounts>(groups_);
    const randrop::CountClasses<Dtype> count = {Input<Device>(bottom)};
    Device::Reduce(groups_, group_size_, count, counts, &this->loops_);
  }
  const randrop::WriteFocalWeights<Dtype> write = {counts, param_.alpha(),
      Device::MutableData(&weights_)};
  Device::ForEach(groups_, write);
  const randrop::SumSigmoidFocal<Dtype> sum = {Input<Device>(bottom)};
  randrop::PixelSums* sums = sums_.Get<Device, randrop::PixelSums>(1);
  Device::ReduceAll(groups_, group_size_, sum, sums, &this->loops_);
  const randrop::PixelSums total = Device::Read(sums);
  this->CheckLabel(*bottom[1], total.bad_label);
  this->WriteLoss(total.loss, total.taking_part, top[0]);
}

template <typename Dtype>
template <typename Device>
void SigmoidFocalCELossLayer<Dtype>::BackwardOn(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!this->GoesDown(propagate_down)) {
    return;
  }
  const randrop::WriteSigmoidFocalDiff<Dtype> write = {Input<Device>(bottom),
      this->DiffScale(*top[0]), Device::MutableDiff(bottom[0])};
  Device::ForEach(groups_, group_size_, write);
}

}  // namespace caffe

#endif  // CAFFE_SIGMOID_FOCAL_CE_LOSS_LAYER_HPP_
