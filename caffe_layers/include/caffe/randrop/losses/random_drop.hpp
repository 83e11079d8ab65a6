#ifndef CAFFE_RANDROP_LOSSES_RANDOM_DROP_HPP_
#define CAFFE_RANDROP_LOSSES_RANDOM_DROP_HPP_

#include <stdint.h>

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/sigmoid.hpp"

namespace caffe {
namespace randrop {

/// @brief Schedules d(p), numbered as in SigmoidRandomDropCELossParameter.
struct DropSchedule {
  enum { LINEAR = 0, SQU = 1, LOG = 2, NONE = 3 };
};

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
  case DropSchedule::LOG: {
    const typename ScalarOf<Real>::Type per_ln = 0.43429448190325182765;
    return 1 - pixel.NegativeLoss() * per_ln;
  }
  default:
    return Real();
  }
}

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

  /// Selects elements with these uniform random numbers; returns the roles.
  template <typename Real>
  RANDROP_HOST_DEVICE inline typename IndexOf<Real>::Type Select(int schedule,
      Real logit, Real label, Real uniform, GroupPart<Real>* part) const {
    typedef typename IndexOf<Real>::Type Index;
    const BinaryLabel<Real> own(label, has_ignore_label, ignore_label);
    const SigmoidPixel<Real> pixel = SigmoidPixel<Real>::Shown(logit);
    const Index dropped = schedule == DropSchedule::NONE ? Index() :
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
    selection[i] = Select<Dtype>(schedule, logits[i], label[i], uniform, &part);
    sums->AddPart(part, i);
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_RANDOM_DROP_HPP_
