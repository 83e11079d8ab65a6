#include <string>
#include <vector>

#include "caffe/layers/sigmoid_top_k_ce_loss_layer.hpp"

namespace caffe {

using randrop::BalanceRule;
using randrop::OnCpu;

template <typename Dtype>
void SigmoidTopKCELossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  param_ = this->layer_param_.randrop_topk_param();
  BalancedCELossLayer<Dtype>::LayerSetUp(bottom, top);
  this->CheckAbove("k_percent", param_.k_percent(), 0, 100);
  this->CheckAbove("negatives_per_positive", param_.negatives_per_positive(),
      0);
  this->CheckRange("positive_weight", param_.positive_weight(), 0);
  const string percent = "with selection: PERCENT";
  this->WarnIfIdle(IsShare() && param_.has_negatives_per_positive(),
      "negatives_per_positive", percent);
  this->WarnIfIdle(IsShare() && param_.has_positive_weight(),
      "positive_weight", percent);
  this->WarnIfIdle(IsShare() && param_.has_balance(), "balance", percent);
  this->WarnIfIdle(!IsShare() && param_.has_k_percent(), "k_percent",
      "but with selection: PERCENT");
}

template <typename Dtype>
SigmoidRandomDropCELossParameter_Balance
SigmoidTopKCELossLayer<Dtype>::Balance() const {
  return IsShare() ? SigmoidRandomDropCELossParameter_Balance_BATCH :
      param_.balance();
}

template <typename Dtype>
BalanceRule SigmoidTopKCELossLayer<Dtype>::Rule() const {
  const BalanceRule rule = {!IsShare(),
      IsShare() ? 1 : param_.positive_weight()};
  return rule;
}

template <typename Dtype>
void SigmoidTopKCELossLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  ForwardOn<OnCpu>(bottom, top);
}

#ifdef CPU_ONLY
STUB_GPU_FORWARD(SigmoidTopKCELossLayer, Forward);
#endif

INSTANTIATE_CLASS(SigmoidTopKCELossLayer);
REGISTER_LAYER_CLASS(SigmoidTopKCELoss);

}  // namespace caffe
