#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/onednn_eltwise_layer.hpp"

namespace caffe {

namespace onednn = randrop::onednn;

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

template <typename Dtype>
bool OnednnEltwiseLayer<Dtype>::Suits(
    const vector<Blob<Dtype>*>& bottom) const {
  return this->op_ == EltwiseParameter_EltwiseOp_SUM && AsFloat(bottom[0]) &&
      bottom[0]->count() > 0 && bottom[0]->num_axes() > 0;
}

template <typename Dtype>
void OnednnEltwiseLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (!Suits(bottom)) {
    EltwiseLayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  onednn::Sum(onednn::Blobs(bottom), DATA,
      std::vector<float>(this->coeffs_.begin(), this->coeffs_.end()),
      AsFloat(top[0]));
}

template <typename Dtype>
void OnednnEltwiseLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!Suits(bottom)) {
    EltwiseLayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  for (int i = 0; i < bottom.size(); ++i) {
    if (propagate_down[i]) {
      onednn::Sum(std::vector<Blob<float>*>(1, AsFloat(top[0])), DIFF,
          std::vector<float>(1, this->coeffs_[i]), AsFloat(bottom[i]));
    }
  }
}

INSTANTIATE_CLASS(OnednnEltwiseLayer);

}  // namespace caffe

#endif  // USE_ONEDNN
