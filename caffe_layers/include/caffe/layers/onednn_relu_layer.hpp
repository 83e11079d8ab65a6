#ifndef CAFFE_ONEDNN_RELU_LAYER_HPP_
#define CAFFE_ONEDNN_RELU_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/relu_layer.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {

/// @brief ReLU on the CPU for data in oneDNN's layouts.
template <typename Dtype>
class OnednnReLULayer : public ReLULayer<Dtype> {
 public:
  explicit OnednnReLULayer(const LayerParameter& param)
      : ReLULayer<Dtype>(param), on_norm_(false) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

 private:
  /// Whether the last forward pass was fused with a batch normalisation.
  bool on_norm_;
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_RELU_LAYER_HPP_
