#ifndef CAFFE_RANDROP_MATH_NUMBER_HPP_
#define CAFFE_RANDROP_MATH_NUMBER_HPP_

#include <cfloat>
#include <cmath>

#include "caffe/randrop/math/host_device.hpp"

namespace caffe {
namespace randrop {

/**
 * What the losses' arithmetic is written in. Code templated on Real works for
 * a single float or double, on the CPU and on the GPU, and for the float
 * vectors of simd/vector.hpp, which specialises the functions here:
 *
 *   template <typename Real>
 *   Real Hinge(const typename ScalarOf<Real>::Type* logits) {
 *     const Real x = LoadAs<Real>(logits);
 *     return Where(x < 1, 1 - x);
 *   }
 *
 * A comparison gives a mask of type IndexOf<Real>::Type: 0 or 1 for a scalar, 0
 * or -1 for each number of a vector. Masks are combined by & and |, inverted by
 * ~ (only as an operand of &), and choose by ?: or Where().
 */

/// @brief The scalar type of a Real.
template <typename Real>
struct ScalarOf { typedef Real Type; };

/// @brief The type that holds an integer for each number in a Real.
template <typename Real>
struct IndexOf { typedef int Type; };

/// @brief The type for what single precision is too short for. Vectors stay in
///        single precision.
template <typename Real>
struct WideOf { typedef double Type; };

/// @brief For how many classes a softmax keeps the exponentials instead of
///        recomputing them; a GPU thread has no room for any.
template <typename Real>
struct KeptClasses { static const int kCount = 0; };

/// @brief Loads as many numbers as a Real has.
template <typename Real>
RANDROP_HOST_DEVICE inline Real LoadAs(
    const typename ScalarOf<Real>::Type* from) {
  return *from;
}
/// @brief Stores them.
template <typename Real>
RANDROP_HOST_DEVICE inline void StoreAs(Real value,
    typename ScalarOf<Real>::Type* to) {
  *to = value;
}
/// @brief Loads as many bytes as an Index has integers.
template <typename Index>
RANDROP_HOST_DEVICE inline Index LoadBytes(const unsigned char* from) {
  return *from;
}
/// @brief Stores integers from 0 to 255 as bytes.
template <typename Index>
RANDROP_HOST_DEVICE inline void StoreBytes(Index value, unsigned char* to) {
  *to = value;
}

/// @brief The mask of all.
template <typename Index>
RANDROP_HOST_DEVICE inline Index All() {
  return Index() == Index();
}
/// @brief Whether a mask has any.
template <typename Index>
RANDROP_HOST_DEVICE inline bool Any(Index mask) {
  return mask != 0;
}
/// @brief The values where the mask is, and 0 elsewhere.
template <typename Real>
RANDROP_HOST_DEVICE inline Real Where(typename IndexOf<Real>::Type mask,
    Real value) {
  return mask ? value : Real();
}

/// @brief The integer part of values from 0 to 2^31 - 1, and the way back.
template <typename Real>
RANDROP_HOST_DEVICE inline typename IndexOf<Real>::Type WholeOf(Real value) {
  return static_cast<int>(value);
}
template <typename Real>
RANDROP_HOST_DEVICE inline Real NumberOf(typename IndexOf<Real>::Type whole) {
  return whole;
}

template <typename Real>
RANDROP_HOST_DEVICE inline Real Abs(Real x) {
  using std::fabs;
  return fabs(x);
}

/// @brief a > b ? a : b, hence b if either is NaN.
template <typename Real>
RANDROP_HOST_DEVICE inline Real LargerOf(Real a, Real b) {
  return a > b ? a : b;
}

/// @brief The value, or the largest finite number: a product with 0 stays 0.
template <typename Real>
RANDROP_HOST_DEVICE inline Real AtMostFinite(Real value) {
  typedef typename ScalarOf<Real>::Type Number;
  const Number most = sizeof(Number) == 4 ? FLT_MAX : DBL_MAX;
  return value > most ? Real() + most : value;
}

/// @brief exp(x) for x <= 0.
template <typename Real>
RANDROP_HOST_DEVICE inline Real ExpOfNegative(Real x) {
  using std::exp;
  return exp(x);
}

/// @brief log(1 + x) for x in [0, 1].
template <typename Real>
RANDROP_HOST_DEVICE inline Real Log1pOfShare(Real x) {
  using std::log1p;
  return log1p(x);
}

/// @brief log(x) for x > 0.
template <typename Real>
RANDROP_HOST_DEVICE inline Real LogOf(Real x) {
  using std::log;
  return log(x);
}

/// @brief log(1 + x) for x >= 0.
template <typename Real>
RANDROP_HOST_DEVICE inline Real Log1pOf(Real x) {
  return Log1pOfShare(x);
}

/// @brief x^y for x >= 0.
template <typename Real>
RANDROP_HOST_DEVICE inline Real PowOf(Real x, typename ScalarOf<Real>::Type y) {
  using std::pow;
  return pow(x, y);
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_MATH_NUMBER_HPP_
