#ifndef CAFFE_RANDROP_SIMD_VECTOR_HPP_
#define CAFFE_RANDROP_SIMD_VECTOR_HPP_

#include <stdint.h>
#include <string.h>

#include <cfloat>

#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/philox.hpp"

/**
 * @brief Float vectors for one instruction set. A file that includes this is
 *        compiled for that set only and first defines RANDROP_LANES, the number
 *        of floats in a register.
 *
 * The vector types of different sets differ in size, so the linker never
 * confuses code compiled for one set with that of another.
 */
namespace caffe {
namespace randrop {

// The compiler's own vectors, with arithmetic operators; comparisons give
// vectors of 0 and -1, which ?: takes as its condition.
typedef float Floats __attribute__((vector_size(4 * RANDROP_LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * RANDROP_LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * RANDROP_LANES)));
typedef uint64_t LongWords __attribute__((vector_size(4 * RANDROP_LANES)));
typedef unsigned char Bytes __attribute__((vector_size(RANDROP_LANES)));

template <>
struct ScalarOf<Floats> { typedef float Type; };
template <>
struct IndexOf<Floats> { typedef Ints Type; };
template <>
struct WideOf<Floats> { typedef Floats Type; };
template <>
struct KeptClasses<Floats> { static const int kCount = 8; };

// Same names and arguments in each set's files: hence the unnamed namespace.
namespace {

/// @brief 0, 1, 2, ...
inline Ints Numbers() {
  Ints numbers = {0};
  for (int lane = 1; lane < RANDROP_LANES; ++lane) {
    numbers[lane] = lane;
  }
  return numbers;
}

template <typename Numbers>
inline double SumOf(Numbers values) {
  double sum = 0;
  for (int lane = 0; lane < RANDROP_LANES; ++lane) {
    sum += values[lane];
  }
  return sum;
}

#if RANDROP_LANES == 16
inline double SumOf(Floats values) {
  const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256((__m512)values));
  const __m512d high =
      _mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)values, 1));
  return _mm512_reduce_add_pd(_mm512_add_pd(low, high));
}
#endif

/// @brief A bit for each lane of a mask.
inline unsigned BitsOf(Ints mask) {
#if RANDROP_LANES == 16
  return _mm512_movepi32_mask((__m512i)mask);
#elif RANDROP_LANES == 8
  return _mm256_movemask_ps((__m256)mask);
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)mask);
#else
  unsigned bits = 0;
  for (int lane = 0; lane < RANDROP_LANES; ++lane) {
    bits |= (mask[lane] & 1u) << lane;
  }
  return bits;
#endif
}

/// @brief The products of the low halves, a single processor instruction.
inline LongWords LowProduct(LongWords a, uint32_t by) {
  const Words b = Words() + by;
#if RANDROP_LANES == 16
  return (LongWords)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif RANDROP_LANES == 8
  return (LongWords)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (LongWords)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & (LongWords() + 0xFFFFFFFFu)) * (LongWords() + by);
#endif
}

/// @brief 2^power, written as exponent bits. Unsigned arithmetic does not
///        overflow: NaN gives an arbitrary number.
inline Floats PowerOf2(Words power) {
  return (Floats)((power + 127u) << 23);
}

/// @brief p * 2^power for p near 1; power is at least -151.
inline Floats TimesPowerOf2(Floats p, Floats power, Words whole) {
#if RANDROP_LANES == 16
  return (Floats)_mm512_scalef_ps((__m512)p, (__m512)power);
#else
  // In two steps, as 2^power alone may be too small to represent.
  const Words half = (Words)((Ints)whole >> 1);
  return p * PowerOf2(half) * PowerOf2(whole - half);
#endif
}

}  // namespace

template <>
inline Floats LoadAs<Floats>(const float* from) {
  Floats value;
  memcpy(&value, from, sizeof(value));
  return value;
}

template <>
inline void StoreAs<Floats>(Floats value, float* to) {
  memcpy(to, &value, sizeof(value));
}

// Bytes go through intrinsics: the compiler splits such vectors into scalars.
template <>
inline Ints LoadBytes<Ints>(const unsigned char* from) {
#if RANDROP_LANES == 16
  return (Ints)_mm512_cvtepu8_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif RANDROP_LANES == 8
  return (Ints)_mm256_cvtepu8_epi32(
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#elif defined(__SSE2__)
  int32_t four;
  memcpy(&four, from, sizeof(four));
  const __m128i zero = _mm_setzero_si128();
  return (Ints)_mm_unpacklo_epi16(
      _mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero), zero);
#else
  Bytes bytes;
  memcpy(&bytes, from, sizeof(bytes));
  return __builtin_convertvector(bytes, Ints);
#endif
}
template <>
inline void StoreBytes<Ints>(Ints value, unsigned char* to) {
#if RANDROP_LANES == 16
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
      _mm512_cvtepi32_epi8((__m512i)value));
#elif RANDROP_LANES == 8
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)value),
      _mm256_extracti128_si256((__m256i)value, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to),
      _mm_packus_epi16(words, words));
#elif defined(__SSE2__)
  const __m128i words = _mm_packs_epi32((__m128i)value, (__m128i)value);
  const int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
  memcpy(to, &four, sizeof(four));
