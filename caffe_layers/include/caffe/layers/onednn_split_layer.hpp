#ifndef CAFFE_ONEDNN_SPLIT_LAYER_HPP_
#define CAFFE_ONEDNN_SPLIT_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/split_layer.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {

/// @brief Split. The backward pass adds the diffs through oneDNN on the CPU;
///        the forward pass copies nothing.
template <typename Dtype>
class OnednnSplitLayer : public SplitLayer<Dtype> {
 public:
  explicit OnednnSplitLayer(const LayerParameter& param)
      : SplitLayer<Dtype>(param) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_SPLIT_LAYER_HPP_
