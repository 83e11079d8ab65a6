#ifndef CAFFE_UTIL_TOP_K_CE_HPP_
#define CAFFE_UTIL_TOP_K_CE_HPP_

#include "caffe/util/class_balance.hpp"
#include "caffe/util/hardest.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/softmax_pixel.hpp"

namespace caffe {

/// @brief Bins of the bin loss: p in [0, 0.2), [0.2, 0.4), ... [0.8, 1].
const int kHardnessBins = 5;

/// @brief Where bin b ends, as a logit: log(p / (1 - p)).
CAFFE_HOST_DEVICE inline float HardnessBound(int b) {
  const float bounds[] = {-1.38629436f, -0.405465108f, 0.405465108f,
      1.38629436f};
  return bounds[b];
}

/// @brief The bin of a logit's probability.
template <typename Dtype>
CAFFE_HOST_DEVICE inline int HardnessBin(Dtype logit) {
  int bin = 0;
  while (bin < kHardnessBins - 1 && !(logit < HardnessBound(bin))) {
    ++bin;
  }
  return bin;
}

/// @brief Counts of a group before negatives are selected.
struct CandidateSums {
  int positives, negatives;
  int bins[kHardnessBins];  // of the negatives

  CAFFE_HOST_DEVICE inline void Clear() {
    positives = negatives = 0;
    for (int b = 0; b < kHardnessBins; ++b) {
      bins[b] = 0;
    }
  }
  CAFFE_HOST_DEVICE inline void Add(const CandidateSums& other) {
    positives += other.positives;
    negatives += other.negatives;
    for (int b = 0; b < kHardnessBins; ++b) {
      bins[b] += other.bins[b];
    }
  }
  /// How many negatives are wanted for the positives there are.
  CAFFE_HOST_DEVICE inline int Wanted(double negatives_per_positive) const {
    const double wanted = negatives_per_positive * positives;
    if (wanted >= negatives) {
      return negatives;
    }
    return positives > 0 && wanted < 1 ? 1 : RoundedDown(wanted);
  }
  /// The lowest of the bins that are taken whole to have `wanted` negatives.
  CAFFE_HOST_DEVICE inline int LowestBin(int wanted) const {
    int bin = kHardnessBins;
    for (int have = 0; bin > 0 && have < wanted;) {
      have += bins[--bin];
    }
    return bin;
  }
};

/// @brief Writes the classes of the labels as selection and counts them, the
///        negatives by bins if there are logits.
template <typename Dtype>
struct ClassifyLabels {
  const Dtype* logits;  // or NULL
  const Dtype* label;
  bool has_ignore_label;
  int ignore_label;
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline void operator()(int i, CandidateSums* sums) const {
    // What is not allowed is found when the selected elements are summed up.
    selection[i] = LabelClass(label[i], has_ignore_label, ignore_label);
    sums->positives += selection[i] == POSITIVE;
    if (selection[i] == NEGATIVE) {
      ++sums->negatives;
      if (logits) {
        ++sums->bins[HardnessBin(logits[i])];
      }
    }
  }
};

/// @brief Writes how many negatives a group wants, or its lowest bin.
struct WantNegatives {
  const CandidateSums* sums;
  double negatives_per_positive;
  bool bins;
  int* wanted;

  CAFFE_HOST_DEVICE inline void operator()(int group) const {
    wanted[group] = sums[group].Wanted(negatives_per_positive);
    if (bins) {
      wanted[group] = sums[group].LowestBin(wanted[group]);
    }
  }
};

/// @brief Leaves out the negatives of bins below the group's lowest.
template <typename Dtype>
struct KeepBins {
  const Dtype* logits;
  const int* lowest;
  int group_size;
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline void operator()(int i) const {
    if (selection[i] == NEGATIVE &&
        HardnessBin(logits[i]) < lowest[i / group_size]) {
      selection[i] = LEFT_OUT;
    }
  }
};

/// @brief The hardest negatives: those with the largest logits.
template <typename Dtype>
struct HardestNegatives {
  const Dtype* logits;
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline bool Key(int i,
      typename OrderedKey<Dtype>::Type* key) const {
    *key = KeyOf(logits[i]);
    return selection[i] == NEGATIVE;
  }
  CAFFE_HOST_DEVICE inline void Mark(int i, bool selected) const {
    if (!selected) {
      selection[i] = LEFT_OUT;
    }
  }
};

/// @brief The elements with the highest cross-entropy, which grows with the
///        logit of a negative and falls with that of a positive.
template <typename Dtype>
struct HardestElements {
  const Dtype* logits;
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline bool Key(int i,
      typename OrderedKey<Dtype>::Type* key) const {
    *key = KeyOf(selection[i] == POSITIVE ? -logits[i] : logits[i]);
    return selection[i] == POSITIVE || selection[i] == NEGATIVE;
  }
  CAFFE_HOST_DEVICE inline void Mark(int i, bool selected) const {
    if (!selected) {
      selection[i] = LEFT_OUT;
    }
  }
};

/// @brief Writes how many of a segment's elements the hardest k_percent are.
struct WantShare {
  const CandidateSums* sums;
  double k_percent;
  int* wanted;

  CAFFE_HOST_DEVICE inline void operator()(int segment) const {
    wanted[segment] = ShareOf(k_percent,
        sums[segment].positives + sums[segment].negatives);
  }
};

/// @brief Adds up what was selected.
template <typename Dtype>
struct SumSelected {
  const Dtype* logits;
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline void operator()(int i, GroupSums* sums) const {
    // A label that is not allowed was stored as -1, one byte.
    const int selected = selection[i] == 255 ? -1 : selection[i];
    if (selected != LEFT_OUT) {
      selection[i] = sums->AddElement(selected,
          SigmoidPixel<Dtype>::Shown(logits[i]), i);
    } else {
      // NaN where the logit is no finite number: it shows, though left out.
      sums->negative_loss += 0 * logits[i];
    }
  }
};

}  // namespace caffe

#endif  // CAFFE_UTIL_TOP_K_CE_HPP_
