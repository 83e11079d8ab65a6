#include <vector>

#include "caffe/layers/sigmoid_focal_ce_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void SigmoidFocalCELossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  param_ = this->layer_param_.randrop_focal_param();
  this->CheckRange("gamma", param_.gamma(), 0);
  this->CheckRange("alpha", param_.alpha(), 0, 1);
  this->WarnIfIdle(param_.has_alpha() &&
      param_.alpha_mode() != RandropFocalParameter_AlphaMode_FIXED, "alpha",
      "with an alpha_mode that computes it from counts");
  CHECK_EQ(param_.class_alpha_size(), 0) << this->Title()
      << ": class_alpha is for SoftmaxFocalLoss; this loss has alpha.";
}

template <typename Dtype>
void SigmoidFocalCELossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  groups_ = 1;
  if (param_.alpha_mode() == RandropFocalParameter_AlphaMode_PER_IMAGE) {
    groups_ = this->images_;
  } else if (param_.alpha_mode() ==
             RandropFocalParameter_AlphaMode_PER_CHANNEL) {
    groups_ = this->images_ * this->classes_;
  }
  group_size_ = this->labels_ / groups_;
  weights_.Reshape(vector<int>(1, 2 * groups_));
}

RANDROP_INSTANTIATE_LOSS(SigmoidFocalCELossLayer);
REGISTER_LAYER_CLASS(SigmoidFocalCELoss);

}  // namespace caffe
