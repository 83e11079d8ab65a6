#ifndef CAFFE_RANDROP_LOSSES_DICE_HPP_
#define CAFFE_RANDROP_LOSSES_DICE_HPP_

#include "caffe/randrop/losses/overlap.hpp"
#include "caffe/randrop/math/host_device.hpp"

namespace caffe {
namespace randrop {

/// @brief Writes the contribution of a group to the Dice loss: 1 - D, and a
///        multiple of its mean cross-entropy.
template <typename Dtype>
struct WriteDiceTerm {
  ClassGroups groups;
  const GroupTally* tally;
  double smooth;
  bool squared;
  double weight_cross;
  OverlapTerm<Dtype>* terms;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    OverlapTerm<Dtype> term = {0, 0, 0, 0, 0};
    const OverlapSums whole = groups.Whole(group);
    const double size = whole.size + smooth;
    // Neither present nor predicted, no smoothing: no loss. NaN passes through.
    const bool counts = groups.Counts(group, whole);
    const double share = counts ? groups.Share(group, *tally) : 0;
    if (counts && !(size == 0)) {
      const double error =
          (whole.false_positives + whole.false_negatives) / size;
      term.loss = groups.IsRepeated(group) ? 0 : share * error;
      const double by_error = share / size, by_size = -share * error / size;
      // Their sum, without cancellation as D approaches 0.
      const double by_both =
          share * (2 * whole.overlap + smooth) / size / size;
      term.own = squared ? 2 * by_size : by_size - by_error;
      term.others = squared ? 0 : by_both;
      term.by_wrong = squared ? 2 * by_both : 0;
    }
    if (counts && weight_cross > 0) {
      const double by_cross = share * weight_cross / whole.members;
      term.by_cross = by_cross;
      term.loss += groups.IsRepeated(group) ? 0 : by_cross * whole.cross;
    }
    terms[group] = term;
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_DICE_HPP_
