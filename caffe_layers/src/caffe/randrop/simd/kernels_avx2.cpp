#include <stdint.h>
#include <string.h>

#include <cfloat>
#include <cmath>

#include "caffe/randrop/simd/targets.hpp"

#ifdef RANDROP_X86_KERNELS

#include <immintrin.h>

#pragma GCC diagnostic ignored "-Wpsabi"
// Applies from here on; the headers included above are for any processor.
#pragma GCC target("avx2,fma,bmi2")
#define RANDROP_LANES 8
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
extern const PixelKernels kAvx2PixelKernels = {
  "AVX2", RandomDropKernel, BalancedDiffKernel,
  RANDROP_WRITING_KERNELS(RANDROP_WRITING)
  RANDROP_SUMMING_KERNELS(RANDROP_SUMMING)
  RANDROP_CLASSES_KERNELS(RANDROP_SUMMING)
  RANDROP_SELECTING_KERNELS(RANDROP_SELECTING)
};

}  // namespace randrop
}  // namespace caffe

#endif  // RANDROP_X86_KERNELS
