// The indices of the GPU's loops where counts come near what an int holds: the
// first and last blocks of grids of millions, and operations that note where
// they are called, but touch no pixels.

#include <stdint.h>

#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/common.hpp"
#include "caffe/util/pixel_loops.cuh"

namespace {

using caffe::OnGpu;

const int kMost = std::numeric_limits<int>::max();
const int kHuge[] = {1 << 30, (1 << 30) + 1, (1 << 30) + 511, kMost - 1000,
    kMost - 511, kMost - 1, kMost};

/// What was called, on the device.
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
      __trap();  // a loop that wraps need not end
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

struct NoteKeys {
  int end;
  Calls* calls;

  bool Key(int i, uint32_t* key) const {
    if (i < 0 || i >= end) {
      __trap();
    }
    *key = i;
    return true;
  }
  void Mark(int i, bool selected) const {
    const NoteEach note = {end, calls};
    note(i);
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

  // The elements of the outer blocks, where each block of `threads` takes the
  // neighbouring ones, and the grid begins again after `blocks`.
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
  caffe::ScratchMemory scratch;
  for (int count : {kHuge[0], kMost}) {
    SCOPED_TRACE(count);
    const Calls expected = Expected(count, caffe::kReduceThreads,
        caffe::kReduceBlocks, 1);
    const NoteSums note = {count};
    OnGpu::Reduce(1, count, note, calls_, &scratch);
    Check(expected, Read());
    OnGpu::ReduceClasses(1, 1, count, note, calls_, &scratch);
    Check(expected, Read());
  }
}

TEST_F(GpuLoopsTest, TestLastSegment) {
  // Which ends where an int does.
  const cuda_on_cpu::OnlyOuterBlocks outer(1);
  const int segments = 1 << 15, size = kMost / segments;
  const NoteSums note = {segments * size};
  Calls* sums = NULL;
  CUDA_CHECK(cudaMalloc(&sums, segments * sizeof(Calls)));
  caffe::ScratchMemory scratch;
  OnGpu::Reduce(segments, size, note, sums, &scratch);
  const Calls last = OnGpu::Read(sums + segments - 1);
  EXPECT_EQ(size, last.count);
  cudaFree(sums);
}

TEST_F(GpuLoopsTest, TestSelection) {
  const cuda_on_cpu::OnlyOuterBlocks outer(2);
  const int spread = 1 << 20;
  caffe::Cut<uint32_t>* cuts = NULL;
  int* histograms = NULL;
  int* ties = NULL;
  CUDA_CHECK(cudaMalloc(&cuts, sizeof(*cuts)));
  CUDA_CHECK(cudaMalloc(&histograms, 256 * sizeof(int)));
  CUDA_CHECK(cudaMalloc(&ties, spread * sizeof(int)));
  CUDA_CHECK(cudaMemset(ties, 0, spread * sizeof(int)));
  CUDA_CHECK(cudaMemset(cuts, 0, sizeof(*cuts)));
  CUDA_CHECK(cudaMemset(histograms, 0, 256 * sizeof(int)));
  const NoteKeys note = {kMost, calls_};
  caffe::SelectHistogramGPU<<<spread, caffe::kReduceThreads>>>(kMost, spread,
      note, 24, cuts, histograms);
  caffe::CountTiesGPU<<<spread, caffe::kReduceThreads>>>(kMost, spread, note,
      cuts, ties);
  Clear();
  caffe::MarkGPU<<<spread, caffe::kReduceThreads>>>(kMost, spread, note, cuts,
      ties);
  Check(Expected(kMost, (kMost - 1) / spread + 1, spread, 2), Read());
  cudaFree(cuts);
  cudaFree(histograms);
  cudaFree(ties);
}

TEST_F(GpuLoopsTest, TestTooManySegmentsAreOutOfMemory) {
  // Their histograms are 16 GiB: not 0 bytes, as an int would have it.
  ::testing::FLAGS_gtest_death_test_style = "fast";
  const NoteKeys note = {1 << 24, calls_};
  const int* wanted = NULL;  // nobody comes to read it
  caffe::ScratchMemory scratch;
  EXPECT_DEATH(OnGpu::Select<uint32_t>(1 << 24, 1, note, wanted, &scratch),
      "out of memory");
}

}  // namespace
