#ifndef CAFFE_UTIL_SOFTMAX_TOP_K_HPP_
#define CAFFE_UTIL_SOFTMAX_TOP_K_HPP_

#include "caffe/util/class_balance.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/softmax_pixel.hpp"

namespace caffe {

/// @brief Writes the cross-entropy of a pixel, and whether it may be selected.
template <typename Dtype>
struct SoftmaxCrossEntropy {
  SoftmaxInput<Dtype> input;
  Dtype* cross_entropy;
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    const int own = input.Class(j);
    selection[j] = IGNORED;
    cross_entropy[j] = 0;
    if (sums->Count(own, j)) {
      selection[j] = LEFT_OUT;
      cross_entropy[j] = SoftmaxPixel<Dtype>(input, j, own).CrossEntropy();
    }
  }
};

/// @brief Adds up the cross-entropy of the selected pixels.
template <typename Dtype>
struct SumHardestPixels {
  const Dtype* cross_entropy;
  const unsigned char* selection;

  CAFFE_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    if (selection[j] == POSITIVE) {
      ++sums->taking_part;
      sums->loss += cross_entropy[j];
    }
  }
};

/// @brief Writes what sums[0] know of the labels to sums[1], too.
struct CarryBadLabel {
  PixelSums* sums;

  CAFFE_HOST_DEVICE inline void operator()(int) const {
    sums[1].bad_label = sums[0].bad_label;
  }
};

/// @brief Writes the gradient of the cross-entropy of the selected pixels.
template <typename Dtype>
struct SoftmaxTopKDiff {
  SoftmaxInput<Dtype> input;
  const unsigned char* selection;
  Dtype scale;
  Dtype* diff;

  CAFFE_HOST_DEVICE inline void operator()(int j) const {
    if (selection[j] != POSITIVE) {
      ClearPixel(input, j, diff);
      return;
    }
    const SoftmaxPixel<Dtype> pixel(input, j, input.Class(j));
    for (int c = 0, i = input.Offset(j); c < input.classes;
         ++c, i += input.area) {
      diff[i] = scale * pixel.CrossEntropyDiff(c);
    }
  }
};

}  // namespace caffe

#endif  // CAFFE_UTIL_SOFTMAX_TOP_K_HPP_
