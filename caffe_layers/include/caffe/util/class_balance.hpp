#ifndef CAFFE_UTIL_CLASS_BALANCE_HPP_
#define CAFFE_UTIL_CLASS_BALANCE_HPP_

#include <stdint.h>

#include "caffe/util/host_device.hpp"
#include "caffe/util/logistic.hpp"

namespace caffe {

/// @brief What an element is to a loss that selects negatives; one byte each.
enum Selection {
  LEFT_OUT = 0,   // a negative that was dropped
  POSITIVE = 1,
  NEGATIVE = 2,   // a negative that was kept
  IGNORED = 3
};

/// @brief The class of a binary label: POSITIVE, NEGATIVE, IGNORED, or -1 for
///        a value that is not allowed.
template <typename Dtype>
CAFFE_HOST_DEVICE inline int LabelClass(Dtype label, bool has_ignore_label,
    int ignore_label) {
  if (has_ignore_label && label == ignore_label) {
    return IGNORED;
  }
  if (label == 0) {
    return NEGATIVE;
  }
  return label == 1 ? POSITIVE : -1;
}

/// @brief The smaller of two indices, -1 meaning none.
CAFFE_HOST_DEVICE inline int FirstIndex(int a, int b) {
  return b < 0 || (a >= 0 && a < b) ? a : b;
}

/**
 * @brief The sums over one group, from which class-balanced cross-entropy
 *        follows (BalanceRule): counts of positives (N+), kept negatives (K)
 *        and ignored elements, and the cross-entropy of the first two.
 */
struct GroupSums {
  double positive_loss;
  double negative_loss;
  int positives;
  int negatives;
  int ignored;
  int bad_label;  // index of the first label that is not allowed; -1: none

  CAFFE_HOST_DEVICE inline void Clear() {
    positive_loss = negative_loss = 0;
    positives = negatives = ignored = 0;
    bad_label = -1;
  }
  CAFFE_HOST_DEVICE inline void Add(const GroupSums& other) {
    positive_loss += other.positive_loss;
    negative_loss += other.negative_loss;
    positives += other.positives;
    negatives += other.negatives;
    ignored += other.ignored;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  /// Adds an element to the sums; returns what it is now.
  template <typename Dtype>
  CAFFE_HOST_DEVICE inline int AddElement(int selection,
      const SigmoidPixel<Dtype>& pixel, int index) {
    switch (selection) {
    case POSITIVE:
      ++positives;
      positive_loss += pixel.PositiveLoss();
      return selection;
    case NEGATIVE:
      ++negatives;
      negative_loss += pixel.NegativeLoss();
      return selection;
    case IGNORED:
      ++ignored;
      return selection;
    case LEFT_OUT:
      return selection;
    default:
      bad_label = FirstIndex(bad_label, index);
      return IGNORED;
    }
  }
};

/// @brief How the elements of a group weigh.
struct BalanceRule {
  /// By the counts: w+ = K / (K + N+) and w- = N+ / (K + N+), 0 in an empty
  /// group; otherwise all weigh 1.
  bool balanced;
  double positive_weight;  // a factor for the positives

  CAFFE_HOST_DEVICE inline double Positive(const GroupSums& sums) const {
    return positive_weight * (balanced ? sums.negatives / Members(sums) : 1);
  }
  CAFFE_HOST_DEVICE inline double Negative(const GroupSums& sums) const {
    return balanced ? sums.positives / Members(sums) : 1;
  }
  CAFFE_HOST_DEVICE inline double Loss(const GroupSums& sums) const {
    return Positive(sums) * sums.positive_loss +
        Negative(sums) * sums.negative_loss;
  }
  /// Positives that cannot learn, because no negative was kept beside them.
  CAFFE_HOST_DEVICE inline bool Starves(const GroupSums& sums) const {
    return balanced && sums.positives > 0 && sums.negatives == 0;
  }

 private:
  CAFFE_HOST_DEVICE inline double Members(const GroupSums& sums) const {
    const double members =
        static_cast<double>(sums.positives) + sums.negatives;
    return members > 0 ? members : 1;
  }
};

/// @brief The sums over the groups of a batch.
struct BatchSums {
  double loss;    // before normalisation
  int starved;    // groups whose positives stand alone
  int taking_part;
  int ignored;
  int bad_label;  // as in GroupSums

  CAFFE_HOST_DEVICE inline void Clear() {
    loss = 0;
    starved = taking_part = ignored = 0;
    bad_label = -1;
  }
  CAFFE_HOST_DEVICE inline void Add(const BatchSums& other) {
    loss += other.loss;
    starved += other.starved;
    taking_part += other.taking_part;
    ignored += other.ignored;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  CAFFE_HOST_DEVICE inline void AddGroup(const GroupSums& group,
      const BalanceRule& rule) {
    loss += rule.Loss(group);
    starved += rule.Starves(group);
    taking_part += group.positives + group.negatives;
    ignored += group.ignored;
    bad_label = FirstIndex(bad_label, group.bad_label);
  }
};

/// @brief How many groups there are of which something takes part.
struct GroupTally {
  int groups;

  CAFFE_HOST_DEVICE inline void Clear() { groups = 0; }
  CAFFE_HOST_DEVICE inline void Add(const GroupTally& other) {
    groups += other.groups;
  }
};

/// @brief Cross-entropy of a selected element: -log p of a positive is
///        softplus(-x), -log(1 - p) of a negative softplus(x).
template <typename Dtype>
CAFFE_HOST_DEVICE inline Dtype SelectedLoss(int selection, Dtype logit) {
  return SigmoidPixel<Dtype>::Shown(selection == POSITIVE ? -logit : logit)
      .NegativeLoss();
}

/// @brief Its derivative by the logit, p - t, in the form that keeps the
///        relative accuracy where p approaches t.
template <typename Dtype>
CAFFE_HOST_DEVICE inline Dtype SelectedDiff(int selection, Dtype logit) {
  return selection == POSITIVE ? -Logistic(-logit) : Logistic(logit);
}

/// @brief Its gradient under the weights of positives and of kept negatives;
///        exactly 0 for what takes no part.
template <typename Dtype>
CAFFE_HOST_DEVICE inline Dtype WeightedDiff(int selection, Dtype logit,
    const Dtype weight[2]) {
  if (selection != POSITIVE && selection != NEGATIVE) {
    return 0;
  }
  return weight[selection == NEGATIVE] * SelectedDiff(selection, logit);
}

/// @brief What a mask top shows: 1 takes part, 0 left out, -1 ignored.
CAFFE_HOST_DEVICE inline int MaskValue(int selection) {
  return selection == IGNORED ? -1 : selection != LEFT_OUT;
}

/// @brief Writes what the second top shows.
template <typename Dtype>
struct WriteMask {
  const unsigned char* selection;
  Dtype* mask;

  CAFFE_HOST_DEVICE inline void operator()(int i) const {
    mask[i] = MaskValue(selection[i]);
  }
};

}  // namespace caffe

#endif  // CAFFE_UTIL_CLASS_BALANCE_HPP_
