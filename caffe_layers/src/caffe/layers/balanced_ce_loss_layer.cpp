#include <vector>

#include "caffe/layers/balanced_ce_loss_layer.hpp"

namespace caffe {

using randrop::BatchSums;
using randrop::OnCpu;

template <typename Dtype>
void BalancedCELossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  int axes = 2;
  switch (Balance()) {
  case SigmoidRandomDropCELossParameter_Balance_PER_CHANNEL:
    axes = 2;
    break;
  case SigmoidRandomDropCELossParameter_Balance_PER_IMAGE:
    axes = 1;
    break;
  case SigmoidRandomDropCELossParameter_Balance_BATCH:
    axes = 0;
    break;
  }
  groups_ = bottom[0]->count(0, axes);
  group_size_ = bottom[0]->count(axes);
  weights_.Reshape(vector<int>(1, 2 * groups_));
  if (!selection_ || selection_->size() != bottom[0]->count()) {
    selection_.reset(new SyncedMemory(bottom[0]->count()));
  }
  if (top.size() > 1) {
    top[1]->ReshapeLike(*bottom[0]);
  }
}

template <typename Dtype>
void BalancedCELossLayer<Dtype>::Finish(const BatchSums& total,
    const Blob<Dtype>& label, Blob<Dtype>* loss) {
  this->CheckLabel(label, total.bad_label);
  CountStarved(total.starved);
  // A mean over selected elements counts only these; the balanced losses count
  // dropped ones too.
  this->WriteLoss(total.loss, Rule().balanced ?
      this->labels_ - total.ignored : total.taking_part, loss);
}

template <typename Dtype>
void BalancedCELossLayer<Dtype>::Backward_cpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  BackwardOn<OnCpu>(top, propagate_down, bottom);
}

template <typename Dtype>
void BalancedCELossLayer<Dtype>::CountStarved(int starved) {
  if (starved > 0 && starved_groups_ == 0) {
    LOG(WARNING) << this->Title() << ": " << starved << " of " << groups_
        << " groups have no selected negative: their positives have weight 0"
        << " and no gradient. This warning appears only once. "
        << StarvedRemedy();
  }
  seen_groups_ += groups_;
  starved_groups_ += starved;
}

template <typename Dtype>
BalancedCELossLayer<Dtype>::~BalancedCELossLayer() {
  if (starved_groups_ > 0) {
    LOG(WARNING) << "Layer '" << this->layer_param_.name() << "': "
        << starved_groups_ << " of " << seen_groups_
        << " groups with positives had no selected negative.";
  }
}

#ifdef CPU_ONLY
STUB_GPU_BACKWARD(BalancedCELossLayer, Backward);
#endif

INSTANTIATE_CLASS(BalancedCELossLayer);

}  // namespace caffe
