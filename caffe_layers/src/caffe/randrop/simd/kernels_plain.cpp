#include <stdint.h>
#include <string.h>

#include <cfloat>
#include <cmath>
#include <cstddef>

#include "caffe/randrop/simd/targets.hpp"

#ifdef RANDROP_VECTOR_KERNELS

#ifdef __SSE2__
#include <immintrin.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"
#define RANDROP_LANES 4
#define RANDROP_SET "PLAIN"
#define RANDROP_TABLE kPlainPixelKernels
#include "caffe/randrop/simd/kernels-inl.hpp"

#endif  // RANDROP_VECTOR_KERNELS
