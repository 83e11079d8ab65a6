#ifndef CAFFE_ONEDNN_SCALE_LAYER_HPP_
#define CAFFE_ONEDNN_SCALE_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/scale_layer.hpp"
#include "caffe/randrop/engine/deferred.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {

/**
 * @brief Scales channels by learnt factors, with or without a bias, in Caffe's
 *        layout or in oneDNN's blocked ones; Caffe handles other scales. oneDNN
 *        itself has no such operation.
 */
template <typename Dtype>
class OnednnScaleLayer : public ScaleLayer<Dtype> {
 public:
  explicit OnednnScaleLayer(const LayerParameter& param)
      : ScaleLayer<Dtype>(param) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

 private:
  /// @brief Whether it scales channels.
  bool Suits(const vector<Blob<Dtype>*>& bottom) const;

  void BackwardOfNorm(Blob<float>* blob, Blob<float>* factor,
      Blob<float>* offset);

  randrop::onednn::RowLayout layout_;
  randrop::onednn::Keeper keeper_;
  /// The batch normalisation that the last forward pass was fused with, if any.
  shared_ptr<randrop::onednn::DeferredNorm> norm_;
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_SCALE_LAYER_HPP_
