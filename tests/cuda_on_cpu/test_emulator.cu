// Tests of the emulation: correct kernels, and each fault that it detects.

#include <vector>

#include "gtest/gtest.h"

#include "caffe/common.hpp"

namespace {

const int kThreads = 64;

class CudaOnCpuTest : public ::testing::Test {
 protected:
  CudaOnCpuTest() : numbers_(NULL) {
    CUDA_CHECK(cudaMalloc(&numbers_, kThreads * sizeof(int)));
    CUDA_CHECK(cudaMemset(numbers_, 0, kThreads * sizeof(int)));
    ::testing::FLAGS_gtest_death_test_style = "fast";
  }
  ~CudaOnCpuTest() { cudaFree(numbers_); }

  std::vector<int> Read() const {
    std::vector<int> result(kThreads);
    CUDA_CHECK(cudaMemcpy(result.data(), numbers_, kThreads * sizeof(int),
        cudaMemcpyDeviceToHost));
    return result;
  }

  int* numbers_;
};

__global__ void Reverse(int* numbers, const bool waits) {
  __shared__ int shared[kThreads];
  shared[threadIdx.x] = threadIdx.x;
  if (waits) {
    __syncthreads();
  }
  numbers[threadIdx.x] = shared[kThreads - 1 - threadIdx.x];
}

__global__ void Overwrite(int* numbers) {
  __shared__ int shared;
  for (int i = 0; i < 3; ++i) {
    if (threadIdx.x == 0) {
      shared = i;
    }
    __syncthreads();
    numbers[threadIdx.x] = shared;
  }
}

__global__ void Part(const int kind) {
  if (kind == 0 && threadIdx.x == 5) {
    return;
  }
  if (kind == 1 && threadIdx.x == 5) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void Count(int* numbers, const bool atomic) {
  if (atomic) {
    atomicAdd(numbers, 1);
  } else {
    numbers[0] += 1;
  }
}

__global__ void Reach(int* numbers, const int offset) {
  numbers[static_cast<int>(threadIdx.x) + offset] = 1;
}

__global__ void Look(const int* numbers, int* result) {
  result[threadIdx.x] = numbers[threadIdx.x];
}

__global__ void ReadUnwritten(int* numbers) {
  __shared__ int shared[kThreads];
  numbers[threadIdx.x] = shared[threadIdx.x];
}

__global__ void Neighbours(int* numbers) {
  // Each byte of a word belongs to another thread.
  unsigned char* bytes = reinterpret_cast<unsigned char*>(numbers);
  bytes[threadIdx.x] = threadIdx.x;
}

__global__ void SumWarp(int* numbers, const int width, const int lanes) {
  int sum = threadIdx.x;
  if (static_cast<int>(threadIdx.x) % 32 < lanes) {
    for (int by = width / 2; by > 0; by /= 2) {
      sum += __shfl_down_sync(0xffffffffu, sum, by, width);
    }
  }
  numbers[threadIdx.x] = sum;
}

__global__ void ShuffleUnderMask(int* numbers, const int from) {
  if (threadIdx.x < 16) {
    numbers[threadIdx.x] = __shfl_sync(0x0000ffffu, threadIdx.x, from);
  }
}

__global__ void WarpExchange(int* numbers, const bool waits) {
  __shared__ int shared[kThreads];
  shared[threadIdx.x] = threadIdx.x;
  if (waits) {
    __syncwarp();
  }
  numbers[threadIdx.x] = shared[threadIdx.x ^ 1];
  const unsigned int odd = __ballot_sync(0xffffffffu, threadIdx.x % 2);
  if (odd != 0xaaaaaaaau || !__any_sync(0xffffffffu, threadIdx.x == 33 ||
      threadIdx.x == 2) || __all_sync(0xffffffffu, threadIdx.x != 2 &&
      threadIdx.x != 33)) {
    numbers[threadIdx.x] = -1;
  }
}

__global__ void Order(int* numbers) {
  numbers[atomicAdd(numbers + kThreads - 1, 1)] = threadIdx.x;
}

TEST_F(CudaOnCpuTest, TestBarrier) {
  Reverse<<<1, kThreads>>>(numbers_, true);
  for (int t = 0; t < kThreads; ++t) {
    EXPECT_EQ(kThreads - 1 - t, Read()[t]);
  }
}

TEST_F(CudaOnCpuTest, TestMissingBarrierIsARace) {
  EXPECT_DEATH((Reverse<<<1, kThreads>>>(numbers_, false)),
      "Reverse.*(race|never written)");
  EXPECT_DEATH((Overwrite<<<1, kThreads>>>(numbers_)),
      "Overwrite.*a race: it writes what thread .* read");
}

TEST_F(CudaOnCpuTest, TestDivergentBarrier) {
  EXPECT_DEATH((Part<<<1, kThreads>>>(0)), "part at a barrier.*finished");
  EXPECT_DEATH((Part<<<1, kThreads>>>(1)), "part at a barrier");
  Part<<<1, kThreads>>>(2);
}

TEST_F(CudaOnCpuTest, TestLostAtomicIsARace) {
  Count<<<3, kThreads>>>(numbers_, true);
  EXPECT_EQ(3 * kThreads, Read()[0]);
  EXPECT_DEATH((Count<<<1, kThreads>>>(numbers_, false)), "race.*no barrier");
  EXPECT_DEATH((Count<<<2, 1>>>(numbers_, false)), "race.*another block");
}

TEST_F(CudaOnCpuTest, TestMemoryOutOfBounds) {
  EXPECT_DEATH((Reach<<<1, kThreads>>>(numbers_, 1)),
      "Reach.*thread 63 of 64: it writes to 4 bytes.*not allocated.*byte 256 "
      "of an allocation of 256");
  EXPECT_DEATH((Reach<<<1, kThreads>>>(numbers_, -1)), "not allocated");
  EXPECT_DEATH((Reach<<<1, kThreads>>>(static_cast<int*>(NULL), 0)), "memory of the host");
  int* freed;
  CUDA_CHECK(cudaMalloc(&freed, kThreads * sizeof(int)));
  cudaFree(freed);
  EXPECT_DEATH((Reach<<<1, kThreads>>>(freed, 0)), "not allocated");
  EXPECT_EQ(cudaErrorInvalidValue, cudaFree(freed));
}

TEST_F(CudaOnCpuTest, TestHostAndDeviceDoNotShareMemory) {
  std::vector<int> host(kThreads);
  EXPECT_DEATH((Look<<<1, kThreads>>>(host.data(), numbers_)),
      "reads memory of the host");
  EXPECT_DEATH(host[0] = *static_cast<volatile int*>(numbers_), "");
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(numbers_, numbers_, 4,
      cudaMemcpyDeviceToHost));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(host.data(), numbers_,
      (kThreads + 1) * sizeof(int), cudaMemcpyDeviceToHost));
}

