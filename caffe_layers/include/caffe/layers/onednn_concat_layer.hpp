#ifndef CAFFE_ONEDNN_CONCAT_LAYER_HPP_
#define CAFFE_ONEDNN_CONCAT_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/concat_layer.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {

/// @brief Concat through oneDNN on the CPU.
template <typename Dtype>
class OnednnConcatLayer : public ConcatLayer<Dtype> {
 public:
  explicit OnednnConcatLayer(const LayerParameter& param)
      : ConcatLayer<Dtype>(param) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

 private:
  /// @brief Whether oneDNN can do it.
  bool Suits(const vector<Blob<Dtype>*>& bottom) const;
  /// @brief Whether the channels of all bottoms fill whole blocks of one size;
  ///        rows then describes each bottom, except for its channels.
  bool WholeBlocks(
      const vector<Blob<Dtype>*>& bottom, randrop::ChannelRows* rows) const;
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_CONCAT_LAYER_HPP_
