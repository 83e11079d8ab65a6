#ifndef CAFFE_PIXEL_LOSS_LAYER_HPP_
#define CAFFE_PIXEL_LOSS_LAYER_HPP_

#include <string>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/loss_layer.hpp"

namespace caffe {

/**
 * @brief What the sigmoid losses over pixels share: the parameters in
 *        loss_param, the checks of shapes and labels, and the normalizer.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits @f$ x @f$, any number of
 *      spatial axes
 *   -# the same shape: labels 0, 1 or loss_param.ignore_label
 *
 * loss_param.normalization names the divisor, at least 1: FULL all elements,
 * VALID those not ignored, BATCH_SIZE (the default here, as in
 * SigmoidCrossEntropyLoss) N, NONE 1.
 */
template <typename Dtype>
class PixelLossLayer : public LossLayer<Dtype> {
 public:
  explicit PixelLossLayer(const LayerParameter& param)
      : LossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  /// @brief The divisor of the loss, given the number of ignored elements.
  Dtype Normalizer(const Blob<Dtype>& logits, int ignored) const;
  /// @brief Stops if index is not -1: names the label there and its likely
  ///        cause.
  void CheckLabel(const Blob<Dtype>& label, int index) const;
  /// @brief Stops unless backpropagation goes to the logits alone.
  void CheckPropagateDown(const vector<bool>& propagate_down) const;
  /// @brief "Type layer 'name'", for messages.
  string Title() const;

  bool has_ignore_label_;
  int ignore_label_;
  LossParameter_NormalizationMode normalization_;
};

}  // namespace caffe

#endif  // CAFFE_PIXEL_LOSS_LAYER_HPP_
