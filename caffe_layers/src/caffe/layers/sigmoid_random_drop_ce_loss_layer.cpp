#include <vector>

#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/philox.hpp"
#include "caffe/util/random_drop.hpp"

namespace caffe {

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  BalancedCELossLayer<Dtype>::LayerSetUp(bottom, top);
  param_ = this->layer_param_.randrop_loss_param();
  if (param_.has_seed()) {
    seed_ = param_.seed();
  } else {
    const uint64_t high = caffe_rng_rand();
    seed_ = (high << 32) | caffe_rng_rand();
  }
  forward_ = param_.first_iteration();
}

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const Dtype* logits = bottom[0]->cpu_data();
  const Dtype* label = bottom[1]->cpu_data();
  unsigned char* selection = this->template Selection<OnCpu>();
  GroupSums* group_sums = this->template GroupSumsOn<OnCpu>();
  const int schedule = Schedule();
  const bool drops =
      schedule != SigmoidRandomDropCELossParameter_ScheduleType_NONE;
  float uniform[kPhiloxTile];
  for (int g = 0, i = 0; g < this->groups_; ++g) {
    GroupSums sums;
    sums.Clear();
    for (int end = i + this->group_size_; i < end; ++i) {
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
    }
    group_sums[g] = sums;
  }
  this->template EndForward<OnCpu>(bottom, top);
  ++forward_;
}

template <typename Dtype>
BalanceRule SigmoidRandomDropCELossLayer<Dtype>::Rule() const {
  const BalanceRule rule = {true, 1};
  return rule;
}

template <typename Dtype>
const char* SigmoidRandomDropCELossLayer<Dtype>::StarvedRemedy() const {
  return "Remedies: larger patches, more images in a batch with balance: BATCH,"
      " or a schedule that keeps more (LINEAR or SQU keep more easy negatives"
      " than LOG).";
}

template <typename Dtype>
int SigmoidRandomDropCELossLayer<Dtype>::Schedule() const {
  if (this->phase_ == TEST && !param_.drop_in_test()) {
    return SigmoidRandomDropCELossParameter_ScheduleType_NONE;
  }
  return param_.schedule_type();
}

#ifdef CPU_ONLY
STUB_GPU_FORWARD(SigmoidRandomDropCELossLayer, Forward);
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
