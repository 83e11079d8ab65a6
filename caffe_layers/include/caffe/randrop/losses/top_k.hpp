#ifndef CAFFE_RANDROP_LOSSES_TOP_K_HPP_
#define CAFFE_RANDROP_LOSSES_TOP_K_HPP_

#include "caffe/randrop/loops/radix_cut.hpp"
#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {
namespace randrop {

/// @brief Bins of the bin loss: p in [0, 0.2), [0.2, 0.4), ... [0.8, 1].
const int kHardnessBins = 5;

/// @brief The upper bound of bin b as a logit, log(p / (1 - p)).
RANDROP_HOST_DEVICE inline float HardnessBound(int b) {
  const float bounds[] = {-1.38629436f, -0.405465108f, 0.405465108f,
      1.38629436f};
  return bounds[b];
}

/// @brief The bin of sigmoid(logit).
template <typename Dtype>
RANDROP_HOST_DEVICE inline int HardnessBin(Dtype logit) {
  int bin = 0;
  while (bin < kHardnessBins - 1 && !(logit < HardnessBound(bin))) {
    ++bin;
  }
  return bin;
}

/// @brief Counts in a group before negatives are selected.
struct CandidateSums {
  int positives, negatives;
  int bins[kHardnessBins];  // of the negatives

  RANDROP_HOST_DEVICE inline void Clear() {
    positives = negatives = 0;
    for (int b = 0; b < kHardnessBins; ++b) {
      bins[b] = 0;
    }
  }
  RANDROP_HOST_DEVICE inline void Add(const CandidateSums& other) {
    positives += other.positives;
    negatives += other.negatives;
    for (int b = 0; b < kHardnessBins; ++b) {
      bins[b] += other.bins[b];
    }
  }
  /// Number of negatives wanted for the positives.
  RANDROP_HOST_DEVICE inline int Wanted(double negatives_per_positive) const {
    const double wanted = negatives_per_positive * positives;
    if (wanted >= negatives) {
      return negatives;
    }
    return positives > 0 && wanted < 1 ? 1 : RoundedDown(wanted);
  }
  /// The lowest bin to include, whole bins giving at least `wanted` negatives.
  RANDROP_HOST_DEVICE inline int LowestBin(int wanted) const {
    int bin = kHardnessBins;
    for (int have = 0; bin > 0 && have < wanted;) {
      have += bins[--bin];
    }
    return bin;
  }
};

/// @brief Writes the classes of the labels as selection and counts them; counts
///        negatives by bin if there are logits.
template <typename Dtype>
struct ClassifyLabels {
  const Dtype* logits;  // or NULL
  const Dtype* label;
  bool has_ignore_label;
  int ignore_label;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline void operator()(int i, CandidateSums* sums) const {
    // SumSelected reports invalid labels.
    selection[i] = LabelClass(label[i], has_ignore_label, ignore_label);
    sums->positives += selection[i] == Role::POSITIVE;
    if (selection[i] == Role::NEGATIVE) {
      ++sums->negatives;
      if (logits) {
        ++sums->bins[HardnessBin(logits[i])];
      }
    }
  }
};

/// @brief Writes the number of negatives a group wants, or its lowest bin.
struct WantNegatives {
  const CandidateSums* sums;
  double negatives_per_positive;
  bool bins;
  int* wanted;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    wanted[group] = sums[group].Wanted(negatives_per_positive);
    if (bins) {
      wanted[group] = sums[group].LowestBin(wanted[group]);
    }
  }
};

/// @brief Leaves out negatives in bins below the group's lowest bin.
template <typename Dtype>
struct KeepBins {
  const Dtype* logits;
  const int* lowest;
  int group_size;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline void operator()(int i) const {
    if (selection[i] == Role::NEGATIVE &&
        HardnessBin(logits[i]) < lowest[i / group_size]) {
      selection[i] = Role::LEFT_OUT;
    }
  }
};

/// @brief The hardest negatives: those with the largest logits.
template <typename Dtype>
struct HardestNegatives {
  const Dtype* logits;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline bool Key(int i,
      typename OrderedKey<Dtype>::Type* key) const {
    *key = KeyOf(logits[i]);
    return selection[i] == Role::NEGATIVE;
  }
  RANDROP_HOST_DEVICE inline void Mark(int i, bool selected) const {
    if (!selected) {
      selection[i] = Role::LEFT_OUT;
    }
  }
};

