#include <string>
#include <vector>

#include "caffe/layers/softmax_top_k_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void SoftmaxTopKLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  const RandropTopKParameter& param = this->layer_param_.randrop_topk_param();
  CHECK(!param.has_selection() ||
        param.selection() == RandropTopKParameter_Selection_PERCENT)
      << this->Title() << ": a softmax loss selects only by PERCENT; remove"
      << " randrop_topk_param.selection.";
  k_percent_ = param.k_percent();
  this->CheckAbove("k_percent", k_percent_, 0, 100);
  const string softmax = "in a softmax loss, which takes only k_percent";
  this->WarnIfIdle(param.has_negatives_per_positive(),
      "negatives_per_positive", softmax);
  this->WarnIfIdle(param.has_positive_weight(), "positive_weight", softmax);
  this->WarnIfIdle(param.has_balance(), "balance", softmax);
}

template <typename Dtype>
void SoftmaxTopKLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  if (top.size() > 1) {
    top[1]->ReshapeLike(*bottom[1]);
  }
}

RANDROP_INSTANTIATE_LOSS(SoftmaxTopKLossLayer);
REGISTER_LAYER_CLASS(SoftmaxTopKLoss);

}  // namespace caffe
