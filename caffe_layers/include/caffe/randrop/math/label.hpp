#ifndef CAFFE_RANDROP_MATH_LABEL_HPP_
#define CAFFE_RANDROP_MATH_LABEL_HPP_

#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/number.hpp"

namespace caffe {
namespace randrop {

/// @brief The role of an element in a loss that selects; one byte each.
struct Role {
  enum {
    LEFT_OUT = 0,  // not selected
    POSITIVE = 1,
    SELECTED = 1,  // of any class, where all classes compete
    NEGATIVE = 2,  // a kept negative
    IGNORED = 3
  };
};

/// @brief Marks an invalid label where roles are stored.
const int kBadRole = 255;

/// @brief Where a selection has this role.
template <typename Index>
RANDROP_HOST_DEVICE inline Index Is(Index selection, int role) {
  return selection == role;
}

/// @brief The masks of binary labels: 1 is positive, 0 negative.
template <typename Real>
struct BinaryLabel {
  typedef typename ScalarOf<Real>::Type Number;
  typedef typename IndexOf<Real>::Type Index;
  Index ignored, positive, negative;

  RANDROP_HOST_DEVICE inline BinaryLabel(Real value, bool has_ignore_label,
      int ignore_label) {
    ignored = has_ignore_label ?
        Index(value == static_cast<Number>(ignore_label)) : Index();
    positive = ~ignored & (value == 1);
    negative = ~ignored & (value == 0);
  }
  RANDROP_HOST_DEVICE inline Index Valid() const { return positive | negative; }
  RANDROP_HOST_DEVICE inline Index Bad() const {
    return (Valid() | ignored) == 0;
  }
  RANDROP_HOST_DEVICE inline Index Roles() const {
    return positive ? Index() + static_cast<int>(Role::POSITIVE) :
        negative ? Index() + static_cast<int>(Role::NEGATIVE) :
        ignored ? Index() + static_cast<int>(Role::IGNORED) :
        Index() + kBadRole;
  }
};

/// @brief The smaller of two indices; -1 means none.
RANDROP_HOST_DEVICE inline int FirstIndex(int a, int b) {
  return b < 0 || (a >= 0 && a < b) ? a : b;
}

/// @brief Codes for softmax labels that are not a class.
struct PixelClass {
  enum { IGNORED = -1, BAD = -2 };
};

/// @brief The value of a mask top: 1 takes part, 0 left out, -1 ignored.
RANDROP_HOST_DEVICE inline int MaskValue(int selection) {
  return selection == Role::IGNORED ? -1 : selection != Role::LEFT_OUT;
}

/// @brief Writes the second top, the mask.
template <typename Dtype>
struct WriteMask {
  const unsigned char* selection;
  Dtype* mask;

  RANDROP_HOST_DEVICE inline void operator()(int i) const {
    mask[i] = MaskValue(selection[i]);
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_MATH_LABEL_HPP_
