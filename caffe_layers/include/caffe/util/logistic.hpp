#ifndef CAFFE_UTIL_LOGISTIC_HPP_
#define CAFFE_UTIL_LOGISTIC_HPP_

#include <cmath>

#include "caffe/util/host_device.hpp"

namespace caffe {

/// @brief log(1 + exp(x)) without overflow: -log(1 - p) at logit x, and
///        -log p at logit -x.
template <typename Dtype>
CAFFE_HOST_DEVICE inline Dtype Softplus(Dtype x) {
  using std::exp;
  using std::fabs;
  using std::log1p;
  return (x > 0 ? x : Dtype(0)) + log1p(exp(-fabs(x)));
}

/// @brief 1 / (1 + exp(-x)), with full relative accuracy on both sides.
template <typename Dtype>
CAFFE_HOST_DEVICE inline Dtype Logistic(Dtype x) {
  using std::exp;
  using std::fabs;
  const Dtype e = exp(-fabs(x));
  return (x >= 0 ? Dtype(1) : e) / (1 + e);
}

}  // namespace caffe

#endif  // CAFFE_UTIL_LOGISTIC_HPP_
