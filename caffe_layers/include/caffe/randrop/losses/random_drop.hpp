#ifndef CAFFE_RANDROP_LOSSES_RANDOM_DROP_HPP_
#define CAFFE_RANDROP_LOSSES_RANDOM_DROP_HPP_

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/math/host_device.hpp"
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

/// @brief The selection of an element of this class, given the schedule and the
///        element's uniform random number.
template <typename Dtype>
RANDROP_HOST_DEVICE inline int DropOrKeep(int schedule, int label_class,
    const SigmoidPixel<Dtype>& pixel, float uniform) {
  const bool dropped = label_class == Role::NEGATIVE &&
      uniform < DropProbability(schedule, pixel);
  return dropped ? static_cast<int>(Role::LEFT_OUT) : label_class;
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_RANDOM_DROP_HPP_
