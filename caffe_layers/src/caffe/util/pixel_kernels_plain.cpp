#include <stdint.h>
#include <string.h>

#include <cfloat>
#include <cmath>

#include "caffe/util/vector_sets.hpp"

#ifdef CAFFE_VECTOR_KERNELS

#ifdef __SSE2__
#include <immintrin.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"
#define CAFFE_LANES 4
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
extern const PixelKernels kPlainPixelKernels = {
  "PLAIN", RandomDropKernel, BalancedDiffKernel,
  CAFFE_WRITING_KERNELS(CAFFE_WRITING)
  CAFFE_SUMMING_KERNELS(CAFFE_SUMMING)
  CAFFE_CLASSES_KERNELS(CAFFE_SUMMING)
  CAFFE_SELECTING_KERNELS(CAFFE_SELECTING)
};

}  // namespace caffe

#endif  // CAFFE_VECTOR_KERNELS
