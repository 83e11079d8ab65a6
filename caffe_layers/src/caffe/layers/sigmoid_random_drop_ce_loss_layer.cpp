#include <vector>

#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/philox.hpp"
#include "caffe/util/random_drop.hpp"

namespace caffe {

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  param_ = this->layer_param_.randrop_loss_param();
  if (param_.has_seed()) {
    seed_ = param_.seed();
  } else {
    const uint64_t high = caffe_rng_rand();
    seed_ = (high << 32) | caffe_rng_rand();
  }
  forward_ = param_.first_iteration();
  seen_groups_ = starved_groups_ = 0;
}

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  int axes = 2;
  switch (param_.balance()) {
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
void SigmoidRandomDropCELossLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const Dtype* logits = bottom[0]->cpu_data();
  const Dtype* label = bottom[1]->cpu_data();
  unsigned char* selection =
      static_cast<unsigned char*>(selection_->mutable_cpu_data());
  const int schedule = Schedule();
  const bool drops =
      schedule != SigmoidRandomDropCELossParameter_ScheduleType_NONE;
  Dtype* mask = top.size() > 1 ? top[1]->mutable_cpu_data() : NULL;
  Dtype* weights = weights_.mutable_cpu_data();
  float uniform[kPhiloxTile];
  BatchSums total;
  total.Clear();
  for (int g = 0, i = 0; g < groups_; ++g) {
    GroupSums sums;
    sums.Clear();
    for (int end = i + group_size_; i < end; ++i) {
      if (drops && i % kPhiloxTile == 0) {
        PhiloxUniformTile(seed_, i / kPhiloxTile, forward_, uniform);
      }
      int selected = LabelClass(label[i], this->has_ignore_label_,
          this->ignore_label_);
      if (drops) {
        selected = DropOrKeep(schedule, selected, logits[i],
            uniform[i % kPhiloxTile]);
      }
      selection[i] = sums.AddElement(selected, logits[i], i);
      if (mask) {
        mask[i] = MaskValue(selection[i]);
      }
    }
    weights[2 * g] = sums.PositiveWeight();
    weights[2 * g + 1] = sums.NegativeWeight();
    total.Add(sums);
  }
  Finish(total, bottom, top);
}

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::Finish(const BatchSums& total,
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  this->CheckLabel(*bottom[1], total.bad_label);
  CountStarved(total.starved);
  normalizer_ = this->Normalizer(*bottom[0], total.ignored);
  top[0]->mutable_cpu_data()[0] = total.loss / normalizer_;
  ++forward_;
}

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::Backward_cpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  this->CheckPropagateDown(propagate_down);
  if (!propagate_down[0]) {
    return;
  }
  const Dtype* logits = bottom[0]->cpu_data();
  const unsigned char* selection =
      static_cast<const unsigned char*>(selection_->cpu_data());
  const Dtype* weights = weights_.cpu_data();
  const Dtype scale = top[0]->cpu_diff()[0] / normalizer_;
  Dtype* diff = bottom[0]->mutable_cpu_diff();
  for (int g = 0, i = 0; g < groups_; ++g) {
    const Dtype weight[] = {scale * weights[2 * g],
                            scale * weights[2 * g + 1]};
    for (int end = i + group_size_; i < end; ++i) {
      diff[i] = WeightedDiff(selection[i], logits[i], weight);
    }
  }
}

template <typename Dtype>
int SigmoidRandomDropCELossLayer<Dtype>::Schedule() const {
  if (this->phase_ == TEST && !param_.drop_in_test()) {
    return SigmoidRandomDropCELossParameter_ScheduleType_NONE;
  }
  return param_.schedule_type();
}

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::CountStarved(int starved) {
  if (starved > 0 && starved_groups_ == 0) {
    LOG(WARNING) << this->Title() << ": in " << starved << " of " << groups_
        << " groups every negative was dropped, so that their positives have"
        << " weight 0 and teach nothing. Said once. Remedies: larger patches,"
        << " more images in a batch with balance: BATCH, or a schedule that"
        << " keeps more (LINEAR or SQU keep more easy negatives than LOG).";
  }
  seen_groups_ += groups_;
  starved_groups_ += starved;
}

template <typename Dtype>
SigmoidRandomDropCELossLayer<Dtype>::~SigmoidRandomDropCELossLayer() {
  if (starved_groups_ > 0) {
    LOG(WARNING) << this->Title() << ": every negative was dropped in "
        << starved_groups_ << " of " << seen_groups_ << " groups.";
  }
}

#ifdef CPU_ONLY
STUB_GPU(SigmoidRandomDropCELossLayer);
#endif

INSTANTIATE_CLASS(SigmoidRandomDropCELossLayer);
REGISTER_LAYER_CLASS(SigmoidRandomDropCELoss);
// The two names in circulation: that of the paper's usage example, and that of
// its compiled layer.
REGISTER_LAYER_CREATOR(SigmoidRandomDropCELossParameter,
    Creator_SigmoidRandomDropCELossLayer);
REGISTER_LAYER_CREATOR(SigmoidRandomDropCrossEntropyLoss,
    Creator_SigmoidRandomDropCELossLayer);

}  // namespace caffe