/// @brief The elements with the highest cross-entropy, which increases with a
///        negative's logit and decreases with a positive's.
template <typename Dtype>
struct HardestElements {
  const Dtype* logits;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline bool Key(int i,
      typename OrderedKey<Dtype>::Type* key) const {
    *key = KeyOf(selection[i] == Role::POSITIVE ? -logits[i] : logits[i]);
    return selection[i] == Role::POSITIVE || selection[i] == Role::NEGATIVE;
  }
  RANDROP_HOST_DEVICE inline void Mark(int i, bool selected) const {
    if (!selected) {
      selection[i] = Role::LEFT_OUT;
    }
  }
};

/// @brief Writes how many of a segment's elements are the hardest k_percent.
struct WantShare {
  const CandidateSums* sums;
  double k_percent;
  int* wanted;

  RANDROP_HOST_DEVICE inline void operator()(int segment) const {
    wanted[segment] = ShareOf(k_percent,
        sums[segment].positives + sums[segment].negatives);
  }
};

/// @brief Sums over the selected elements.
template <typename Dtype>
struct SumSelected {
  const Dtype* logits;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline void operator()(int i, GroupSums* sums) const {
    // An invalid label was stored as -1 in one byte.
    const int selected = selection[i] == 255 ? -1 : selection[i];
    if (selected != Role::LEFT_OUT) {
      selection[i] = sums->AddElement(selected,
          SigmoidPixel<Dtype>::Shown(logits[i]), i);
    } else {
      // A logit that is not finite shows as NaN even if it is left out.
      sums->negative_loss += 0 * logits[i];
    }
  }
};

/// @brief Writes how many of a segment's pixels are the hardest k_percent.
struct WantShareOfPixels {
  const PixelSums* sums;
  double k_percent;
  int* wanted;

  RANDROP_HOST_DEVICE inline void operator()(int segment) const {
    wanted[segment] = ShareOf(k_percent, sums[segment].taking_part);
  }
};

/// @brief Marks the pixels with the highest cross-entropy.
template <typename Dtype>
struct HardestPixels {
  const Dtype* cross_entropy;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline bool Key(int j,
      typename OrderedKey<Dtype>::Type* key) const {
    *key = KeyOf(cross_entropy[j]);
    return selection[j] != Role::IGNORED;
  }
  RANDROP_HOST_DEVICE inline void Mark(int j, bool selected) const {
    selection[j] = selected ? Role::SELECTED : Role::LEFT_OUT;
  }
};

/// @brief The same within one class.
template <typename Dtype>
struct HardestOfClass {
  HardestPixels<Dtype> pixels;
  const Dtype* label;
  int own;

  RANDROP_HOST_DEVICE inline bool Key(int j,
      typename OrderedKey<Dtype>::Type* key) const {
    return pixels.Key(j, key) && label[j] == own;
  }
  RANDROP_HOST_DEVICE inline void Mark(int j, bool selected) const {
    pixels.Mark(j, selected);
  }
};

/// @brief Counts the pixels of one class.
template <typename Dtype>
struct CountClass {
  const unsigned char* selection;
  const Dtype* label;
  int own;

  RANDROP_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    sums->taking_part += selection[j] != Role::IGNORED && label[j] == own;
  }
};

/// @brief Adds up the cross-entropy of the selected pixels.
template <typename Dtype>
struct SumHardestPixels {
  const Dtype* cross_entropy;
  const unsigned char* selection;

  RANDROP_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    if (selection[j] == Role::SELECTED) {
      ++sums->taking_part;
      sums->loss += cross_entropy[j];
    }
  }
};

/// @brief Copies the label statistics of sums[0] to sums[1].
struct CarryBadLabel {
  PixelSums* sums;

  RANDROP_HOST_DEVICE inline void operator()(int) const {
    sums[1].bad_label = sums[0].bad_label;
  }
};

/// @brief Writes the gradient of the cross-entropy of the selected pixels.
template <typename Dtype>
struct SoftmaxTopKDiff {
  LossInput<Dtype> input;
  const unsigned char* selection;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline void operator()(int j) const {
    if (selection[j] != Role::SELECTED) {
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

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_TOP_K_HPP_
