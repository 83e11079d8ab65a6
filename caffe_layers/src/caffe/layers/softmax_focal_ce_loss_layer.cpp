#include <vector>

#include "caffe/layers/softmax_focal_ce_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void SoftmaxFocalCELossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  const RandropFocalParameter& param =
      this->layer_param_.randrop_focal_param();
  this->CheckRange("gamma", param.gamma(), 0);
  CHECK(!param.has_alpha() && !param.has_alpha_mode()) << this->Title()
      << ": alpha and alpha_mode are for SigmoidFocalLoss; this loss has"
      << " class_alpha.";
  for (int c = 0; c < param.class_alpha_size(); ++c) {
    this->CheckRange("class_alpha", param.class_alpha(c), 0);
  }
  gamma_ = param.gamma();
}

template <typename Dtype>
void SoftmaxFocalCELossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  const RandropFocalParameter& param =
      this->layer_param_.randrop_focal_param();
  const int given = param.class_alpha_size();
  CHECK(given <= 1 || given == this->classes_) << this->Title()
      << ": class_alpha has " << given << " values for " << this->classes_
      << " classes; give one for each class, one for all, or none.";
  alpha_.Reshape(vector<int>(1, this->classes_));
  for (int c = 0; c < this->classes_; ++c) {
    alpha_.mutable_cpu_data()[c] =
        given == 0 ? 1 : param.class_alpha(given == 1 ? 0 : c);
  }
}

RANDROP_INSTANTIATE_LOSS(SoftmaxFocalCELossLayer);
REGISTER_LAYER_CLASS(SoftmaxFocalCELoss);

}  // namespace caffe
