#ifndef CAFFE_RANDROP_LOOPS_BLOCK_REDUCE_CUH_
#define CAFFE_RANDROP_LOOPS_BLOCK_REDUCE_CUH_

namespace caffe {
namespace randrop {

/// Threads in a block that reduces multi-number sums in shared memory.
const int kReduceThreads = 256;

/**
 * @brief Adds the sums of a block's kReduceThreads threads in a fixed order, so
 *        that the result is reproducible; thread 0 returns it.
 */
template <typename Sums>
__device__ inline Sums BlockReduce(const Sums& mine) {
  __shared__ Sums sums[kReduceThreads];
  const int thread = threadIdx.x;
  sums[thread] = mine;
  __syncthreads();
  for (int half = kReduceThreads / 2; half > 0; half /= 2) {
    if (thread < half) {
      sums[thread].Add(sums[thread + half]);
    }
    __syncthreads();
  }
  return sums[0];
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOOPS_BLOCK_REDUCE_CUH_
