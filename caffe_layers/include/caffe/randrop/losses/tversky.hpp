#ifndef CAFFE_RANDROP_LOSSES_TVERSKY_HPP_
#define CAFFE_RANDROP_LOSSES_TVERSKY_HPP_

#include "caffe/randrop/losses/exp_log.hpp"
#include "caffe/randrop/losses/overlap.hpp"
#include "caffe/randrop/math/host_device.hpp"

namespace caffe {
namespace randrop {

/// @brief Writes a group's contribution to the loss, (1 - T)^gamma, and its
///        slopes in p. With O = 2 overlap + smooth and E = 2 (alpha
///        false_positives + beta false_negatives), 1 - T = E / (O + E).
template <typename Dtype>
struct WriteTverskyTerm {
  ClassGroups groups;
  const GroupTally* tally;
  double alpha, beta, gamma, smooth;
  OverlapTerm<Dtype>* terms;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    OverlapTerm<Dtype> term = {0, 0, 0, 0, 0};
    const OverlapSums whole = groups.Whole(group);
    const double overlap = 2 * whole.overlap + smooth;
    const double error = 2 * (alpha * whole.false_positives +
        beta * whole.false_negatives);
    const double size = overlap + error;
    // Neither present nor predicted, no smoothing: no loss. NaN passes through.
    if (groups.Counts(group, whole) && !(size == 0)) {
      const double share = groups.Share(group, *tally);
      const double value = error / size;
      term.loss = groups.IsRepeated(group) ? 0 :
          share * ExpLogPower(value, gamma);
      const double slope = 2 * share * ExpLogPowerDiff(value, gamma) / size;
      term.own = -slope * (beta * (overlap / size) + value);
      term.others = slope * alpha * (overlap / size);
    }
    terms[group] = term;
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_TVERSKY_HPP_
