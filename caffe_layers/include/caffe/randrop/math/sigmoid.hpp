#ifndef CAFFE_RANDROP_MATH_SIGMOID_HPP_
#define CAFFE_RANDROP_MATH_SIGMOID_HPP_

#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/number.hpp"

namespace caffe {
namespace randrop {

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
