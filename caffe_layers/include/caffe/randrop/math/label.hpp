#ifndef CAFFE_RANDROP_MATH_LABEL_HPP_
#define CAFFE_RANDROP_MATH_LABEL_HPP_

#include "caffe/randrop/math/host_device.hpp"

namespace caffe {
namespace randrop {

/// @brief The part that an element takes in a loss that selects; one byte each.
struct Role {
  enum {
    LEFT_OUT = 0,  // not selected
    POSITIVE = 1,
    SELECTED = 1,  // whatever its class, where all compete
    NEGATIVE = 2,  // a negative that was kept
    IGNORED = 3
  };
};

/// @brief The class of a binary label, POSITIVE, NEGATIVE or IGNORED of Role;
///        -1 for a value that is not allowed.
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

/// @brief The smaller of two indices, -1 meaning none.
RANDROP_HOST_DEVICE inline int FirstIndex(int a, int b) {
  return b < 0 || (a >= 0 && a < b) ? a : b;
}

/// @brief What a softmax label that is no class stands for.
struct PixelClass {
  enum { IGNORED = -1, BAD = -2 };
};

/// @brief What a mask top shows: 1 takes part, 0 left out, -1 ignored.
RANDROP_HOST_DEVICE inline int MaskValue(int selection) {
  return selection == Role::IGNORED ? -1 : selection != Role::LEFT_OUT;
}

/// @brief Writes what the second top shows.
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
