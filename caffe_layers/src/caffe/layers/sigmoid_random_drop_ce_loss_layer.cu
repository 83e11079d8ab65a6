#include <algorithm>
#include <vector>

#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/util/block_reduce.cuh"
#include "caffe/util/device_alternate.hpp"
#include "caffe/util/philox.hpp"
#include "caffe/util/random_drop.hpp"

namespace caffe {

/// Blocks that a batch is spread over, if it has fewer groups.
const int kRandomDropBlocks = 1024;

// A thread takes a Philox counter at a time: its four words belong to elements
// 16 apart, so that neighbouring threads read and write neighbouring elements.
template <typename Dtype>
__global__ void RandomDropForwardGPU(const int group_size,
    const int blocks_a_group, const Dtype* logits, const Dtype* label,
    const int schedule, const uint64_t seed, const uint64_t forward,
    const bool has_ignore_label, const int ignore_label,
    unsigned char* selection, Dtype* mask, GroupSums* sums) {
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
      const Dtype x = logits[i];
      int selected = LabelClass(label[i], has_ignore_label, ignore_label);
      if (drops) {
        selected = DropOrKeep(schedule, selected, x, PhiloxUniform(word[w]));
      }
      selected = mine.AddElement(selected, x, static_cast<int>(i));
      selection[i] = selected;
      if (mask) {
        mask[i] = MaskValue(selected);
      }
    }
  }
  const GroupSums sum = BlockReduce(mine);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = sum;
  }
}

template <typename Dtype>
__global__ void RandomDropGroupGPU(const int blocks_a_group,
    const GroupSums* block_sums, GroupSums* group_sums, Dtype* weights) {
  const int group = blockIdx.x;
  GroupSums mine;
  mine.Clear();
  for (int b = threadIdx.x; b < blocks_a_group; b += blockDim.x) {
    mine.Add(block_sums[group * blocks_a_group + b]);
  }
  const GroupSums sum = BlockReduce(mine);
  if (threadIdx.x == 0) {
    group_sums[group] = sum;
    weights[2 * group] = sum.PositiveWeight();
    weights[2 * group + 1] = sum.NegativeWeight();
  }
}

__global__ void RandomDropBatchGPU(const int groups,
    const GroupSums* group_sums, BatchSums* total) {
  BatchSums mine;
  mine.Clear();
  for (int group = threadIdx.x; group < groups; group += blockDim.x) {
    mine.Add(group_sums[group]);
  }
  const BatchSums sum = BlockReduce(mine);
  if (threadIdx.x == 0) {
    *total = sum;
  }
}

template <typename Dtype>
__global__ void RandomDropBackwardGPU(const int count, const int group_size,
    const Dtype* logits, const unsigned char* selection, const Dtype* weights,
    const Dtype scale, Dtype* diff) {
  CUDA_KERNEL_LOOP(i, count) {
    const Dtype* group_weights = weights + i / group_size * 2;
    const Dtype weight[] = {scale * group_weights[0],
                            scale * group_weights[1]};
    diff[i] = WeightedDiff(selection[i], logits[i], weight);
  }
}

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::Forward_gpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int counters = group_size_ / kPhiloxWords + kPhiloxLanes;
  const int blocks_a_group = std::max(1, std::min(
      kRandomDropBlocks / groups_,
      (counters + kReduceThreads - 1) / kReduceThreads));
  const int blocks = groups_ * blocks_a_group;
  const size_t size =
      (blocks + groups_) * sizeof(GroupSums) + sizeof(BatchSums);
  if (!sums_ || sums_->size() != size) {
    sums_.reset(new SyncedMemory(size));
  }
  GroupSums* block_sums = static_cast<GroupSums*>(sums_->mutable_gpu_data());
  GroupSums* group_sums = block_sums + blocks;
  BatchSums* device_total = reinterpret_cast<BatchSums*>(group_sums + groups_);

  // NOLINT_NEXT_LINE(whitespace/operators)
  RandomDropForwardGPU<Dtype><<<blocks, kReduceThreads>>>(group_size_,
      blocks_a_group, bottom[0]->gpu_data(), bottom[1]->gpu_data(), Schedule(),
      seed_, forward_, this->has_ignore_label_, this->ignore_label_,
      static_cast<unsigned char*>(selection_->mutable_gpu_data()),
      top.size() > 1 ? top[1]->mutable_gpu_data() : NULL, block_sums);
  CUDA_POST_KERNEL_CHECK;
  // NOLINT_NEXT_LINE(whitespace/operators)
  RandomDropGroupGPU<Dtype><<<groups_, kReduceThreads>>>(blocks_a_group,
      block_sums, group_sums, weights_.mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
  // NOLINT_NEXT_LINE(whitespace/operators)
  RandomDropBatchGPU<<<1, kReduceThreads>>>(groups_, group_sums, device_total);
  CUDA_POST_KERNEL_CHECK;
  BatchSums total;
  CUDA_CHECK(cudaMemcpy(&total, device_total, sizeof(total),
      cudaMemcpyDeviceToHost));
  Finish(total, bottom, top);
}

template <typename Dtype>
void SigmoidRandomDropCELossLayer<Dtype>::Backward_gpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  this->CheckPropagateDown(propagate_down);
  if (!propagate_down[0]) {
    return;
  }
  const int count = bottom[0]->count();
  const Dtype scale = top[0]->cpu_diff()[0] / normalizer_;
  // NOLINT_NEXT_LINE(whitespace/operators)
  RandomDropBackwardGPU<Dtype><<<CAFFE_GET_BLOCKS(count),
      CAFFE_CUDA_NUM_THREADS>>>(count, group_size_, bottom[0]->gpu_data(),
      static_cast<const unsigned char*>(selection_->gpu_data()),
      weights_.gpu_data(), scale, bottom[0]->mutable_gpu_diff());
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(SigmoidRandomDropCELossLayer);

}  // namespace caffe
