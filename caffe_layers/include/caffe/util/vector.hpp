#ifndef CAFFE_UTIL_VECTOR_HPP_
#define CAFFE_UTIL_VECTOR_HPP_

#include <stdint.h>
#include <string.h>

#include "caffe/util/logistic.hpp"

/**
 * @brief Vectors of floats for one set of instructions: for files that are
 *        compiled for that set alone, and define CAFFE_LANES, the floats in one
 *        of its registers, before they include this.
 *
 * Their types have different sizes, so what is compiled for one set is never
 * taken for the same thing of another.
 */
namespace caffe {

// The compiler's own vectors, with the operators of numbers; comparisons give
// vectors of 0 and -1, which choose in ?:.
typedef float Floats __attribute__((vector_size(4 * CAFFE_LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * CAFFE_LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * CAFFE_LANES)));
typedef uint64_t LongWords __attribute__((vector_size(4 * CAFFE_LANES)));
typedef unsigned char Bytes __attribute__((vector_size(CAFFE_LANES)));

template <>
struct ScalarOf<Floats> { typedef float Type; };
template <>
struct IndexOf<Floats> { typedef Ints Type; };

// Of the same name and arguments in each set's files, so for each alone.
namespace {

inline void Store(Floats value, float* to) {
  memcpy(to, &value, sizeof(value));
}
inline Ints Load(const unsigned char* from) {
  Bytes bytes;
  memcpy(&bytes, from, sizeof(bytes));
  return __builtin_convertvector(bytes, Ints);
}
inline void Store(Ints value, unsigned char* to) {
  const Bytes bytes = __builtin_convertvector(value, Bytes);
  memcpy(to, &bytes, sizeof(bytes));
}

/// @brief 0, 1, 2, ...
inline Ints Numbers() {
  Ints numbers = {0};
  for (int lane = 1; lane < CAFFE_LANES; ++lane) {
    numbers[lane] = lane;
  }
  return numbers;
}

template <typename Numbers>
inline double SumOf(Numbers values) {
  double sum = 0;
  for (int lane = 0; lane < CAFFE_LANES; ++lane) {
    sum += values[lane];
  }
  return sum;
}

}  // namespace

template <>
inline Floats LoadAs<Floats>(const float* from) {
  Floats value;
  memcpy(&value, from, sizeof(value));
  return value;
}

template <>
inline Floats Abs(Floats x) {
  return (Floats)((Ints)x & 0x7fffffff);
}

/// @brief exp(x) of x <= 88 as 2^k exp(r), k whole, |r| <= ln 2 / 2; relative
///        error 2e-7 as far as floats have all their digits.
inline Floats Exp(Floats x) {
  const float kRounder = 12582912;  // 1.5 * 2^23: a sum with it is whole
  const float kLeast = -104;  // exp of it is 0
  const Floats held = x < kLeast ? Floats() + kLeast : x;
  const Floats shifted = held * 1.44269504f + kRounder;
  const Floats k = shifted - kRounder;
  // ln 2 in two parts, of which the first has few digits
  const Floats r = (held - k * 0.693359375f) + k * 2.12194440e-4f;
  Floats p = r * 1.3836832e-3f + 8.374824e-3f;
  p = p * r + 4.1668226e-2f;
  p = p * r + 0.1666642f;
  p = p * r + 0.49999992f;
  p = p * r + 1;
  p = p * r + 1;
  // In two steps, as 2^k alone may be too small to be written.
  const Ints power = (Ints)shifted - 0x4B400000;
  const Ints half = power >> 1;
  return p * (Floats)((half + 127) << 23) *
      (Floats)((power - half + 127) << 23);
}

template <>
inline Floats ExpOfNegative(Floats x) {
  return Exp(x);
}

/// @brief log(x) of x > 0: of the power of 2, and a polynomial of what is left,
///        from sqrt(1/2) to sqrt(2); relative error 2e-7.
template <>
inline Floats LogOf(Floats x) {
  const Ints power = ((Ints)x - 0x3F3504F3) >> 23;
  const Floats f = (Floats)((Ints)x - (power << 23)) - 1;
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

/// @brief x^y of x >= 0; of 0, 0.
template <>
inline Floats PowOf(Floats x, float y) {
  // The smallest float that is written with all its digits.
  return x < 1.17549435e-38f ? Floats() : Exp(LogOf(x) * y);
}

/// @brief The polynomial of degree 10 with the least relative error, 2e-7 with
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
  // Beyond 1 the sum loses no digit that counts.
  return x > 1 ? LogOf(1 + x) : Log1pOfShare(x);
}

}  // namespace caffe

#endif  // CAFFE_UTIL_VECTOR_HPP_
