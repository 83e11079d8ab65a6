#ifndef CAFFE_RANDROP_MATH_LABEL_HPP_
#define CAFFE_RANDROP_MATH_LABEL_HPP_

#include "caffe/randrop/math/host_device.hpp"

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

/// @brief The class of a binary label: POSITIVE, NEGATIVE or IGNORED of Role;
///        -1 for an invalid value.
template <typename Dtype>
RANDROP_HOST_DEVICE inline int LabelClass(Dtype label, bool has_ignore_label,
    int ignore_label) {
  if (has_ignore_label && label == ignore_label) {
    return Role::IGNORED;
  }
  if (label == 0) {
    return Role::NEGATIVE;
  }
  return label == 1 ? Role::POSITIVE : -1;
}

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
