#include <stdint.h>
#include <string.h>

#include <cfloat>
#include <cmath>

#include "caffe/util/vector_sets.hpp"

#ifdef CAFFE_X86_KERNELS

#include <immintrin.h>

#pragma GCC diagnostic ignored "-Wpsabi"
// From here on; what is included before is for any processor.
#pragma GCC target("avx2,fma,bmi2")
#define CAFFE_LANES 8
#include "caffe/util/dice_kernels_impl.hpp"
#include "caffe/util/pixel_kernels_impl.hpp"
#include "caffe/util/select_kernels_impl.hpp"
#include "caffe/util/sigmoid_kernels_impl.hpp"
#include "caffe/util/softmax_kernels_impl.hpp"

namespace caffe {

#define CAFFE_WRITING(Operation, kernel) Operation##Kernel,
#define CAFFE_SUMMING(Operation, Sums, kernel) Operation##Kernel,
#define CAFFE_SELECTING(Operation, kernel) \
    CollectKernel<Operation<float> >, MarkKernel<Operation<float> >,
extern const PixelKernels kAvx2PixelKernels = {
  "AVX2", RandomDropKernel, BalancedDiffKernel,
  CAFFE_WRITING_KERNELS(CAFFE_WRITING)
  CAFFE_SUMMING_KERNELS(CAFFE_SUMMING)
  CAFFE_CLASSES_KERNELS(CAFFE_SUMMING)
  CAFFE_SELECTING_KERNELS(CAFFE_SELECTING)
};

}  // namespace caffe

#endif  // CAFFE_X86_KERNELS
