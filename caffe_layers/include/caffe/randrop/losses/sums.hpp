#ifndef CAFFE_RANDROP_LOSSES_SUMS_HPP_
#define CAFFE_RANDROP_LOSSES_SUMS_HPP_

#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"

namespace caffe {
namespace randrop {

/// @brief The sum of a loss over pixels, and statistics of their labels.
struct PixelSums {
  double loss;
  int taking_part;
  int bad_label;  // index of the first invalid label; -1: none

  RANDROP_HOST_DEVICE inline void Clear() {
    loss = 0;
    taking_part = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const PixelSums& other) {
    loss += other.loss;
    taking_part += other.taking_part;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  /// Counts pixel j; true if it takes part.
  RANDROP_HOST_DEVICE inline bool Count(int own, int j) {
    if (own == PixelClass::BAD) {
      bad_label = FirstIndex(bad_label, j);
    }
    taking_part += own >= 0;
    return own >= 0;
  }
};

/// @brief Number of groups in which some element takes part.
struct GroupTally {
  int groups;

  RANDROP_HOST_DEVICE inline void Clear() { groups = 0; }
  RANDROP_HOST_DEVICE inline void Add(const GroupTally& other) {
    groups += other.groups;
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_SUMS_HPP_
