#ifndef CAFFE_RANDROP_LOSSES_SUMS_HPP_
#define CAFFE_RANDROP_LOSSES_SUMS_HPP_

#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"

namespace caffe {
namespace randrop {

// The part that a pixel adds to the sums is a template, too: for a vector of
// pixels, simd/lane_sums.hpp adds up each lane first.

/// @brief What a pixel adds to PixelSums.
template <typename Real>
struct PixelPart {
  typedef typename IndexOf<Real>::Type Index;
  Real loss;
  Index taking_part, bad;
};

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
  /// Adds pixel j.
  template <typename Real>
  RANDROP_HOST_DEVICE inline void AddPart(const PixelPart<Real>& part, int j) {
    loss += part.loss;
    taking_part += part.taking_part;
    bad_label = part.bad ? FirstIndex(bad_label, j) : bad_label;
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
