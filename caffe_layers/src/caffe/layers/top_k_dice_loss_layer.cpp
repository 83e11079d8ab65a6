#include <vector>

#include "caffe/layers/top_k_dice_loss_layer.hpp"

namespace caffe {

using randrop::OnCpu;

template <typename Dtype>
void TopKDiceLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  SoftDiceLossLayer<Dtype>::LayerSetUp(bottom, top);
  this->CheckAbove("k_percent", this->param_.k_percent(), 0, 100);
}

template <typename Dtype>
void TopKDiceLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  SoftDiceLossLayer<Dtype>::Reshape(bottom, top);
  if (top.size() > 1) {
    top[1]->ReshapeLike(*bottom[1]);
  }
}

template <typename Dtype>
void TopKDiceLossLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  SoftDiceLossLayer<Dtype>::Forward_cpu(bottom, top);
  WriteMaskOn<OnCpu>(top);
}

#ifdef CPU_ONLY
STUB_GPU_FORWARD(TopKDiceLossLayer, Forward);
#endif

INSTANTIATE_CLASS(TopKDiceLossLayer);
REGISTER_LAYER_CLASS(TopKDiceLoss);

}  // namespace caffe
