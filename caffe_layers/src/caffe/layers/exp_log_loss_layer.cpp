#include <vector>

#include "caffe/layers/exp_log_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void ExpLogLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  this->RefuseNormalization();
  param_ = this->layer_param_.randrop_explog_param();
  CHECK(param_.gamma_dice() > 0 && param_.gamma_cross() > 0) << this->Title()
      << ": gamma_dice is " << param_.gamma_dice() << " and gamma_cross "
      << param_.gamma_cross() << "; both must be above 0.";
  CHECK(param_.weight_dice() >= 0 && param_.weight_cross() >= 0)
      << this->Title() << ": weight_dice and weight_cross must not be"
      << " negative.";
  CHECK_GT(param_.epsilon(), 0) << this->Title()
      << ": epsilon must be above 0.";
  for (int c = 0; c < param_.label_frequency_size(); ++c) {
    CHECK_GE(param_.label_frequency(c), 0) << this->Title()
        << ": label_frequency must not be negative.";
  }
}

template <typename Dtype>
void ExpLogLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  const int given = param_.label_frequency_size();
  CHECK(given == 0 || given == this->classes_) << this->Title() << ": "
      << given << " values of label_frequency for " << this->classes_
      << " classes; give one for each, or none.";
  if (given > 0) {
    frequency_.Reshape(vector<int>(1, given));
    for (int c = 0; c < given; ++c) {
      frequency_.mutable_cpu_data()[c] = param_.label_frequency(c);
    }
  }
  class_weights_.Reshape(vector<int>(1, this->classes_));
}

template <typename Dtype>
void ExpLogLossLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  ForwardOn<OnCpu>(bottom, top);
}

template <typename Dtype>
void ExpLogLossLayer<Dtype>::Backward_cpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  BackwardOn<OnCpu>(top, propagate_down, bottom);
}

#ifdef CPU_ONLY
STUB_GPU(ExpLogLossLayer);
#endif

INSTANTIATE_CLASS(ExpLogLossLayer);
REGISTER_LAYER_CLASS(ExpLogLoss);

}  // namespace caffe
