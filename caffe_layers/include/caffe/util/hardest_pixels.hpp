#ifndef CAFFE_UTIL_HARDEST_PIXELS_HPP_
#define CAFFE_UTIL_HARDEST_PIXELS_HPP_

#include "caffe/util/class_balance.hpp"
#include "caffe/util/hardest.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/softmax_pixel.hpp"

namespace caffe {

/// @brief Writes how many of a segment's pixels the hardest k_percent are.
struct WantShareOfPixels {
  const PixelSums* sums;
  double k_percent;
  int* wanted;

  CAFFE_HOST_DEVICE inline void operator()(int segment) const {
    wanted[segment] = ShareOf(k_percent, sums[segment].taking_part);
  }
};

/// @brief Writes the cross-entropy of an element of a sigmoid, and whether it
///        takes part.
template <typename Dtype>
struct SigmoidCrossEntropy {
  SoftmaxInput<Dtype> input;
  Dtype* cross_entropy;
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline void operator()(int i, PixelSums* sums) const {
    const int own = LabelClass(input.label[i], input.has_ignore_label,
        input.ignore_label);
    selection[i] = IGNORED;
    cross_entropy[i] = 0;
    if (own == POSITIVE || own == NEGATIVE) {
      ++sums->taking_part;
      selection[i] = POSITIVE;
      cross_entropy[i] = SelectedLoss(own, input.logits[i]);
    }
  }
};

/// @brief Marks the pixels with the highest cross-entropy.
template <typename Dtype>
struct HardestPixels {
  const Dtype* cross_entropy;
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline bool Key(int j,
      typename OrderedKey<Dtype>::Type* key) const {
    *key = KeyOf(cross_entropy[j]);
    return selection[j] != IGNORED;
  }
  CAFFE_HOST_DEVICE inline void Mark(int j, bool selected) const {
    selection[j] = selected ? POSITIVE : LEFT_OUT;
  }
};

/// @brief Marks those of one class alone.
template <typename Dtype>
struct HardestOfClass {
  HardestPixels<Dtype> pixels;
  const Dtype* label;
  int own;

  CAFFE_HOST_DEVICE inline bool Key(int j,
      typename OrderedKey<Dtype>::Type* key) const {
    return pixels.Key(j, key) && label[j] == own;
  }
  CAFFE_HOST_DEVICE inline void Mark(int j, bool selected) const {
    pixels.Mark(j, selected);
  }
};

/// @brief Counts the pixels of one class.
template <typename Dtype>
struct CountClass {
  const unsigned char* selection;
  const Dtype* label;
  int own;

  CAFFE_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    sums->taking_part += selection[j] != IGNORED && label[j] == own;
  }
};

}  // namespace caffe

#endif  // CAFFE_UTIL_HARDEST_PIXELS_HPP_
