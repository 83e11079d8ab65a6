#ifndef CAFFE_RANDROP_LOSSES_BALANCE_HPP_
#define CAFFE_RANDROP_LOSSES_BALANCE_HPP_

#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/sigmoid.hpp"

namespace caffe {
namespace randrop {

/**
 * @brief The sums over one group for class-balanced cross-entropy
 *        (BalanceRule): counts of positives (N+), kept negatives (K) and
 *        ignored elements, and the cross-entropies of the first two.
 */
struct GroupSums {
  double positive_loss;
  double negative_loss;
  int positives;
  int negatives;
  int ignored;
  int bad_label;  // index of the first invalid label; -1: none

  RANDROP_HOST_DEVICE inline void Clear() {
    positive_loss = negative_loss = 0;
    positives = negatives = ignored = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const GroupSums& other) {
    positive_loss += other.positive_loss;
    negative_loss += other.negative_loss;
    positives += other.positives;
    negatives += other.negatives;
    ignored += other.ignored;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  /// Adds an element to the sums; returns its selection.
  template <typename Dtype>
  RANDROP_HOST_DEVICE inline int AddElement(int selection,
      const SigmoidPixel<Dtype>& pixel, int index) {
    switch (selection) {
    case Role::POSITIVE:
      ++positives;
      positive_loss += pixel.PositiveLoss();
      return selection;
    case Role::NEGATIVE:
      ++negatives;
      negative_loss += pixel.NegativeLoss();
      return selection;
    case Role::IGNORED:
      ++ignored;
      return selection;
    case Role::LEFT_OUT:
      return selection;
    default:
      bad_label = FirstIndex(bad_label, index);
      return Role::IGNORED;
    }
  }
};

/// @brief The weights of a group's elements.
struct BalanceRule {
  /// True: w+ = K / (K + N+) and w- = N+ / (K + N+), 0 in an empty group;
  /// false: all weigh 1.
  bool balanced;
  double positive_weight;  // extra factor for positives

  RANDROP_HOST_DEVICE inline double Positive(const GroupSums& sums) const {
    return positive_weight * (balanced ? sums.negatives / Members(sums) : 1);
  }
  RANDROP_HOST_DEVICE inline double Negative(const GroupSums& sums) const {
    return balanced ? sums.positives / Members(sums) : 1;
  }
  RANDROP_HOST_DEVICE inline double Loss(const GroupSums& sums) const {
    return Positive(sums) * sums.positive_loss +
        Negative(sums) * sums.negative_loss;
  }
  /// Whether positives cannot learn because no negative was kept.
  RANDROP_HOST_DEVICE inline bool Starves(const GroupSums& sums) const {
    return balanced && sums.positives > 0 && sums.negatives == 0;
  }

 private:
  RANDROP_HOST_DEVICE inline double Members(const GroupSums& sums) const {
    const double members =
        static_cast<double>(sums.positives) + sums.negatives;
    return members > 0 ? members : 1;
  }
};

/// @brief The sums over the groups of a batch.
struct BatchSums {
  double loss;    // before normalisation
  int starved;    // groups with positives but no kept negative
  int taking_part;
  int ignored;
  int bad_label;  // as in GroupSums

  RANDROP_HOST_DEVICE inline void Clear() {
    loss = 0;
    starved = taking_part = ignored = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const BatchSums& other) {
    loss += other.loss;
    starved += other.starved;
    taking_part += other.taking_part;
    ignored += other.ignored;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  RANDROP_HOST_DEVICE inline void AddGroup(const GroupSums& group,
      const BalanceRule& rule) {
    loss += rule.Loss(group);
    starved += rule.Starves(group);
    taking_part += group.positives + group.negatives;
    ignored += group.ignored;
    bad_label = FirstIndex(bad_label, group.bad_label);
  }
};

/// @brief Cross-entropy of a selected element: -log p = softplus(-x) for a
///        positive, -log(1 - p) = softplus(x) for a negative.
template <typename Dtype>
RANDROP_HOST_DEVICE inline Dtype SelectedLoss(int selection, Dtype logit) {
  return SigmoidPixel<Dtype>::Shown(
      selection == Role::POSITIVE ? -logit : logit)
      .NegativeLoss();
}

/// @brief Its derivative with respect to the logit, p - t, in a form that keeps
///        full relative accuracy as p approaches t.
template <typename Dtype>
RANDROP_HOST_DEVICE inline Dtype SelectedDiff(int selection, Dtype logit) {
  return selection == Role::POSITIVE ? -Logistic(-logit) : Logistic(logit);
}

/// @brief Its gradient, weighted for positives and kept negatives; exactly 0
///        for elements that take no part.
template <typename Dtype>
RANDROP_HOST_DEVICE inline Dtype WeightedDiff(int selection, Dtype logit,
    const Dtype weight[2]) {
  if (selection != Role::POSITIVE && selection != Role::NEGATIVE) {
    return 0;
  }
  return weight[selection == Role::NEGATIVE] * SelectedDiff(selection, logit);
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_BALANCE_HPP_
