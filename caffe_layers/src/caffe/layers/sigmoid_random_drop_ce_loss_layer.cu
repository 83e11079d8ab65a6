#include <vector>

#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"
#include "caffe/randrop/losses/random_drop.hpp"
#include "caffe/randrop/math/philox.hpp"

namespace caffe {

using randrop::BlockReduce;
using randrop::DropOrKeep;
using randrop::GroupSums;
using randrop::LabelClass;
using randrop::OnGpu;
using randrop::Philox4x32;
using randrop::PhiloxUniform;
using randrop::SigmoidPixel;
using randrop::kPhiloxLanes;
using randrop::kPhiloxTile;
using randrop::kPhiloxWords;
using randrop::kReduceThreads;

// A thread handles one Philox counter at a time. Its four words belong to
// elements 16 apart, so that neighbouring threads access neighbouring elements.
template <typename Dtype>
__global__ void RandomDropForwardGPU(const int group_size,
    const int blocks_a_group, const Dtype* logits, const Dtype* label,
    const int schedule, const uint64_t seed, const uint64_t forward,
    const bool has_ignore_label, const int ignore_label,
    unsigned char* selection, GroupSums* sums) {
  const int group = blockIdx.x / blocks_a_group;
  const int64_t begin = static_cast<int64_t>(group) * group_size;
  const int64_t end = begin + group_size;
  const int64_t first_block = begin / kPhiloxTile * kPhiloxLanes;
  const int64_t last_block =
      (end + kPhiloxTile - 1) / kPhiloxTile * kPhiloxLanes;
  const bool drops =
      schedule != SigmoidRandomDropCELossParameter_ScheduleType_NONE;
  GroupSums mine;
  mine.Clear();
  for (int64_t block = first_block + threadIdx.x +
           static_cast<int64_t>(blockIdx.x % blocks_a_group) * blockDim.x;
       block < last_block; block += blocks_a_group * blockDim.x) {
    uint32_t word[kPhiloxWords] = {0, 0, 0, 0};
    if (drops) {
      Philox4x32(seed, block, forward, word);
    }
    const int64_t first =
        block / kPhiloxLanes * kPhiloxTile + block % kPhiloxLanes;
    for (int w = 0; w < kPhiloxWords; ++w) {
      const int64_t i = first + w * kPhiloxLanes;
      if (i < begin || i >= end) {
        continue;
      }
      const SigmoidPixel<Dtype> pixel =
        SigmoidPixel<Dtype>::Shown(logits[i]);
      int selected = LabelClass(label[i], has_ignore_label, ignore_label);
      if (drops) {
        selected = DropOrKeep(schedule, selected, pixel,
            PhiloxUniform(word[w]));
      }
      selection[i] = mine.AddElement(selected, pixel, static_cast<int>(i));
    }
  }
  const GroupSums sum = BlockReduce(mine);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = sum;
  }
}

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::Forward_gpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int groups = this->groups_;
  const int counters = this->group_size_ / kPhiloxWords + kPhiloxLanes;
  const int spread = OnGpu::BlocksASegment(groups, counters);
  GroupSums* sums = this->template GroupSumsOn<OnGpu>();
  GroupSums* block_sums =
      this->loops_.template Get<OnGpu, GroupSums>(groups * spread);
  // NOLINT_NEXT_LINE(whitespace/operators)
  RandomDropForwardGPU<Dtype><<<groups * spread, kReduceThreads>>>(
      this->group_size_, spread, bottom[0]->gpu_data(), bottom[1]->gpu_data(),
      Schedule(), seed_, forward_, this->has_ignore_label_,
      this->ignore_label_, this->template Selection<OnGpu>(), block_sums);
  CUDA_POST_KERNEL_CHECK;
  OnGpu::Fold(groups, spread, block_sums, sums);
  this->template EndForward<OnGpu>(bottom, top);
  ++forward_;
}

INSTANTIATE_LAYER_GPU_FORWARD(SigmoidRandomDropCELossLayer);

}  // namespace caffe
