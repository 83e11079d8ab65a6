#ifndef CAFFE_ONEDNN_ELTWISE_LAYER_HPP_
#define CAFFE_ONEDNN_ELTWISE_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/eltwise_layer.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {

/// @brief Eltwise through oneDNN on the CPU if it is a sum; else Caffe's.
template <typename Dtype>
class OnednnEltwiseLayer : public EltwiseLayer<Dtype> {
 public:
  explicit OnednnEltwiseLayer(const LayerParameter& param)
      : EltwiseLayer<Dtype>(param) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

 private:
  /// @brief Whether oneDNN can do it.
  bool Suits(const vector<Blob<Dtype>*>& bottom) const;
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_ELTWISE_LAYER_HPP_
