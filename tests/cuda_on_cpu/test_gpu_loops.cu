// The indices of the GPU loops for counts near the limit of an int: the first
// and last blocks of grids of millions, with operations that record their
// indices but touch no pixels.

#include <stdint.h>

#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/common.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace {

namespace randrop = caffe::randrop;
using randrop::OnGpu;

const int kMost = std::numeric_limits<int>::max();
const int kHuge[] = {1 << 30, (1 << 30) + 1, (1 << 30) + 511, kMost - 1000,
    kMost - 511, kMost - 1, kMost};

/// Records calls on the device.
struct Calls {
  unsigned long long count, sum;  // NOLINT(runtime/int)

  void Clear() { count = sum = 0; }
  void Add(const Calls& other) {
    count += other.count;
    sum += other.sum;
  }
  void Note(int i, int end) {
    if (i < 0 || i >= end) {
      __trap();
    }
    ++count;
    sum += i;
  }
};

struct NoteEach {
  int end;
  Calls* calls;

  void operator()(int i) const {
    if (i < 0 || i >= end) {
      __trap();  // a loop that wraps around may never end
    }
    atomicAdd(&calls->count, 1);
    atomicAdd(&calls->sum, i);
  }
};

struct NoteSums {
  int end;

  void operator()(int i, Calls* sums) const { sums->Note(i, end); }
  template <int most>
  void AddClasses(int j, int first, Calls* sums) const {
    sums[0].Note(j, end);
  }
};

/// Keys that grow with the index, or are all 0. Counts marks and sums those of
/// selected elements.
struct NoteKeys {
  int end;
  bool equal;
  Calls* calls;

  bool Key(int i, uint32_t* key) const {
    if (i < 0 || i >= end) {
      __trap();
    }
    *key = equal ? 0 : i;
    return true;
  }
  void Mark(int i, bool selected) const {
    if (i < 0 || i >= end) {
      __trap();
    }
    atomicAdd(&calls->count, 1);
    atomicAdd(&calls->sum, selected ? i : 0);
  }
};

struct WriteCall {
  Calls* calls;

  void operator()(int i) const {
    calls[i].count = 1;
    calls[i].sum = i;
  }
};

class GpuLoopsTest : public ::testing::Test {
 protected:
  GpuLoopsTest() : calls_(NULL) {
    CUDA_CHECK(cudaMalloc(&calls_, sizeof(Calls)));
    Clear();
  }
  ~GpuLoopsTest() { cudaFree(calls_); }

  void Clear() { CUDA_CHECK(cudaMemset(calls_, 0, sizeof(Calls))); }
  Calls Read() const { return OnGpu::Read(calls_); }

  // The elements of the outer blocks: a block takes `threads` neighbouring
  // elements, and the grid starts over after `blocks` blocks.
  static Calls Expected(int64_t size, int64_t threads, int64_t blocks,
      int64_t outer) {
    Calls calls;
    calls.Clear();
    for (int64_t tile = 0; tile * threads < size; ++tile) {
      const int64_t block = tile % blocks;
      if (block >= outer && block < blocks - outer) {
        continue;
      }
      for (int64_t i = tile * threads;
           i < std::min(size, (tile + 1) * threads); ++i) {
        ++calls.count;
        calls.sum += i;
      }
    }
    return calls;
  }

  static void Check(const Calls& expected, const Calls& found) {
    EXPECT_EQ(expected.count, found.count);
    EXPECT_EQ(expected.sum, found.sum);
  }

  Calls* calls_;
};

TEST_F(GpuLoopsTest, TestForEach) {
  const cuda_on_cpu::OnlyOuterBlocks outer(2);
  for (int count : kHuge) {
    SCOPED_TRACE(count);
    Clear();
    const NoteEach note = {count, calls_};
    OnGpu::ForEach(count, note);
    const int64_t threads = caffe::CAFFE_CUDA_NUM_THREADS;
    Check(Expected(count, threads, (count - 1) / threads + 1, 2), Read());
  }
}

TEST_F(GpuLoopsTest, TestReduce) {
  const cuda_on_cpu::OnlyOuterBlocks outer(1);
  randrop::ScratchMemory scratch;
  for (int count : {kHuge[0], kMost}) {
    SCOPED_TRACE(count);
    const Calls expected = Expected(count, randrop::kReduceThreads,
        randrop::kReduceBlocks, 1);
    const NoteSums note = {count};
    OnGpu::Reduce(1, count, note, calls_, &scratch);
    Check(expected, Read());
    OnGpu::ReduceClasses(1, 1, count, note, calls_, &scratch);
    Check(expected, Read());
  }
}

