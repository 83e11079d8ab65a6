#include <vector>

#include "caffe/layers/tversky_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void TverskyLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  param_ = this->layer_param_.randrop_tversky_param();
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  this->RefuseNormalization();
  this->CheckRange("alpha", param_.alpha(), 0);
  this->CheckRange("beta", param_.beta(), 0);
  this->CheckAbove("gamma", param_.gamma(), 0);
  this->CheckRange("smooth", param_.smooth(), 0);
  CHECK(IsSoftmax() || param_.include_background()) << this->Title()
      << ": include_background: false leaves class 0 of a softmax out; with"
      << " activation: SIGMOID every channel is a foreground.";
}

template <typename Dtype>
void TverskyLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  CHECK(param_.include_background() || this->classes_ > 1) << this->Title()
      << ": include_background: false leaves nothing of one class; leave it"
      << " out, or give the network a channel for each class.";
}

RANDROP_INSTANTIATE_LOSS(TverskyLossLayer);
REGISTER_LAYER_CLASS(TverskyLoss);

}  // namespace caffe
