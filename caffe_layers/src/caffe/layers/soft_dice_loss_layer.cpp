#include <vector>

#include "caffe/layers/soft_dice_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void SoftDiceLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  param_ = this->layer_param_.randrop_dice_param();
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  this->RefuseNormalization();
  this->CheckRange("smooth", param_.smooth(), 0);
  CHECK(IsSoftmax() || param_.include_background()) << this->Title()
      << ": include_background: false leaves class 0 of a softmax out; with"
      << " activation: SIGMOID every channel is a foreground.";
  CHECK(IsTopK() || (!param_.has_k_percent() && !param_.has_region()))
      << this->Title() << ": k_percent and region are for TopKDiceLoss;"
      << " leave them out.";
}

template <typename Dtype>
void SoftDiceLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  CHECK(param_.include_background() || this->classes_ > 1) << this->Title()
      << ": include_background: false leaves nothing of one class; leave it"
      << " out, or give the network a channel for each class.";
}

RANDROP_INSTANTIATE_LOSS(SoftDiceLossLayer);
REGISTER_LAYER_CLASS(SoftDiceLoss);

}  // namespace caffe
