#ifndef CAFFE_RANDROP_LOSSES_BALANCE_HPP_
#define CAFFE_RANDROP_LOSSES_BALANCE_HPP_

#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/losses/visits.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/sigmoid.hpp"

namespace caffe {
namespace randrop {

/// @brief What an element adds to GroupSums; the losses are 0 where it has no
///        part in them.
template <typename Real>
struct GroupPart {
  typedef typename IndexOf<Real>::Type Index;
  Real positive_loss, negative_loss;
  Index positive, negative, ignored, bad;
};

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
  /// Adds element i.
  template <typename Real>
  RANDROP_HOST_DEVICE inline void AddPart(const GroupPart<Real>& part, int i) {
    positive_loss += part.positive_loss;
    negative_loss += part.negative_loss;
    positives += part.positive;
    negatives += part.negative;
    ignored += part.ignored;
    bad_label = part.bad ? FirstIndex(bad_label, i) : bad_label;
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

/// @brief Writes the weights of a group's positives and negatives.
template <typename Dtype>
struct WriteGroupWeights {
  const GroupSums* sums;
  BalanceRule rule;
  Dtype* weights;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    weights[2 * group] = rule.Positive(sums[group]);
    weights[2 * group + 1] = rule.Negative(sums[group]);
  }
};

/// @brief Adds the groups up.
struct SumGroups {
  const GroupSums* sums;
  BalanceRule rule;

  RANDROP_HOST_DEVICE inline void operator()(int group, BatchSums* total)
      const {
    total->AddGroup(sums[group], rule);
  }
};

/// @brief Writes the gradient of the cross-entropy of selected elements, under
///        the weights of their groups. p - t is written so that it keeps full
///        relative accuracy as p approaches t.
template <typename Dtype>
struct WriteBalancedDiff {
  typedef ByGroup Visits;
  const Dtype* logits;
  const unsigned char* selection;
  const Dtype* weights;
  Dtype scale;
  int group_size;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline int GroupSize() const { return group_size; }
  template <typename Real>
  RANDROP_HOST_DEVICE inline void At(int group, int i) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index role = LoadBytes<Index>(selection + i);
    const Index positive = Is(role, Role::POSITIVE);
    const Index kept = Is(role, Role::NEGATIVE);
    const Real x = LoadAs<Real>(logits + i);
    const Real weight = positive ? Real() - scale * weights[2 * group] :
        Real() + scale * weights[2 * group + 1];
    const SigmoidPixel<Real> pixel(positive ? -x : x);
    StoreAs(Where(positive | kept, weight * pixel.P()), diff + i);
  }
  RANDROP_HOST_DEVICE inline void operator()(int i) const {
    At<Dtype>(i / group_size, i);
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_BALANCE_HPP_
