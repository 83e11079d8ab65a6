#include <stdint.h>
#include <string.h>

#include <cfloat>
#include <cmath>
#include <cstddef>

#include "caffe/randrop/simd/targets.hpp"

#ifdef RANDROP_X86_KERNELS

#include <immintrin.h>

#pragma GCC diagnostic ignored "-Wpsabi"
// Applies from here on; the headers included above are for any processor.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), \
    apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi2")
#endif
#define RANDROP_LANES 8
#define RANDROP_SET "AVX2"
#define RANDROP_TABLE kAvx2PixelKernels
#include "caffe/randrop/simd/kernels-inl.hpp"
#ifdef __clang__
#pragma clang attribute pop
#endif

#endif  // RANDROP_X86_KERNELS
