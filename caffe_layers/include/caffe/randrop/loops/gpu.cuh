#ifndef CAFFE_RANDROP_LOOPS_GPU_CUH_
#define CAFFE_RANDROP_LOOPS_GPU_CUH_

#include <stdint.h>

#include <algorithm>

#include "caffe/randrop/loops/block_reduce.cuh"
#include "caffe/randrop/loops/cpu.hpp"
#include "caffe/randrop/loops/radix_cut.hpp"
#include "caffe/util/device_alternate.hpp"

namespace caffe {
namespace randrop {

/// Blocks that a reduction with fewer segments is spread over.
const int kReduceBlocks = 1024;
/// Bits per digit of the GPU's radix selection; one histogram bin per thread.
const int kSelectDigitBits = 8;

/// Like CUDA_KERNEL_LOOP, which never ends from 2^30 elements on: its index
/// plus its stride may overflow an int.
#define RANDROP_PIXEL_LOOP(i, count) \
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + \
           threadIdx.x; i < (count); \
       i += static_cast<int64_t>(blockDim.x) * gridDim.x)

/// Blocks needed to give each element a thread.
inline int PixelLoopBlocks(int64_t count) {
  return (count + CAFFE_CUDA_NUM_THREADS - 1) / CAFFE_CUDA_NUM_THREADS;
}

template <typename Operation>
__global__ void ForEachGPU(const int count, const Operation op) {
  RANDROP_PIXEL_LOOP(i, count) {
    op(static_cast<int>(i));
  }
}

template <typename Sums, typename Operation>
__global__ void ReduceGPU(const int size, const int blocks_a_segment,
    const Operation op, Sums* out) {
  const int64_t begin =
      static_cast<int64_t>(blockIdx.x / blocks_a_segment) * size;
  const int64_t end = begin + size;
  Sums mine;
  mine.Clear();
  for (int64_t i = begin + blockIdx.x % blocks_a_segment * blockDim.x +
           threadIdx.x; i < end; i += blocks_a_segment * blockDim.x) {
    op(static_cast<int>(i), &mine);
  }
  const Sums sum = BlockReduce(mine);
  if (threadIdx.x == 0) {
    out[blockIdx.x] = sum;
  }
}

/// Adds up the sums of each segment's blocks.
template <typename Sums>
__global__ void FoldGPU(const int blocks_a_segment, const Sums* block_sums,
    Sums* out) {
  Sums mine;
  mine.Clear();
  for (int b = threadIdx.x; b < blocks_a_segment; b += blockDim.x) {
    mine.Add(block_sums[blockIdx.x * blocks_a_segment + b]);
  }
  const Sums sum = BlockReduce(mine);
  if (threadIdx.x == 0) {
    out[blockIdx.x] = sum;
  }
}

/// Sums classes from `first` on; a block handles pixels of one image.
template <typename Sums, typename Operation>
__global__ void ReduceClassesGPU(const int classes, const int first,
    const int area, const int blocks_an_image, const Operation op, Sums* out) {
  const int image = blockIdx.x / blocks_an_image;
  const int block = blockIdx.x % blocks_an_image;
  Sums mine[kClassesAtOnce];
#pragma unroll
  for (int k = 0; k < kClassesAtOnce; ++k) {
    mine[k].Clear();
  }
  for (int64_t j = block * blockDim.x + threadIdx.x; j < area;
       j += blocks_an_image * blockDim.x) {
    op.template AddClasses<kClassesAtOnce>(
        static_cast<int>(static_cast<int64_t>(image) * area + j), first, mine);
  }
#pragma unroll
  for (int k = 0; k < kClassesAtOnce; ++k) {
    if (first + k < classes) {
      const Sums sum = BlockReduce(mine[k]);
      if (threadIdx.x == 0) {
        out[(image * classes + first + k) * blocks_an_image + block] = sum;
      }
      __syncthreads();
    }
  }
}

/// Sums one cell of one class of one segment in each block.
template <typename Sums, typename Operation, typename Map>
__global__ void ReduceCellsGPU(const Operation op, const Map map, Sums* out) {
  const int group = blockIdx.x / map.most, cell = blockIdx.x % map.most;
  const int first = group / map.classes * map.area;
  Sums mine;
  mine.Clear();
  for (int64_t j = threadIdx.x; j < map.area; j += blockDim.x) {
    if (map.At(static_cast<int>(first + j), group % map.classes) == cell) {
      op.AddOfGroup(group, static_cast<int>(j), &mine);
    }
  }
  const Sums sum = BlockReduce(mine);
  if (threadIdx.x == 0) {
    out[blockIdx.x] = sum;
  }
}

template <typename Key>
__global__ void BeginSelectGPU(const int segments, const int* wanted,
    RadixCut<Key>* cuts, int* histograms) {
  RANDROP_PIXEL_LOOP(i, static_cast<int64_t>(segments) << kSelectDigitBits) {
    histograms[i] = 0;
    if (i < segments) {
      cuts[i] = RadixCut<Key>(wanted[i]);
    }
  }
}

template <typename Key, typename Operation>
__global__ void SelectHistogramGPU(const int size, const int blocks_a_segment,
    const Operation op, const int shift, const RadixCut<Key>* cuts,
    int* histograms) {
  const int kDigits = 1 << kSelectDigitBits;
  __shared__ int histogram[kDigits];
  const int segment = blockIdx.x / blocks_a_segment;
  for (int d = threadIdx.x; d < kDigits; d += blockDim.x) {
    histogram[d] = 0;
  }
  __syncthreads();
  const RadixCut<Key> cut = cuts[segment];
  const int64_t begin = static_cast<int64_t>(segment) * size;
  const int64_t end = begin + size;
  for (int64_t i = begin + blockIdx.x % blocks_a_segment * blockDim.x +
           threadIdx.x; i < end; i += blocks_a_segment * blockDim.x) {
    Key key;
    if (op.Key(static_cast<int>(i), &key) &&
        cut.Matches(key, shift + kSelectDigitBits)) {
      atomicAdd(histogram + ((key >> shift) & (kDigits - 1)), 1);
    }
  }
  __syncthreads();
  for (int d = threadIdx.x; d < kDigits; d += blockDim.x) {
    if (histogram[d] > 0) {
      atomicAdd(histograms + static_cast<int64_t>(segment) * kDigits + d,
          histogram[d]);
    }
  }
}

template <typename Key>
__global__ void NarrowGPU(
    const int segments, const int shift, RadixCut<Key>* cuts, int* histograms) {
  const int kDigits = 1 << kSelectDigitBits;
  RANDROP_PIXEL_LOOP(s, segments) {
    RadixCut<Key> cut = cuts[s];
    cut.Narrow(histograms + s * kDigits, kDigits, shift);
    cuts[s] = cut;
    for (int d = 0; d < kDigits; ++d) {
      histograms[s * kDigits + d] = 0;
    }
  }
}

/// The part of its segment that a block marks: neighbouring elements, so that
/// ties can be counted in index order.
struct Chunk {
  int64_t begin, end;

