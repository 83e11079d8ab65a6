#ifndef CAFFE_ONEDNN_SOFTMAX_LAYER_HPP_
#define CAFFE_ONEDNN_SOFTMAX_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/softmax_layer.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {

/// @brief Softmax of vectors through oneDNN on the CPU. Caffe keeps the softmax
///        over the channels of pixels, where oneDNN is slower.
template <typename Dtype>
class OnednnSoftmaxLayer : public SoftmaxLayer<Dtype> {
 public:
  explicit OnednnSoftmaxLayer(const LayerParameter& param)
      : SoftmaxLayer<Dtype>(param) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

 private:
  /// @brief Prepares for data in this layout.
  void Prepare(const randrop::onednn::Layout& layout, int axis);
  bool Suits(const Blob<Dtype>& blob) const {
    return sizeof(Dtype) == sizeof(float) && blob.count() > 0 &&
        blob.count(Axis(blob) + 1) == 1;
  }
  int Axis(const Blob<Dtype>& blob) const {
    return blob.CanonicalAxisIndex(this->layer_param_.softmax_param().axis());
  }

  randrop::onednn::Layout layout_;
  dnnl::softmax_forward::primitive_desc forward_;
  dnnl::softmax_backward::primitive_desc backward_;
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_SOFTMAX_LAYER_HPP_
