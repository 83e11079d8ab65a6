#ifndef CAFFE_UTIL_RANDOM_DROP_HPP_
#define CAFFE_UTIL_RANDOM_DROP_HPP_

#include "caffe/util/class_balance.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/logistic.hpp"

namespace caffe {

/// @brief d(p), as SigmoidRandomDropCELossParameter numbers them.
enum DropSchedule {
  DROP_LINEAR = 0,
  DROP_SQU = 1,
  DROP_LOG = 2,
  DROP_NONE = 3
};

/**
 * @brief The probability d(p) with which a negative at this logit is dropped:
 *        LINEAR 1 - p, SQU @f$ (1 - p)^2 @f$, LOG @f$ 1 + \log_{10}(1 - p) @f$
 *        (at most 0 from p = 0.9 on, where nothing is dropped), NONE 0.
 *        NaN for a NaN logit, which so is kept and shows in the loss.
 */
template <typename Real>
CAFFE_HOST_DEVICE inline Real DropProbability(int schedule,
    const SigmoidPixel<Real>& pixel) {
  switch (schedule) {
  case DROP_LINEAR:
    return pixel.Complement();
  case DROP_SQU:
    return pixel.Complement() * pixel.Complement();
  case DROP_LOG: {
    const typename ScalarOf<Real>::Type per_ln = 0.43429448190325182765;
    return 1 - pixel.NegativeLoss() * per_ln;
  }
  default:
    return Real();
  }
}

/// @brief What becomes of an element of this class when the schedule meets its
///        uniform number.
template <typename Dtype>
CAFFE_HOST_DEVICE inline int DropOrKeep(int schedule, int label_class,
    const SigmoidPixel<Dtype>& pixel, float uniform) {
  return label_class == NEGATIVE && uniform < DropProbability(schedule, pixel) ?
      LEFT_OUT : label_class;
}

}  // namespace caffe

#endif  // CAFFE_UTIL_RANDOM_DROP_HPP_
