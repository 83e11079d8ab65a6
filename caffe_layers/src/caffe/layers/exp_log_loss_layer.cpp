#include <vector>

#include "caffe/layers/exp_log_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void ExpLogLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  this->RefuseNormalization();
  param_ = this->layer_param_.randrop_explog_param();
  this->CheckAbove("gamma_dice", param_.gamma_dice(), 0);
  this->CheckAbove("gamma_cross", param_.gamma_cross(), 0);
  this->CheckRange("weight_dice", param_.weight_dice(), 0);
  this->CheckRange("weight_cross", param_.weight_cross(), 0);
  this->CheckAbove("epsilon", param_.epsilon(), 0);
  const bool dice = param_.weight_dice() > 0, cross = param_.weight_cross() > 0;
  this->WarnIfIdle(!dice && param_.has_gamma_dice(), "gamma_dice",
      "with weight_dice: 0");
  this->WarnIfIdle(!dice && param_.has_epsilon(), "epsilon",
      "with weight_dice: 0");
  this->WarnIfIdle(!dice && param_.has_batch(), "batch",
      "with weight_dice: 0");
  this->WarnIfIdle(!cross && param_.has_gamma_cross(), "gamma_cross",
      "with weight_cross: 0");
  this->WarnIfIdle(!cross && param_.label_frequency_size() > 0,
      "label_frequency", "with weight_cross: 0");
  bool any = param_.label_frequency_size() == 0;
  for (int c = 0; c < param_.label_frequency_size(); ++c) {
    this->CheckRange("label_frequency", param_.label_frequency(c), 0);
    any = any || param_.label_frequency(c) > 0;
  }
  CHECK(any) << this->Title() << ": label_frequency is 0 for every class, so"
      << " no pixel has a weight in the cross term; give the frequencies of the"
      << " classes, omit label_frequency to count them in each batch, or set"
      << " weight_cross: 0 to disable the term.";
}

template <typename Dtype>
void ExpLogLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  const int given = param_.label_frequency_size();
  CHECK(given == 0 || given == this->classes_) << this->Title()
      << ": label_frequency has " << given << " values for " << this->classes_
      << " classes; give one for each class, or none.";
  if (given > 0) {
    frequency_.Reshape(vector<int>(1, given));
    for (int c = 0; c < given; ++c) {
      frequency_.mutable_cpu_data()[c] = param_.label_frequency(c);
    }
  }
  class_weights_.Reshape(vector<int>(1, this->classes_));
}

RANDROP_INSTANTIATE_LOSS(ExpLogLossLayer);
REGISTER_LAYER_CLASS(ExpLogLoss);

}  // namespace caffe
