#ifndef CAFFE_ONEDNN_POOLING_LAYER_HPP_
#define CAFFE_ONEDNN_POOLING_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/pooling_layer.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {

/// @brief Pooling through oneDNN on the CPU; Caffe handles stochastic pooling
///        and a mask as second top.
template <typename Dtype>
class OnednnPoolingLayer : public PoolingLayer<Dtype> {
 public:
  explicit OnednnPoolingLayer(const LayerParameter& param)
      : PoolingLayer<Dtype>(param), ours_(false) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

 private:
  /// @brief How far the last windows reach beyond the padding.
  void HowFarOver(int* over_h, int* over_w) const;
  /// @brief Whether oneDNN can do it.
  bool Suits(const Blob<Dtype>& bottom, const vector<Blob<Dtype>*>& top) const;
  /// @brief Prepares both passes for data in this layout.
  void Prepare(const randrop::onednn::Layout& layout,
      const vector<int>& bottom_shape, const vector<int>& top_shape);

  /// The last forward pass: whether it was ours, its layout and its shapes.
  bool ours_;
  randrop::onednn::Layout layout_;
  vector<int> bottom_shape_, top_shape_;
  dnnl::pooling_forward::primitive_desc forward_;
  dnnl::pooling_backward::primitive_desc backward_;
  dnnl::memory workspace_;
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_POOLING_LAYER_HPP_
