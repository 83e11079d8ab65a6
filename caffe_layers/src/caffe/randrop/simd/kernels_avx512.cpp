#include <stdint.h>
#include <string.h>

#include <cfloat>
#include <cmath>
#include <cstddef>

#include "caffe/randrop/simd/targets.hpp"

#ifdef RANDROP_X86_KERNELS

// GCC's header leaves registers unset where all of them is written, and warns
// of its own lines hundreds of times.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"
// Applies from here on; the headers included above are for any processor.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target( \
    "avx512f,avx512bw,avx512dq,avx512vl,fma,bmi2"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,bmi2")
#if __GNUC__ >= 10  // Before, it was an option of the command line alone.
#pragma GCC target("prefer-vector-width=512")
#endif
#endif
#define RANDROP_LANES 16
#define RANDROP_SET "AVX512"
#define RANDROP_TABLE kAvx512PixelKernels
#include "caffe/randrop/simd/kernels-inl.hpp"
#ifdef __clang__
#pragma clang attribute pop
#endif

#endif  // RANDROP_X86_KERNELS
