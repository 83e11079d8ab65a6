#ifndef CAFFE_SOFTMAX_FOCAL_CE_LOSS_LAYER_HPP_
#define CAFFE_SOFTMAX_FOCAL_CE_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/focal.hpp"

namespace caffe {

/**
 * @brief Softmax focal loss (Lin et al., ICCV 2017, arXiv:1708.02002),
 * @f[ E = \frac{1}{Z} \sum -\alpha_l (1 - p_l)^\gamma \log p_l @f]
 * with the probability @f$ p_l @f$ of the pixel's class @f$ l @f$;
 * randrop_focal_param sets gamma (2) and class_alpha (one value for each class,
 * one for all, or none for 1). The gradient is that of the whole expression.
 *
 * Registered as SoftmaxFocalCELoss and, unless Caffe already has a layer of
 * that name, as SoftmaxFocalLoss.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits @f$ x @f$
 *   -# @f$ (N \times 1 \times ...) @f$ or @f$ (N \times ...) @f$: classes 0 to
 *      C - 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1)
 *   -# @f$ (1) @f$, 0 axes: the loss
 */
template <typename Dtype>
class SoftmaxFocalCELossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit SoftmaxFocalCELossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  RANDROP_DECLARE_PASSES();

  virtual const char* OwnType() const { return "SoftmaxFocalCELoss"; }
  virtual bool IsSoftmax() const { return true; }

  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
    const randrop::SumSoftmaxFocal<Dtype> sum = {
        this->template Input<Device>(bottom), gamma_, Device::Data(alpha_)};
    randrop::PixelSums* sums = sums_.Get<Device, randrop::PixelSums>(1);
    Device::ReduceAll(this->images_, this->area_, sum, sums, &this->loops_);
    const randrop::PixelSums total = Device::Read(sums);
    this->CheckLabel(*bottom[1], total.bad_label);
    this->WriteLoss(total.loss, total.taking_part, top[0]);
  }
  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
    if (!this->GoesDown(propagate_down)) {
      return;
    }
    const randrop::WriteSoftmaxFocalDiff<Dtype> write = {
        this->template Input<Device>(bottom), gamma_, Device::Data(alpha_),
        this->DiffScale(*top[0]), Device::MutableDiff(bottom[0])};
    Device::ForEach(this->images_, this->area_, write);
  }

  Dtype gamma_;
  Blob<Dtype> alpha_;
  randrop::ScratchMemory sums_;
};

}  // namespace caffe

#endif  // CAFFE_SOFTMAX_FOCAL_CE_LOSS_LAYER_HPP_
