#include <string>
#include <vector>

#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/randrop/loops/pieces.hpp"
#include "caffe/randrop/losses/random_drop.hpp"
#include "caffe/randrop/math/philox.hpp"
#include "caffe/randrop/simd/kernels.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

using randrop::BalanceRule;
using randrop::FastestPixelKernels;
using randrop::GroupSums;
using randrop::OnCpu;
using randrop::PhiloxUniformTile;
using randrop::Pieces;
using randrop::PixelKernels;
using randrop::RandomDropPass;
using randrop::kPhiloxTile;

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
  CHECK_EQ(param_.first_element() % kPhiloxTile, 0)
      << this->layer_param_.name() << ": first_element is "
      << param_.first_element() << ", which is not a multiple of "
      << kPhiloxTile << ", the number of elements whose random numbers are"
      " computed together";
  first_tile_ = param_.first_element() / kPhiloxTile;
  const bool none = param_.schedule_type() ==
      SigmoidRandomDropCELossParameter_ScheduleType_NONE;
  const string nothing = "with schedule_type: NONE, which drops nothing";
  this->WarnIfIdle(none && param_.has_seed(), "seed", nothing);
  this->WarnIfIdle(none && param_.has_first_iteration(), "first_iteration",
      nothing);
  this->WarnIfIdle(none && param_.has_first_element(), "first_element",
      nothing);
  this->WarnIfIdle(none && param_.has_drop_in_test(), "drop_in_test", nothing);
  this->WarnIfIdle(none && param_.has_keep(), "keep", nothing);
  const bool hardest = !none &&
      param_.keep() == SigmoidRandomDropCELossParameter_Keep_HARDEST;
  const string chance = "with keep: HARDEST, which leaves nothing to chance";
  this->WarnIfIdle(hardest && param_.has_seed(), "seed", chance);
  this->WarnIfIdle(hardest && param_.has_first_iteration(), "first_iteration",
      chance);
  this->WarnIfIdle(hardest && param_.has_first_element(), "first_element",
      chance);
}

namespace {

/// Selects elements begin to end - 1 and adds them up.
template <typename Dtype>
void SelectPiece(const RandomDropPass<Dtype>& pass, int begin, int end,
    GroupSums* sums) {
  float uniform[kPhiloxTile];
  for (int i = begin; i < end; ++i) {
    if (i == begin || i % kPhiloxTile == 0) {
      PhiloxUniformTile(pass.seed, pass.first_tile + i / kPhiloxTile,
          pass.forward, uniform);
    }
    pass(i, uniform[i % kPhiloxTile], sums);
  }
}

/// The same in vectors, if available and if single precision is enough.
void Select(const RandomDropPass<float>& pass, int begin, int end,
    GroupSums* sums) {
  const PixelKernels* kernels = FastestPixelKernels();
  if (!kernels || !kernels->random_drop(pass, begin, end, sums)) {
    SelectPiece(pass, begin, end, sums);
  }
}

void Select(const RandomDropPass<double>& pass, int begin, int end,
    GroupSums* sums) {
  SelectPiece(pass, begin, end, sums);
}

}  // namespace

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  if (KeepsHardest()) {
    KeepHardest<OnCpu>(bottom);
  } else {
    const RandomDropPass<Dtype> pass = Pass<OnCpu>(bottom);
    Pieces(this->groups_, this->group_size_).Reduce(
        [&pass](int begin, int end, GroupSums* sums) {
      Select(pass, begin, end, sums);
    }, this->template GroupSumsOn<OnCpu>());
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
  return "Use larger patches, more images per batch with balance: BATCH, or a"
      " schedule that keeps more easy negatives (LINEAR or SQU instead of"
      " LOG).";
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
// The two names in circulation: from the paper's usage example and from its
// compiled layer.
REGISTER_LAYER_CREATOR(SigmoidRandomDropCELossParameter,
    Creator_SigmoidRandomDropCELossLayer);
REGISTER_LAYER_CREATOR(SigmoidRandomDropCrossEntropyLoss,
    Creator_SigmoidRandomDropCELossLayer);

}  // namespace caffe
