#ifndef CAFFE_RANDROP_LOSSES_CROSS_ENTROPY_HPP_
#define CAFFE_RANDROP_LOSSES_CROSS_ENTROPY_HPP_

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {
namespace randrop {

/// @brief Writes a sigmoid element's cross-entropy and whether it takes part.
template <typename Dtype>
struct SigmoidCrossEntropy {
  LossInput<Dtype> input;
  Dtype* cross_entropy;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline void operator()(int i, PixelSums* sums) const {
    const int own = LabelClass(input.label[i], input.has_ignore_label,
        input.ignore_label);
    selection[i] = Role::IGNORED;
    cross_entropy[i] = 0;
    if (own == Role::POSITIVE || own == Role::NEGATIVE) {
      ++sums->taking_part;
      selection[i] = Role::SELECTED;
      cross_entropy[i] = SelectedLoss(own, input.logits[i]);
    }
  }
};

/// @brief Writes a pixel's cross-entropy and whether it may be selected.
template <typename Dtype>
struct SoftmaxCrossEntropy {
  LossInput<Dtype> input;
  Dtype* cross_entropy;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    const int own = input.Class(j);
    selection[j] = Role::IGNORED;
    cross_entropy[j] = 0;
    if (sums->Count(own, j)) {
      selection[j] = Role::LEFT_OUT;
      cross_entropy[j] = SoftmaxPixel<Dtype>(input, j, own).CrossEntropy();
    }
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_CROSS_ENTROPY_HPP_
