#ifndef CAFFE_RANDROP_LOSSES_RANDOM_DROP_HPP_
#define CAFFE_RANDROP_LOSSES_RANDOM_DROP_HPP_

#include <stdint.h>

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/losses/visits.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/sigmoid.hpp"

namespace caffe {
namespace randrop {

/// @brief Schedules d(p), numbered as in SigmoidRandomDropCELossParameter;
///        CONSTANT is not one of its: d is a number for each group.
struct DropSchedule {
  enum { LINEAR = 0, SQU = 1, LOG = 2, NONE = 3, CONSTANT = 4 };
};

/// @brief -log10(1 - p)
template <typename Real>
RANDROP_HOST_DEVICE inline Real MinusLog10OfComplement(
    const SigmoidPixel<Real>& pixel) {
  const typename ScalarOf<Real>::Type per_ln = 0.43429448190325182765;
  return pixel.NegativeLoss() * per_ln;
}

/**
 * @brief The probability d(p) that a negative with this logit is dropped:
 *        LINEAR 1 - p, SQU @f$ (1 - p)^2 @f$, LOG @f$ 1 + \log_{10}(1 - p) @f$
 *        (at most 0 from p = 0.9 on, where nothing is dropped), NONE 0.
 *        NaN for a NaN logit, which is thus kept and shows in the loss.
 */
template <typename Real>
RANDROP_HOST_DEVICE inline Real DropProbability(int schedule,
    const SigmoidPixel<Real>& pixel) {
  switch (schedule) {
  case DropSchedule::LINEAR:
    return pixel.Complement();
  case DropSchedule::SQU:
    return pixel.Complement() * pixel.Complement();
  case DropSchedule::LOG:
    return 1 - MinusLog10OfComplement(pixel);
  default:
    return Real();
  }
}

/// @brief The probability 1 - d(p), at most 1, that it is kept: with all its
///        digits where it is small. 1 for a NaN logit.
template <typename Real>
RANDROP_HOST_DEVICE inline Real KeepProbability(int schedule,
    const SigmoidPixel<Real>& pixel) {
  Real keep = Real() + 1;
  switch (schedule) {
  case DropSchedule::LINEAR:
    keep = pixel.P();
    break;
  case DropSchedule::SQU:
    keep = pixel.P() * (1 + pixel.Complement());
    break;
  case DropSchedule::LOG:
    keep = MinusLog10OfComplement(pixel);
    break;
  }
  return keep < 1 ? keep : Real() + 1;
}

/// @brief Sums the probabilities with which the schedule keeps a group's
///        negatives, as the `loss` of PixelSums, and counts these; writes the
///        roles of the labels as selection.
template <typename Dtype>
struct SumKept {
  typedef ByElement Visits;
  const Dtype* logits;
  const Dtype* label;
  bool has_ignore_label;
  int ignore_label;
  int schedule;  // DropSchedule
  unsigned char* selection;

  template <typename Real>
  RANDROP_HOST_DEVICE inline PixelPart<Real> At(int i) const {
    const BinaryLabel<Real> own(LoadAs<Real>(label + i), has_ignore_label,
        ignore_label);
    StoreBytes(own.Roles(), selection + i);
    const Real keep = KeepProbability(schedule,
        SigmoidPixel<Real>::Shown(LoadAs<Real>(logits + i)));
    const PixelPart<Real> part = {Where(own.negative, keep), own.negative,
        own.Bad()};
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int i, PixelSums* sums) const {
    sums->AddPart(At<Dtype>(i), i);
  }
};

/// @brief Writes the probability that drops each negative of a group alike.
template <typename Dtype>
struct WriteUniformDrop {
  const PixelSums* kept;
  Dtype* drop;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    const int negatives = kept[group].taking_part;
    drop[group] = negatives > 0 ? 1 - kept[group].loss / negatives : 0;
  }
};

/// @brief Writes how many of a group's negatives are kept on average.
struct WantKept {
  const PixelSums* kept;
  int* wanted;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    wanted[group] = static_cast<int>(kept[group].loss + 0.5);
  }
};

/// @brief The forward pass, which selects and adds up. Its loops differ, as the
///        random numbers come in tiles: math/philox.hpp.
template <typename Dtype>
struct RandomDropPass {
  const Dtype* logits;
  const Dtype* label;
  unsigned char* selection;
  bool has_ignore_label;
  int ignore_label;
  int schedule;  // DropSchedule
  uint64_t seed, forward;
  uint64_t first_tile;  // of 64 elements: the number of the blob's first one
  const Dtype* drop;  // CONSTANT: d of each group
  int group_size;

  /// The d of element i's group, for CONSTANT.
  RANDROP_HOST_DEVICE inline Dtype DropOfGroup(int i) const {
    return schedule == DropSchedule::CONSTANT ? drop[i / group_size] : Dtype();
  }
  /// Selects elements with these uniform random numbers; returns the roles.
  template <typename Real>
  RANDROP_HOST_DEVICE inline typename IndexOf<Real>::Type Select(int schedule,
      Dtype constant, Real logit, Real label, Real uniform,
      GroupPart<Real>* part) const {
    typedef typename IndexOf<Real>::Type Index;
    const BinaryLabel<Real> own(label, has_ignore_label, ignore_label);
    const SigmoidPixel<Real> pixel = SigmoidPixel<Real>::Shown(logit);
    const Index dropped = schedule == DropSchedule::NONE ? Index() :
        schedule == DropSchedule::CONSTANT ?
        Index((uniform < constant) & (pixel.x == pixel.x)) :  // NaN is kept
        Index(uniform < DropProbability(schedule, pixel));
    part->positive = own.positive;
    part->negative = own.negative & ~dropped;
    part->ignored = own.ignored;
    part->bad = own.Bad();
    part->positive_loss = Where(part->positive, pixel.PositiveLoss());
    part->negative_loss = Where(part->negative, pixel.NegativeLoss());
    return part->positive ? Index() + static_cast<int>(Role::POSITIVE) :
        part->negative ? Index() + static_cast<int>(Role::NEGATIVE) :
        part->ignored ? Index() + static_cast<int>(Role::IGNORED) :
        Index() + static_cast<int>(Role::LEFT_OUT);
  }
  /// Selects element i and adds it up.
  RANDROP_HOST_DEVICE inline void operator()(int i, float uniform,
      GroupSums* sums) const {
    GroupPart<Dtype> part;
    selection[i] = Select<Dtype>(schedule, DropOfGroup(i), logits[i], label[i],
        uniform, &part);
    sums->AddPart(part, i);
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_RANDOM_DROP_HPP_
