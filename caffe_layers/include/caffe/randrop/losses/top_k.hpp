#ifndef CAFFE_RANDROP_LOSSES_TOP_K_HPP_
#define CAFFE_RANDROP_LOSSES_TOP_K_HPP_

#include "caffe/randrop/loops/radix_cut.hpp"
#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/losses/hardest.hpp"
#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/losses/visits.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/sigmoid.hpp"
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

/// @brief What an element adds to CandidateSums.
template <typename Index>
struct CandidatePart {
  Index positive, negative;
  Index from_bin[kHardnessBins - 1];  // a negative of bin b + 1 or higher
};

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
  /// Adds elements that were counted.
  RANDROP_HOST_DEVICE inline void AddPart(const CandidatePart<int>& part, int) {
    positives += part.positive;
    negatives += part.negative;
    int above = part.negative;
    for (int b = 0; b < kHardnessBins - 1; ++b) {
      bins[b] += above - part.from_bin[b];
      above = part.from_bin[b];
    }
    bins[kHardnessBins - 1] += above;
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

/// @brief Writes the roles of the labels as selection and counts them; counts
///        negatives by bin if there are logits. SumSelected reports invalid
///        labels.
template <typename Dtype>
struct ClassifyLabels {
  typedef ByElement Visits;
  const Dtype* logits;  // or NULL
  const Dtype* label;
  bool has_ignore_label;
  int ignore_label;
  unsigned char* selection;

  template <typename Real>
  RANDROP_HOST_DEVICE inline CandidatePart<typename IndexOf<Real>::Type> At(
      int i) const {
    typedef typename IndexOf<Real>::Type Index;
    const BinaryLabel<Real> own(LoadAs<Real>(label + i), has_ignore_label,
        ignore_label);
    StoreBytes(own.Roles(), selection + i);
    CandidatePart<Index> part = {own.positive, own.negative, {Index()}};
    if (logits) {
      const Real x = LoadAs<Real>(logits + i);
      for (int b = 0; b < kHardnessBins - 1; ++b) {
        const Index below = x < HardnessBound(b);
        part.from_bin[b] = own.negative & ~below;
      }
    }
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int i, CandidateSums* sums) const {
    sums->AddPart(At<Dtype>(i), i);
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
  typedef ByGroup Visits;
  const Dtype* logits;
  const int* lowest;
  int group_size;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline int GroupSize() const { return group_size; }
  template <typename Real>
  RANDROP_HOST_DEVICE inline void At(int group, int i) const {
    typedef typename IndexOf<Real>::Type Index;
    const int bin = lowest[group];
    if (bin == 0) {
      return;
    }
    // Beyond the last bin no negative is kept.
    const Index below = bin == kHardnessBins ? All<Index>() :
        Index(LoadAs<Real>(logits + i) < HardnessBound(bin - 1));
    const Index role = LoadBytes<Index>(selection + i);
    StoreBytes(Is(role, Role::NEGATIVE) & below ?
        Index() + static_cast<int>(Role::LEFT_OUT) : role, selection + i);
  }
  RANDROP_HOST_DEVICE inline void operator()(int i) const {
    At<Dtype>(i / group_size, i);
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
  typedef ByElement Visits;
  const Dtype* logits;
  unsigned char* selection;

  template <typename Real>
  RANDROP_HOST_DEVICE inline GroupPart<Real> At(int i) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index role = LoadBytes<Index>(selection + i);
    const Index positive = Is(role, Role::POSITIVE);
    const Index negative = Is(role, Role::NEGATIVE);
    const SigmoidPixel<Real> pixel =
        SigmoidPixel<Real>::Shown(LoadAs<Real>(logits + i));
    // A logit that is not finite shows as NaN even if it is left out.
    const GroupPart<Real> part = {Where(positive, pixel.PositiveLoss()),
        Where(negative, pixel.NegativeLoss()) +
            Where(Is(role, Role::LEFT_OUT), 0 * pixel.x),
        positive, negative, Is(role, Role::IGNORED), Is(role, kBadRole)};
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int i, GroupSums* sums) const {
    sums->AddPart(At<Dtype>(i), i);
    if (selection[i] == kBadRole) {
      selection[i] = Role::IGNORED;
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
  typedef ByElement Visits;
  const Dtype* cross_entropy;
  const unsigned char* selection;

  template <typename Real>
  RANDROP_HOST_DEVICE inline PixelPart<Real> At(int j) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index selected =
        Is(LoadBytes<Index>(selection + j), Role::SELECTED);
    const PixelPart<Real> part = {
        Where(selected, LoadAs<Real>(cross_entropy + j)), selected, Index()};
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    sums->AddPart(At<Dtype>(j), j);
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
  typedef ByPixel Visits;
  LossInput<Dtype> input;
  const unsigned char* selection;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline const LossInput<Dtype>& Input() const {
    return input;
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline void At(const LossInput<Dtype>& in,
      const PixelAt& at) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index selected =
        Is(LoadBytes<Index>(selection + at.j), Role::SELECTED);
    if (!Any(selected)) {
      ClearPixel<Real>(in, at.first, diff);
      return;
    }
    const SoftmaxPixel<Real> pixel(in, at.first,
        in.template Class<Real>(at.j));
    for (int c = 0, i = at.first; c < in.classes; ++c, i += in.area) {
      StoreAs(Where(selected, scale * pixel.CrossEntropyDiff(c)), diff + i);
    }
  }
  RANDROP_HOST_DEVICE inline void operator()(int j) const {
    At<Dtype>(input, input.At(j));
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_TOP_K_HPP_