  __device__ Chunk(int size, int blocks_a_segment) {
    const int64_t length = (size - 1) / blocks_a_segment + 1;
    const int64_t first =
        static_cast<int64_t>(blockIdx.x / blocks_a_segment) * size;
    begin = first + blockIdx.x % blocks_a_segment * length;
    end = begin + length < first + size ? begin + length : first + size;
  }
};

struct Tally {
  int count;

  RANDROP_HOST_DEVICE inline void Clear() { count = 0; }
  RANDROP_HOST_DEVICE inline void Add(const Tally& other) {
    count += other.count;
  }
};

template <typename Key, typename Operation>
__global__ void CountTiesGPU(const int size, const int blocks_a_segment,
    const Operation op, const RadixCut<Key>* cuts, int* ties) {
  const Chunk chunk(size, blocks_a_segment);
  const Key prefix = cuts[blockIdx.x / blocks_a_segment].prefix;
  Tally mine;
  mine.Clear();
  for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += blockDim.x) {
    Key key;
    mine.count += op.Key(static_cast<int>(i), &key) && key == prefix;
  }
  const Tally sum = BlockReduce(mine);
  if (threadIdx.x == 0) {
    ties[blockIdx.x] = sum.count;
  }
}

/// Turns the ties in each block into the ties before it in its segment.
__global__ static void ScanTiesGPU(const int segments,
    const int blocks_a_segment, int* ties) {
  RANDROP_PIXEL_LOOP(s, segments) {
    int before = 0;
    for (int64_t b = s * blocks_a_segment; b < (s + 1) * blocks_a_segment;
         ++b) {
      const int here = ties[b];
      ties[b] = before;
      before += here;
    }
  }
}

