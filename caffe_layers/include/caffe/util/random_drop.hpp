#ifndef CAFFE_UTIL_RANDOM_DROP_HPP_
#define CAFFE_UTIL_RANDOM_DROP_HPP_

#include "caffe/proto/caffe.pb.h"
#include "caffe/util/class_balance.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/logistic.hpp"

namespace caffe {

/**
 * @brief The probability d(p) with which a negative at this logit is dropped:
 *        LINEAR 1 - p, SQU @f$ (1 - p)^2 @f$, LOG @f$ 1 + \log_{10}(1 - p) @f$
 *        (at most 0 from p = 0.9 on, where nothing is dropped), NONE 0.
 *        NaN for a NaN logit, which so is kept and shows in the loss.
 */
template <typename Dtype>
CAFFE_HOST_DEVICE inline Dtype DropProbability(int schedule, Dtype logit) {
  switch (schedule) {
  case SigmoidRandomDropCELossParameter_ScheduleType_LINEAR:
    return Logistic(-logit);
  case SigmoidRandomDropCELossParameter_ScheduleType_SQU: {
    const Dtype q = Logistic(-logit);
    return q * q;
  }
  case SigmoidRandomDropCELossParameter_ScheduleType_LOG:
    return 1 - Softplus(logit) * Dtype(0.43429448190325182765);  // 1 / ln 10
  default:
    return 0;
  }
}

/// @brief What becomes of an element of this class when the schedule meets its
///        uniform number.
template <typename Dtype>
CAFFE_HOST_DEVICE inline int DropOrKeep(int schedule, int label_class,
    Dtype logit, float uniform) {
  return label_class == NEGATIVE && uniform < DropProbability(schedule, logit) ?
      LEFT_OUT : label_class;
}

}  // namespace caffe

#endif  // CAFFE_UTIL_RANDOM_DROP_HPP_