TEST_F(GpuLoopsTest, TestLastSegment) {
  // The segments end at the limit of an int.
  const cuda_on_cpu::OnlyOuterBlocks outer(1);
  const int segments = 1 << 15, size = kMost / segments;
  const NoteSums note = {segments * size};
  Calls* sums = NULL;
  CUDA_CHECK(cudaMalloc(&sums, segments * sizeof(Calls)));
  randrop::ScratchMemory scratch;
  OnGpu::Reduce(segments, size, note, sums, &scratch);
  const Calls last = OnGpu::Read(sums + segments - 1);
  EXPECT_EQ(size, last.count);
  cudaFree(sums);
}

TEST_F(GpuLoopsTest, TestFold) {
  // More sums than threads, and not a multiple.
  const int count = 1000;
  Calls* sums = NULL;
  CUDA_CHECK(cudaMalloc(&sums, count * sizeof(Calls)));
  const WriteCall write = {sums};
  OnGpu::ForEach(count, write);
  OnGpu::Fold(1, count, sums, calls_);
  EXPECT_EQ(count, Read().count);
  EXPECT_EQ(count * (count - 1) / 2, Read().sum);
  cudaFree(sums);
}

TEST_F(GpuLoopsTest, TestSelection) {
  const cuda_on_cpu::OnlyOuterBlocks outer(2);
  const int spread = 1 << 20, digits = 256, wanted = 1000;
  const int64_t chunk = (kMost - 1) / spread + 1;
  randrop::RadixCut<uint32_t>* cuts = NULL;
  int* histogram = NULL;
  int* ties = NULL;
  CUDA_CHECK(cudaMalloc(&cuts, sizeof(*cuts)));
  CUDA_CHECK(cudaMalloc(&histogram, digits * sizeof(int)));
  CUDA_CHECK(cudaMalloc(&ties, spread * sizeof(int)));
  CUDA_CHECK(cudaMemset(ties, 0, spread * sizeof(int)));
  CUDA_CHECK(cudaMemset(histogram, 0, digits * sizeof(int)));
  const randrop::RadixCut<uint32_t> cut(wanted);
  CUDA_CHECK(cudaMemcpy(cuts, &cut, sizeof(cut), cudaMemcpyHostToDevice));

  const NoteKeys growing = {kMost, false, calls_};
  randrop::SelectHistogramGPU<<<spread, randrop::kReduceThreads>>>(kMost,
      spread, growing, 24, cuts, histogram);
  std::vector<int> expected(digits), found(digits);
  for (int64_t tile = 0; tile * randrop::kReduceThreads < kMost; ++tile) {
    const int64_t block = tile % spread;
    if (block >= 2 && block < spread - 2) {
      continue;
    }
    for (int64_t i = tile * randrop::kReduceThreads;
         i < std::min<int64_t>(kMost, (tile + 1) * randrop::kReduceThreads);
         ++i) {
      ++expected[i >> 24];
    }
  }
  CUDA_CHECK(cudaMemcpy(found.data(), histogram, digits * sizeof(int),
      cudaMemcpyDeviceToHost));
  EXPECT_TRUE(expected == found);

  const NoteKeys equal = {kMost, true, calls_};
  randrop::CountTiesGPU<<<spread, randrop::kReduceThreads>>>(kMost, spread,
      equal, cuts, ties);
  EXPECT_EQ(chunk, OnGpu::Read(ties));
  EXPECT_EQ(chunk, OnGpu::Read(ties + spread - 2));
  EXPECT_EQ(kMost - (spread - 1) * chunk, OnGpu::Read(ties + spread - 1));

  // Each block takes its own first ties, as if none preceded it.
  CUDA_CHECK(cudaMemset(ties, 0, spread * sizeof(int)));
  randrop::MarkGPU<<<spread, randrop::kReduceThreads>>>(kMost, spread, equal,
      cuts, ties);
  Calls marked = Expected(kMost, chunk, spread, 2);
  marked.sum = 0;
  for (int64_t block : {0, 1, spread - 2, spread - 1}) {
    for (int64_t k = 0; k < wanted; ++k) {
      marked.sum += block * chunk + k;
    }
  }
  Check(marked, Read());
  cudaFree(cuts);
  cudaFree(histogram);
  cudaFree(ties);
}

TEST_F(GpuLoopsTest, TestTooManySegmentsAreOutOfMemory) {
  // The histograms take 16 GiB, not 0 bytes as an int would compute.
  ::testing::FLAGS_gtest_death_test_style = "fast";
  const NoteKeys note = {1 << 24, true, calls_};
  const int* wanted = NULL;  // never read
  randrop::ScratchMemory scratch;
  EXPECT_DEATH(OnGpu::Select<uint32_t>(1 << 24, 1, note, wanted, &scratch),
      "out of memory");
}

}  // namespace
