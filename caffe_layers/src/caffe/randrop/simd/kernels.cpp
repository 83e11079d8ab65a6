#include "caffe/randrop/simd/kernels.hpp"

#include <cstdlib>
#include <string>

#include "caffe/common.hpp"

namespace caffe {
namespace randrop {

namespace {

const PixelKernels* Choose() {
  const char* variable = std::getenv("RANDROP_VECTORS");
  const string wanted = variable ? variable : "";
#ifdef RANDROP_X86_KERNELS
  const bool avx2 = __builtin_cpu_supports("avx2") &&
      __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && (wanted.empty() || wanted == "AVX512")) {
    return &kAvx512PixelKernels;
  }
  if (avx2 && (wanted.empty() || wanted == "AVX2")) {
    return &kAvx2PixelKernels;
  }
#endif
  CHECK(wanted.empty() || wanted == "PLAIN") << "RANDROP_VECTORS is " << wanted
      << ": this processor or build lacks these kernels; unset it.";
#ifdef RANDROP_VECTOR_KERNELS
  return &kPlainPixelKernels;
#else
  return NULL;
#endif
}

}  // namespace

const PixelKernels* FastestPixelKernels() {
  static const PixelKernels* const kernels = Choose();
  return kernels;
}

#define RANDROP_KERNEL(Operation, kernel) \
bool InVectors(const Operation<float>& op, int begin, int end) { \
  const PixelKernels* kernels = FastestPixelKernels(); \
  return kernels && kernels->kernel(op, begin, end); \
}
RANDROP_WRITING_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL
#define RANDROP_KERNEL(Operation, Sums, kernel) \
bool InVectors(const Operation<float>& op, int begin, int end, Sums* sums) { \
  const PixelKernels* kernels = FastestPixelKernels(); \
  return kernels && kernels->kernel(op, begin, end, sums); \
}
RANDROP_SUMMING_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL
#define RANDROP_KERNEL(Operation, Sums, kernel) \
bool ClassesInVectors(const Operation<float>& op, int begin, int end, \
    Sums* sums) { \
  const PixelKernels* kernels = FastestPixelKernels(); \
  return kernels && kernels->kernel(op, begin, end, sums); \
}
RANDROP_CLASSES_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL
#define RANDROP_KERNEL(Operation, kernel) \
int CollectInVectors(const Operation<float>& op, int begin, int end, \
    const KeyRange<uint32_t>& range, KeyCounts* counts, uint32_t* between) { \
  const PixelKernels* kernels = FastestPixelKernels(); \
  return !kernels ? begin : \
      kernels->collect_##kernel(op, begin, end, range, counts, between); \
} \
int MarkInVectors(const Operation<float>& op, int begin, int end, \
    uint32_t least, int* ties) { \
  const PixelKernels* kernels = FastestPixelKernels(); \
  return !kernels ? begin : \
      kernels->mark_##kernel(op, begin, end, least, ties); \
}
RANDROP_SELECTING_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL

}  // namespace randrop
}  // namespace caffe
