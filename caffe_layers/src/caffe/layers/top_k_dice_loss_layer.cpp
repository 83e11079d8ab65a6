#include <vector>

#include "caffe/layers/top_k_dice_loss_layer.hpp"

namespace caffe {

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

RANDROP_INSTANTIATE_LOSS(TopKDiceLossLayer);
REGISTER_LAYER_CLASS(TopKDiceLoss);

}  // namespace caffe
