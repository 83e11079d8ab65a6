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
      << this->Title() << ": a softmax loss selects by PERCENT alone; leave"
      << " randrop_topk_param.selection out.";
  k_percent_ = param.k_percent();
  this->CheckAbove("k_percent", k_percent_, 0, 100);
}

template <typename Dtype>
void SoftmaxTopKLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  if (top.size() > 1) {
    top[1]->ReshapeLike(*bottom[1]);
  }
}

template <typename Dtype>
void SoftmaxTopKLossLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  ForwardOn<OnCpu>(bottom, top);
}

template <typename Dtype>
void SoftmaxTopKLossLayer<Dtype>::Backward_cpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  BackwardOn<OnCpu>(top, propagate_down, bottom);
}

#ifdef CPU_ONLY
STUB_GPU(SoftmaxTopKLossLayer);
#endif

INSTANTIATE_CLASS(SoftmaxTopKLossLayer);
REGISTER_LAYER_CLASS(SoftmaxTopKLoss);

}  // namespace caffe
