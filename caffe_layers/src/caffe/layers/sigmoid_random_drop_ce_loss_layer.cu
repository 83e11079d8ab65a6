#include <vector>

#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"
#include "caffe/randrop/losses/random_drop.hpp"
#include "caffe/randrop/math/philox.hpp"

namespace caffe {

using randrop::BlockReduce;
using randrop::DropSchedule;
using randrop::GroupSums;
using randrop::OnGpu;
using randrop::Philox4x32;
using randrop::PhiloxUniform;
using randrop::RandomDropPass;
using randrop::kPhiloxLanes;
using randrop::kPhiloxTile;
using randrop::kPhiloxWords;
using randrop::kReduceThreads;

// A thread handles one Philox counter at a time. Its four words belong to
// elements 16 apart, so that neighbouring threads access neighbouring elements.
template <typename Dtype>
__global__ void RandomDropForwardGPU(const int group_size,
    const int blocks_a_group, const RandomDropPass<Dtype> pass,
    GroupSums* sums) {
  const int group = blockIdx.x / blocks_a_group;
  const int64_t begin = static_cast<int64_t>(group) * group_size;
  const int64_t end = begin + group_size;
  const int64_t first_block = begin / kPhiloxTile * kPhiloxLanes;
  const int64_t last_block =
      (end + kPhiloxTile - 1) / kPhiloxTile * kPhiloxLanes;
  GroupSums mine;
  mine.Clear();
  for (int64_t block = first_block + threadIdx.x +
           static_cast<int64_t>(blockIdx.x % blocks_a_group) * blockDim.x;
       block < last_block; block += blocks_a_group * blockDim.x) {
    uint32_t word[kPhiloxWords] = {0, 0, 0, 0};
    if (pass.schedule != DropSchedule::NONE) {
      Philox4x32(pass.seed, pass.first_tile * kPhiloxLanes + block,
          pass.forward, word);
    }
    const int64_t first =
        block / kPhiloxLanes * kPhiloxTile + block % kPhiloxLanes;
    for (int w = 0; w < kPhiloxWords; ++w) {
      const int64_t i = first + w * kPhiloxLanes;
      if (i >= begin && i < end) {
        pass(static_cast<int>(i), PhiloxUniform(word[w]), &mine);
      }
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
  if (KeepsHardest()) {
    KeepHardest<OnGpu>(bottom);
    this->template EndForward<OnGpu>(bottom, top);
    ++forward_;
    return;
  }
  const RandomDropPass<Dtype> pass = Pass<OnGpu>(bottom);
  const int groups = this->groups_;
  const int counters = this->group_size_ / kPhiloxWords + kPhiloxLanes;
  const int spread = OnGpu::BlocksASegment(groups, counters);
  GroupSums* sums = this->template GroupSumsOn<OnGpu>();
  GroupSums* block_sums =
      this->loops_.template Get<OnGpu, GroupSums>(groups * spread);
  // NOLINT_NEXT_LINE(whitespace/operators)
  RandomDropForwardGPU<Dtype><<<groups * spread, kReduceThreads>>>(
      this->group_size_, spread, pass, block_sums);
  CUDA_POST_KERNEL_CHECK;
  OnGpu::Fold(groups, spread, block_sums, sums);
  this->template EndForward<OnGpu>(bottom, top);
  ++forward_;
}

INSTANTIATE_LAYER_GPU_FORWARD(SigmoidRandomDropCELossLayer);

}  // namespace caffe
