#include <vector>

#include "caffe/layers/soft_dice_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void SoftDiceLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  param_ = this->layer_param_.randrop_dice_param();
  this->SetUpOverlap(param_, bottom, top);
  this->squared_ = this->term_.squared = param_.squared();
  CHECK(IsTopK() || (!param_.has_k_percent() && !param_.has_region()))
      << this->Title() << ": k_percent and region are for TopKDiceLoss;"
      << " remove them.";
  CHECK(!IsTopK() || (!param_.has_gamma() && !param_.has_weight_cross()))
      << this->Title() << ": gamma and weight_cross are for SoftDiceLoss;"
      << " remove them, or add a layer of cross-entropy.";
  this->CheckRange("gamma", param_.gamma(), 0);
  this->CheckRange("weight_cross", param_.weight_cross(), 0);
  if (param_.gamma() > 0) {
    this->CheckAbove("smooth", param_.smooth(), 0);
  }
  this->gamma_ = param_.gamma();
  this->term_.weight_cross = param_.weight_cross();
  this->cross_ = param_.weight_cross() > 0;
}

RANDROP_INSTANTIATE_LOSS(SoftDiceLossLayer);
REGISTER_LAYER_CLASS(SoftDiceLoss);

}  // namespace caffe
