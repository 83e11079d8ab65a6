#ifndef CAFFE_ONEDNN_BATCH_NORM_LAYER_HPP_
#define CAFFE_ONEDNN_BATCH_NORM_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/batch_norm_layer.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {

/**
 * @brief Batch normalisation on the CPU, in Caffe's layout or a blocked one.
 *
 * It does not use oneDNN's primitive: its threads wait for each other, which
 * takes long if another program preempts one. In training, a Scale and a ReLU
 * in place on the output are fused into it (Deferred).
 */
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
  /// @brief Whether it normalises channels.
  bool Suits(const Blob<Dtype>& bottom) const;
  /// @brief 1 / sqrt(variance + eps) of each channel.
  vector<float> Factors() const;
  /// @brief Adds the batch's statistics to the moving averages, as Caffe does.
  void KeepAverages(int count);

  randrop::onednn::RowLayout layout_;
  randrop::onednn::Keeper keeper_;
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_BATCH_NORM_LAYER_HPP_
