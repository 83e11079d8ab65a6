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
}

RANDROP_INSTANTIATE_LOSS(SoftDiceLossLayer);
REGISTER_LAYER_CLASS(SoftDiceLoss);

}  // namespace caffe