template <typename Key, typename Operation>
__global__ void MarkGPU(const int size, const int blocks_a_segment,
    const Operation op, const RadixCut<Key>* cuts, const int* ties) {
  __shared__ int counts[kReduceThreads];
  const Chunk chunk(size, blocks_a_segment);
  const RadixCut<Key> cut = cuts[blockIdx.x / blocks_a_segment];
  int before = ties[blockIdx.x];
  for (int64_t tile = chunk.begin; tile < chunk.end; tile += blockDim.x) {
    const int64_t i = tile + threadIdx.x;
    Key key = 0;
    const bool takes_part =
        i < chunk.end && op.Key(static_cast<int>(i), &key);
    const int tie = takes_part && key == cut.prefix;
    // An inclusive scan over the threads of the block.
    counts[threadIdx.x] = tie;
    __syncthreads();
    for (int step = 1; step < kReduceThreads; step *= 2) {
      const int left = static_cast<int>(threadIdx.x) >= step ?
          counts[threadIdx.x - step] : 0;
      __syncthreads();
      counts[threadIdx.x] += left;
      __syncthreads();
    }
    if (takes_part) {
      op.Mark(static_cast<int>(i),
          cut.Takes(key, before + counts[threadIdx.x] - tie));
    }
    before += counts[kReduceThreads - 1];
    __syncthreads();
  }
}

/// @brief The loops of OnCpu on the GPU; pointers are to device memory.
struct OnGpu {
  template <typename Dtype>
  static const Dtype* Data(const Blob<Dtype>& blob) { return blob.gpu_data(); }
  template <typename Dtype>
  static Dtype* MutableData(Blob<Dtype>* blob) {
    return blob->mutable_gpu_data();
  }
  template <typename Dtype>
  static Dtype* MutableDiff(Blob<Dtype>* blob) {
    return blob->mutable_gpu_diff();
  }
  static void* Memory(SyncedMemory* memory) {
    return memory->mutable_gpu_data();
  }
  template <typename T>
  static T Read(const T* address) {
    T value;
    CUDA_CHECK(cudaMemcpy(&value, address, sizeof(value),
        cudaMemcpyDeviceToHost));
    return value;
  }

