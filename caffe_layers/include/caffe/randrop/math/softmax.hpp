#ifndef CAFFE_RANDROP_MATH_SOFTMAX_HPP_
#define CAFFE_RANDROP_MATH_SOFTMAX_HPP_

#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/sigmoid.hpp"

namespace caffe {
namespace randrop {

/// @brief Where pixel j is: in which image, and the offset of its class 0.
struct PixelAt {
  int image, j, first;
};

/// @brief Logits (N x C x area) and labels (N x area) of a softmax loss, pixel
///        by pixel: pixel j is number j of the labels.
template <typename Dtype>
struct LossInput {
  const Dtype* logits;
  const Dtype* label;
  int classes;
  int area;
  bool has_ignore_label;
  int ignore_label;

  /// Its other classes follow `area` apart.
  RANDROP_HOST_DEVICE inline PixelAt At(int j) const {
    const int image = j / area;
    const PixelAt at = {image, j, j + image * (classes - 1) * area};
    return at;
  }
  /// The class of pixels from j on, PixelClass::IGNORED or PixelClass::BAD.
  template <typename Real>
  RANDROP_HOST_DEVICE inline typename IndexOf<Real>::Type Class(int j) const {
    typedef typename IndexOf<Real>::Type Index;
    const Real value = LoadAs<Real>(label + j);
    const Index in_range = (value >= 0) & (value < static_cast<Dtype>(classes));
    const Index whole = WholeOf(Where(in_range, value));
    const Index good = in_range & (NumberOf<Real>(whole) == value);
    const Index own =
        good ? whole : Index() + static_cast<int>(PixelClass::BAD);
    return has_ignore_label ?
        (value == static_cast<Dtype>(ignore_label) ?
            Index() + static_cast<int>(PixelClass::IGNORED) : own) : own;
  }
};

/**
 * @brief The softmax of one pixel. The cross-entropy and 1 - p keep full
 *        relative accuracy where the true class is almost certain: the other
 *        classes are summed separately. A NaN or infinite logit makes all
 *        results NaN, except that minus infinity rules out a class other than
 *        the true one: p = 0.
 */
template <typename Real>
class SoftmaxPixel {
 public:
  typedef typename ScalarOf<Real>::Type Number;
  typedef typename IndexOf<Real>::Type Index;

  /// @param first offset of its class 0
  RANDROP_HOST_DEVICE inline SoftmaxPixel(const LossInput<Number>& input,
      int first, Index own)
      : x_(input.logits + first), stride_(input.area), own_(own) {
    Compute(input.classes);
  }

  RANDROP_HOST_DEVICE inline Real Probability(int c) const {
    return (c < kKept ? kept_[c] : ExpOfNegative(Logit(c) - max_)) * inverse_;
  }
  RANDROP_HOST_DEVICE inline Real OwnProbability() const {
    return own_exp_ * inverse_;
  }
  /// 1 - p of the true class
  RANDROP_HOST_DEVICE inline Real Complement() const {
    return others_ * inverse_;
  }
  /// Whether no class is more likely than c.
  RANDROP_HOST_DEVICE inline Index IsLikeliest(int c) const {
    return Logit(c) == max_;
  }
  /// -log p of the true class. Finite even if the difference of two logits is
  /// not, so that its products with p = 0 are finite too.
  RANDROP_HOST_DEVICE inline Real CrossEntropy() const {
    return AtMostFinite<Real>(own_x_ == max_ ? Log1pOf(others_) :
        max_ - own_x_ + LogOf(total_));
  }
  /// Its derivative with respect to logit c, p_c - [c is the true class]
  RANDROP_HOST_DEVICE inline Real CrossEntropyDiff(int c) const {
    return own_ == c ? -Complement() : Probability(c);
  }

 private:
  RANDROP_HOST_DEVICE inline void Compute(int classes) {
    max_ = Logit(0);
    for (int c = 1; c < classes; ++c) {
      max_ = LargerOf(Logit(c), max_);
    }
    others_ = own_exp_ = own_x_ = Real();
    for (int c = 0; c < classes; ++c) {
      const Real x = Logit(c);
      const Real e = ExpOfNegative(x - max_);
      if (c < kKept) {
        kept_[c] = e;
      }
      others_ += own_ == c ? Real() : e;
      own_exp_ = own_ == c ? e : own_exp_;
      own_x_ = own_ == c ? x : own_x_;
    }
    // Adds 0, or NaN if the true class has an infinite logit.
    others_ += own_x_ - own_x_;
    total_ = others_ + own_exp_;
    inverse_ = 1 / total_;
  }
  RANDROP_HOST_DEVICE inline Real Logit(int c) const {
    return LoadAs<Real>(x_ + c * stride_);
  }

  static const int kKept = KeptClasses<Real>::kCount;
  static const int kRoom = kKept > 0 ? kKept : 1;

  const Number* x_;
  int stride_;
  Index own_;
  Real max_, others_, own_exp_, own_x_, total_, inverse_;
  Real kept_[kRoom];
};

/// @brief The values of the pixels' classes; 0 for a pixel without a class.
template <typename Real>
RANDROP_HOST_DEVICE inline Real OfOwnClass(
    const typename ScalarOf<Real>::Type* values, int classes,
    typename IndexOf<Real>::Type own) {
  Real result = Real();
  for (int c = 0; c < classes; ++c) {
    result = own == c ? Real() + values[c] : result;
  }
  return result;
}

/// @brief Sets the gradient of all classes of a pixel to 0.
template <typename Real>
RANDROP_HOST_DEVICE inline void ClearPixel(
    const LossInput<typename ScalarOf<Real>::Type>& input, int first,
    typename ScalarOf<Real>::Type* diff) {
  for (int c = 0; c < input.classes; ++c) {
    StoreAs<Real>(Real(), diff + first + c * input.area);
  }
}

/**
 * @brief Turns a pixel's slopes s with respect to its probabilities into its
 *        gradient with respect to the logits, p_c (s_c - sum p_k s_k).
 *
 * Subtracting the slope of a most likely class from all slopes leaves the
 * gradient unchanged and removes 1 - p from it.
 */
template <typename Real>
struct SoftmaxSlopes {
  Real origin;  // the slope of a most likely class
  Real mean;    // sum of p_k (s_k - origin)

  /// slope(c) is the slope with respect to the probability of class c.
  template <typename Slope>
  RANDROP_HOST_DEVICE inline SoftmaxSlopes(const SoftmaxPixel<Real>& pixel,
      int classes, const Slope& slope) {
    origin = slope(0);
    for (int c = 1; c < classes; ++c) {
      origin = pixel.IsLikeliest(c) ? slope(c) : origin;
    }
    mean = Real();
    for (int c = 0; c < classes; ++c) {
      mean += pixel.Probability(c) * (slope(c) - origin);
    }
  }
  RANDROP_HOST_DEVICE inline Real Diff(const SoftmaxPixel<Real>& pixel, int c,
      Real slope) const {
    return pixel.Probability(c) * (slope - origin - mean);
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_MATH_SOFTMAX_HPP_
