#ifndef CAFFE_SOFTMAX_TOP_K_LOSS_LAYER_HPP_
#define CAFFE_SOFTMAX_TOP_K_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/cross_entropy.hpp"
#include "caffe/randrop/losses/top_k.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {

/**
 * @brief Softmax cross-entropy of the hardest pixels only: the mean over the
 *        randrop_topk_param.k_percent (10) of all pixels of the batch with the
 *        highest cross-entropy; ties are broken by index (Pohlen et al., CVPR
 *        2017). The gradient treats the selection as constant.
 *
 * loss_param.normalization defaults to VALID, which here divides by the number
 * of selected pixels.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits @f$ x @f$
 *   -# @f$ (N \times 1 \times ...) @f$ or @f$ (N \times ...) @f$: classes 0 to
 *      C - 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1 or 2)
 *   -# @f$ (1) @f$, 0 axes: the loss
 *   -# the shape of the label, optional: 1 selected, 0 left out, -1 ignored
 */
template <typename Dtype>
class SoftmaxTopKLossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit SoftmaxTopKLossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline int ExactNumTopBlobs() const { return -1; }
  virtual inline int MinTopBlobs() const { return 1; }
  virtual inline int MaxTopBlobs() const { return 2; }

 protected:
  RANDROP_DECLARE_PASSES();

  virtual const char* OwnType() const { return "SoftmaxTopKLoss"; }
  virtual bool IsSoftmax() const { return true; }

  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  double k_percent_;
  randrop::ScratchMemory cross_entropy_, selection_, sums_, wanted_;
};

template <typename Dtype>
template <typename Device>
void SoftmaxTopKLossLayer<Dtype>::ForwardOn(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int pixels = this->labels_;
  Dtype* ce = cross_entropy_.Get<Device, Dtype>(pixels);
  unsigned char* selection = selection_.Get<Device, unsigned char>(pixels);
  randrop::PixelSums* sums = sums_.Get<Device, randrop::PixelSums>(2);
  int* wanted = wanted_.Get<Device, int>(1);

  const randrop::SoftmaxCrossEntropy<Dtype> compute = {
      this->template Input<Device>(bottom), ce, selection};
  Device::ReduceAll(this->images_, this->area_, compute, sums, &this->loops_);
  const randrop::WantShareOfPixels want = {sums, k_percent_, wanted};
  Device::ForEach(1, want);
  const randrop::HardestPixels<Dtype> hardest = {ce, selection};
  Device::template Select<typename randrop::OrderedKey<Dtype>::Type>(
      1, pixels, hardest, wanted, &this->loops_);
  const randrop::SumHardestPixels<Dtype> sum = {ce, selection};
  Device::Reduce(1, pixels, sum, sums + 1, &this->loops_);
  if (top.size() > 1) {
    const randrop::WriteMask<Dtype> write = {
        selection, Device::MutableData(top[1])};
    Device::ForEach(pixels, write);
  }
  const randrop::CarryBadLabel carry = {sums};
  Device::ForEach(1, carry);
  const randrop::PixelSums total = Device::Read(sums + 1);
  this->CheckLabel(*bottom[1], total.bad_label);
  this->WriteLoss(total.loss, total.taking_part, top[0]);
}

template <typename Dtype>
template <typename Device>
void SoftmaxTopKLossLayer<Dtype>::BackwardOn(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!this->GoesDown(propagate_down)) {
    return;
  }
  const randrop::SoftmaxTopKDiff<Dtype> write = {
      this->template Input<Device>(bottom),
      selection_.Get<Device, unsigned char>(this->labels_),
      this->DiffScale(*top[0]), Device::MutableDiff(bottom[0])};
  Device::ForEach(this->images_, this->area_, write);
}

}  // namespace caffe

#endif  // CAFFE_SOFTMAX_TOP_K_LOSS_LAYER_HPP_
