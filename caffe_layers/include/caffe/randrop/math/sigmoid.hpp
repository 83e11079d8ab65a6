#ifndef CAFFE_RANDROP_MATH_SIGMOID_HPP_
#define CAFFE_RANDROP_MATH_SIGMOID_HPP_

#include <cmath>

#include "caffe/randrop/math/host_device.hpp"

namespace caffe {
namespace randrop {

// Code templated on Real works for a single float or double and for the float
// vectors of vector.hpp, which specialises these functions for them.

/// @brief The scalar type of a Real.
template <typename Real>
struct ScalarOf { typedef Real Type; };

/// @brief The type that holds an integer for each number in a Real.
template <typename Real>
struct IndexOf { typedef int Type; };

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

/// @brief A logit x with p = sigmoid(x): no overflow, and full relative
///        accuracy of p and 1 - p.
template <typename Real>
struct SigmoidPixel {
  Real x;
  Real e;  // exp(-|x|), needed by all functions here

  RANDROP_HOST_DEVICE inline explicit SigmoidPixel(Real logit)
      : x(logit), e(ExpOfNegative(-Abs(logit))) {}
  /// For a loss: an infinite logit gives NaN throughout, like NaN. A network
  /// that has overflowed must not look right.
  RANDROP_HOST_DEVICE static inline SigmoidPixel Shown(Real logit) {
    return SigmoidPixel(logit + 0 * logit);
  }

  /// p
  RANDROP_HOST_DEVICE inline Real P() const {
    return (x >= 0 ? Real() + 1 : e) * (1 / (1 + e));
  }
  /// 1 - p
  RANDROP_HOST_DEVICE inline Real Complement() const {
    return (x <= 0 ? Real() + 1 : e) * (1 / (1 + e));
  }
  /// -log p
  RANDROP_HOST_DEVICE inline Real PositiveLoss() const {
    return (x < 0 ? -x : Real()) + Log1pOfShare(e);
  }
  /// -log(1 - p)
  RANDROP_HOST_DEVICE inline Real NegativeLoss() const {
    return (x > 0 ? x : Real()) + Log1pOfShare(e);
  }
};

/// @brief log(1 + exp(x)): -log(1 - p) at logit x, and -log p at logit -x.
template <typename Real>
RANDROP_HOST_DEVICE inline Real Softplus(Real x) {
  return SigmoidPixel<Real>(x).NegativeLoss();
}

/// @brief 1 / (1 + exp(-x)).
template <typename Real>
RANDROP_HOST_DEVICE inline Real Logistic(Real x) {
  return SigmoidPixel<Real>(x).P();
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_MATH_SIGMOID_HPP_
