#include <stdint.h>
#include <string.h>

#include <cfloat>
#include <cmath>

#include "caffe/randrop/simd/targets.hpp"

#ifdef RANDROP_VECTOR_KERNELS

#ifdef __SSE2__
#include <immintrin.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"
#define RANDROP_LANES 4
#include "caffe/randrop/simd/dice-inl.hpp"
#include "caffe/randrop/simd/random_drop-inl.hpp"
#include "caffe/randrop/simd/select-inl.hpp"
#include "caffe/randrop/simd/sigmoid-inl.hpp"
#include "caffe/randrop/simd/softmax-inl.hpp"

namespace caffe {
namespace randrop {

#define RANDROP_WRITING(Operation, kernel) Operation##Kernel,
#define RANDROP_SUMMING(Operation, Sums, kernel) Operation##Kernel,
#define RANDROP_SELECTING(Operation, kernel) \
    CollectKernel<Operation<float> >, MarkKernel<Operation<float> >,
extern const PixelKernels kPlainPixelKernels = {
  "PLAIN", RandomDropKernel, BalancedDiffKernel,
  RANDROP_WRITING_KERNELS(RANDROP_WRITING)
  RANDROP_SUMMING_KERNELS(RANDROP_SUMMING)
  RANDROP_CLASSES_KERNELS(RANDROP_SUMMING)
  RANDROP_SELECTING_KERNELS(RANDROP_SELECTING)
};

}  // namespace randrop
}  // namespace caffe

#endif  // RANDROP_VECTOR_KERNELS