#else
  const Bytes bytes = __builtin_convertvector(value, Bytes);
  memcpy(to, &bytes, sizeof(bytes));
#endif
}

template <>
inline bool Any<Ints>(Ints mask) { return BitsOf(mask) != 0; }

template <>
inline Ints WholeOf<Floats>(Floats value) {
  return __builtin_convertvector(value, Ints);
}
template <>
inline Floats NumberOf<Floats>(Ints whole) {
  return __builtin_convertvector(whole, Floats);
}

template <>
inline Floats Abs(Floats x) {
  return (Floats)((Ints)x & 0x7fffffff);
}

template <>
inline Floats LargerOf(Floats a, Floats b) {
#if RANDROP_LANES == 16
  return (Floats)_mm512_max_ps((__m512)a, (__m512)b);
#elif RANDROP_LANES == 8
  return (Floats)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (Floats)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}

/// @brief exp(x) for x <= 88 as 2^k exp(r), k an integer, |r| <= ln 2 / 2;
///        relative error 2e-7 where the result is a normal float.
inline Floats Exp(Floats x) {
  const float kRounder = 12582912;  // 1.5 * 2^23: sums with it are integers
  const float kLeast = -104;  // its exp is 0
  const Floats held = LargerOf(Floats() + kLeast, x);
  const Floats shifted = held * 1.44269504f + kRounder;
  const Floats k = shifted - kRounder;
  // ln 2 in two parts; the first has few digits
  const Floats r = (held - k * 0.693359375f) + k * 2.12194440e-4f;
  Floats p = r * 1.3836832e-3f + 8.374824e-3f;
  p = p * r + 4.1668226e-2f;
  p = p * r + 0.1666642f;
  p = p * r + 0.49999992f;
  p = p * r + 1;
  p = p * r + 1;
  return TimesPowerOf2(p, k, (Words)shifted - 0x4B400000u);
}

template <>
inline Floats ExpOfNegative(Floats x) {
  return Exp(x);
}

/// @brief log(x) for x > 0, from the power of 2 and a polynomial in the rest,
///        which lies between sqrt(1/2) and sqrt(2); relative error 2e-7. NaN
///        for NaN and infinity.
template <>
inline Floats LogOf(Floats x) {
  const Words bits = (Words)x;
  const Ints power = (Ints)(bits - 0x3F3504F3u) >> 23;
  const Floats f = (Floats)(bits - ((Words)power << 23)) + (0 * x - 1);
  Floats p = f * -7.6210633e-2f + 0.12904634f;
  p = p * f - 0.1324347f;
  p = p * f + 0.1418184f;
  p = p * f - 0.16609013f;
  p = p * f + 0.20001969f;
  p = p * f - 0.25001585f;
  p = p * f + 0.33333325f;
  p = p * f - 0.49999988f;
  p = p * f + 1;
  const Floats k = __builtin_convertvector(power, Floats);
  return k * 0.693359375f + (p * f - k * 2.12194440e-4f);
}

/// @brief x^y for x >= 0; 0 for x = 0; infinite from 1.6e38 on, the limit of
///        Exp.
template <>
inline Floats PowOf(Floats x, float y) {
  const float kMost = 88;
  const Floats power = LogOf(x) * y;
  const Floats result = Exp(power > kMost ? Floats() + kMost : power);
  return x < FLT_MIN ? Floats() :
      power > kMost ? Floats() + HUGE_VALF : result;
}

/// @brief The degree-10 polynomial with the least relative error, 2e-7 with
///        rounding.
template <>
inline Floats Log1pOfShare(Floats x) {
  Floats p = x * -3.2439808e-3f + 1.9851262e-2f;
  p = p * x - 5.6959159e-2f;
  p = p * x + 0.10603617f;
  p = p * x - 0.15305574f;
  p = p * x + 0.19675931f;
  p = p * x - 0.24954132f;
  p = p * x + 0.33329962f;
  p = p * x - 0.49999902f;
  p = p * x + 1;
  return p * x;
}

template <>
inline Floats Log1pOf(Floats x) {
  // Beyond 1 the sum loses no significant digit.
  return x > 1 ? LogOf(1 + x) : Log1pOfShare(x);
}

namespace {

/// @brief KeyOf (loops/radix_cut.hpp) for elements that take part, 0 for
///        others.
inline Words KeysOf(Floats values, Ints taking_part) {
  const Ints bits = (Ints)(values + 0);  // -0 becomes 0
  const Ints key = bits ^ ((bits >> 31) | INT32_MIN);
  return (Words)(taking_part & (key | (values != values)));
}

}  // namespace

template <>
inline void MultiplyWords<Words>(Words a, uint32_t by, Words* high,
    Words* low) {
  const LongWords kLow = LongWords() + 0xFFFFFFFFu;
  const LongWords even = LowProduct((LongWords)a, by);
  const LongWords odd = LowProduct((LongWords)a >> 32, by);
  *low = (Words)((even & kLow) | (odd << 32));
  *high = (Words)((even >> 32) | (odd & ~kLow));
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_VECTOR_HPP_