  template <typename Operation>
  static void ForEach(int count, const Operation& op) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    ForEachGPU<<<PixelLoopBlocks(count), CAFFE_CUDA_NUM_THREADS>>>(count, op);
    CUDA_POST_KERNEL_CHECK;
  }
  template <typename Operation>
  static void ForEach(int segments, int size, const Operation& op) {
    ForEach(segments * size, op);
  }

  template <typename Sums, typename Operation>
  static void Reduce(int segments, int size, const Operation& op, Sums* sums,
      ScratchMemory* scratch) {
    const int spread = BlocksASegment(segments, size);
    Sums* block_sums = spread == 1 ? sums :
        scratch->Get<OnGpu, Sums>(segments * spread);
    // NOLINT_NEXT_LINE(whitespace/operators)
    ReduceGPU<<<segments * spread, kReduceThreads>>>(size, spread, op,
        block_sums);
    CUDA_POST_KERNEL_CHECK;
    if (spread > 1) {
      Fold(segments, spread, block_sums, sums);
    }
  }

  template <typename Sums, typename Operation>
  static void ReduceAll(int segments, int size, const Operation& op,
      Sums* total, ScratchMemory* scratch) {
    Reduce(1, segments * size, op, total, scratch);
  }

  template <typename Sums>
  static void Fold(int segments, int blocks_a_segment, const Sums* block_sums,
      Sums* sums) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    FoldGPU<<<segments, kReduceThreads>>>(blocks_a_segment, block_sums, sums);
    CUDA_POST_KERNEL_CHECK;
  }

  template <typename Sums, typename Operation>
  static void ReduceClasses(int images, int classes, int area,
      const Operation& op, Sums* sums, ScratchMemory* scratch) {
    const int spread = BlocksASegment(images, area);
    Sums* block_sums =
        scratch->Get<OnGpu, Sums>(images * classes * spread);
    for (int first = 0; first < classes; first += kClassesAtOnce) {
      // NOLINT_NEXT_LINE(whitespace/operators)
      ReduceClassesGPU<<<images * spread, kReduceThreads>>>(classes, first,
          area, spread, op, block_sums);
    }
    CUDA_POST_KERNEL_CHECK;
    Fold(images * classes, spread, block_sums, sums);
  }

  template <typename Sums, typename Operation, typename Map>
  static void ReduceCells(int segments, int size, const Operation& op,
      const Map& map, Sums* sums) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    ReduceCellsGPU<<<segments * map.classes * map.most, kReduceThreads>>>(op,
        map, sums);
    CUDA_POST_KERNEL_CHECK;
  }
  template <typename Sums, typename Operation, typename Map>
  static void ReduceClassCells(int segments, int size, const Operation& op,
      const Map& map, Sums* sums) {
    ReduceCells(segments, size, op, map, sums);
  }
  template <typename Operation, typename Map>
  static void ForEachInCells(int segments, int size, const Operation& op,
      const Map&) {
    ForEach(segments, size, op);
  }

  template <typename Key, typename Operation>
  static void Select(int segments, int size, const Operation& op,
      const int* wanted, ScratchMemory* scratch) {
    const int spread = BlocksASegment(segments, size);
    const int blocks = segments * spread;
    const int64_t bins = static_cast<int64_t>(segments) << kSelectDigitBits;
    const size_t bytes = segments * sizeof(RadixCut<Key>) +
        (bins + blocks) * sizeof(int);
    RadixCut<Key>* cuts =
        reinterpret_cast<RadixCut<Key>*>(scratch->Get<OnGpu, char>(bytes));
    int* histograms = reinterpret_cast<int*>(cuts + segments);
    int* ties = histograms + bins;
    // NOLINT_NEXT_LINE(whitespace/operators)
    BeginSelectGPU<<<PixelLoopBlocks(bins), CAFFE_CUDA_NUM_THREADS>>>(
        segments, wanted, cuts, histograms);
    for (int shift = sizeof(Key) * 8 - kSelectDigitBits; shift >= 0;
         shift -= kSelectDigitBits) {
      // NOLINT_NEXT_LINE(whitespace/operators)
      SelectHistogramGPU<<<blocks, kReduceThreads>>>(size, spread, op, shift,
          cuts, histograms);
      // NOLINT_NEXT_LINE(whitespace/operators)
      NarrowGPU<<<PixelLoopBlocks(segments), CAFFE_CUDA_NUM_THREADS>>>(
          segments, shift, cuts, histograms);
    }
    // NOLINT_NEXT_LINE(whitespace/operators)
    CountTiesGPU<<<blocks, kReduceThreads>>>(size, spread, op, cuts, ties);
    // NOLINT_NEXT_LINE(whitespace/operators)
    ScanTiesGPU<<<PixelLoopBlocks(segments), CAFFE_CUDA_NUM_THREADS>>>(
        segments, spread, ties);
    // NOLINT_NEXT_LINE(whitespace/operators)
    MarkGPU<<<blocks, kReduceThreads>>>(size, spread, op, cuts, ties);
    CUDA_POST_KERNEL_CHECK;
  }

  static int BlocksASegment(int segments, int size) {
    return std::max(1, std::min(kReduceBlocks / segments,
        (size - 1) / kReduceThreads + 1));
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOOPS_GPU_CUH_
