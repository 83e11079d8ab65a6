#ifndef CAFFE_ONEDNN_BATCH_NORM_LAYER_HPP_
#define CAFFE_ONEDNN_BATCH_NORM_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/batch_norm_layer.hpp"
#include "caffe/util/onednn.hpp"

namespace caffe {

/// @brief Batch normalisation through oneDNN on the CPU.
template <typename Dtype>
class OnednnBatchNormLayer : public BatchNormLayer<Dtype> {
 public:
  explicit OnednnBatchNormLayer(const LayerParameter& param)
      : BatchNormLayer<Dtype>(param) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

 private:
  /// @brief Prepares for data in this layout.
  void Prepare(const onednn::Layout& layout);
  /// @brief The statistics as memories of oneDNN.
  dnnl::memory Statistics(const Blob<Dtype>& blob) const;

  onednn::Layout layout_;
  dnnl::batch_normalization_forward::primitive_desc forward_;
  dnnl::batch_normalization_backward::primitive_desc backward_;
  onednn::Keeper keeper_;
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_BATCH_NORM_LAYER_HPP_
