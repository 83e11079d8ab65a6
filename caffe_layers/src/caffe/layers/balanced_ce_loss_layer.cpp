#include <algorithm>
#include <vector>

#include "caffe/layers/balanced_ce_loss_layer.hpp"
#include "caffe/randrop/simd/kernels.hpp"

namespace caffe {

using randrop::BalancedDiffPass;
using randrop::BatchSums;
using randrop::FastestPixelKernels;
using randrop::OnCpu;
using randrop::PixelKernels;

bool InVectors(const BalancedDiff<float>& op, int begin, int end) {
  const PixelKernels* kernels = FastestPixelKernels();
  if (!kernels) {
    return false;
  }
  const BalancedDiffPass<float> pass = {op.logits, op.selection, op.diff};
  while (begin < end) {
    const int group = begin / op.group_size;
    const int last = std::min(end, (group + 1) * op.group_size);
    const float weight[] = {op.scale * op.weights[2 * group],
        op.scale * op.weights[2 * group + 1]};
    kernels->balanced_diff(pass, begin, last, weight);
    begin = last;
  }
  return true;
}

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
    LOG(WARNING) << this->Title() << ": in " << starved << " of " << groups_
        << " groups no negative takes part, so that their positives have"
        << " weight 0 and teach nothing. This warning is shown only"
        << " once. " << StarvedRemedy();
  }
  seen_groups_ += groups_;
  starved_groups_ += starved;
}

template <typename Dtype>
BalancedCELossLayer<Dtype>::~BalancedCELossLayer() {
  if (starved_groups_ > 0) {
    LOG(WARNING) << "Layer '" << this->layer_param_.name() << "': no negative"
        << " took part in " << starved_groups_ << " of " << seen_groups_
        << " groups with positives.";
  }
}

#ifdef CPU_ONLY
STUB_GPU_BACKWARD(BalancedCELossLayer, Backward);
#endif

INSTANTIATE_CLASS(BalancedCELossLayer);

}  // namespace caffe