TEST_F(CudaOnCpuTest, TestUnwrittenMemory) {
  int* fresh;
  CUDA_CHECK(cudaMalloc(&fresh, kThreads * sizeof(int)));
  EXPECT_DEATH((Look<<<1, kThreads>>>(fresh, numbers_)), "never written");
  // Writes of the previous block do not count.
  EXPECT_DEATH((ReadUnwritten<<<2, kThreads>>>(numbers_)),
      "never written.*shared");
  cudaFree(fresh);
}

TEST_F(CudaOnCpuTest, TestBytesOfOneWord) {
  Neighbours<<<1, kThreads>>>(numbers_);
  EXPECT_EQ(0x03020100, Read()[0]);
}

TEST_F(CudaOnCpuTest, TestShuffles) {
  SumWarp<<<1, kThreads>>>(numbers_, 32, 32);
  EXPECT_EQ(31 * 32 / 2, Read()[0]);
  EXPECT_EQ(31 * 32 / 2 + 32 * 32, Read()[32]);
  SumWarp<<<1, kThreads>>>(numbers_, 8, 32);
  EXPECT_EQ(8 + 9 + 10 + 11 + 12 + 13 + 14 + 15, Read()[8]);
  EXPECT_DEATH((SumWarp<<<1, kThreads>>>(numbers_, 32, 31)),
      "waits for lane 31.*finished");
  EXPECT_DEATH((SumWarp<<<1, 40>>>(numbers_, 32, 32)), "no such thread");
  EXPECT_DEATH((SumWarp<<<1, kThreads>>>(numbers_, 12, 32)), "power of 2");
  ShuffleUnderMask<<<1, kThreads>>>(numbers_, 3);
  EXPECT_EQ(3, Read()[9]);
  EXPECT_DEATH((ShuffleUnderMask<<<1, kThreads>>>(numbers_, 20)),
      "reads lane 20, which takes no part");
}

TEST_F(CudaOnCpuTest, TestWarpBarrier) {
  WarpExchange<<<1, kThreads>>>(numbers_, true);
  EXPECT_EQ(1, Read()[0]);
  EXPECT_EQ(32, Read()[33]);
  EXPECT_DEATH((WarpExchange<<<1, kThreads>>>(numbers_, false)),
      "race|never written");
}

TEST_F(CudaOnCpuTest, TestBadLaunch) {
  Count<<<0, 1>>>(numbers_, true);
  EXPECT_EQ(cudaErrorInvalidConfiguration, cudaGetLastError());
  Count<<<1, 1025>>>(numbers_, true);
  EXPECT_EQ(cudaErrorInvalidConfiguration, cudaGetLastError());
  EXPECT_EQ(cudaSuccess, cudaGetLastError());
}

TEST_F(CudaOnCpuTest, TestSeedChangesTheOrder) {
  cuda_on_cpu::SetSeed(3);
  Order<<<1, kThreads - 1>>>(numbers_);
  const std::vector<int> first = Read();
  CUDA_CHECK(cudaMemset(numbers_, 0, kThreads * sizeof(int)));
  cuda_on_cpu::SetSeed(4);
  Order<<<1, kThreads - 1>>>(numbers_);
  EXPECT_TRUE(first != Read());
  CUDA_CHECK(cudaMemset(numbers_, 0, kThreads * sizeof(int)));
  cuda_on_cpu::SetSeed(3);
  Order<<<1, kThreads - 1>>>(numbers_);
  EXPECT_TRUE(first == Read());
}

}  // namespace
