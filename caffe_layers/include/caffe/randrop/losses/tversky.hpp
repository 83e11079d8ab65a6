#ifndef CAFFE_RANDROP_LOSSES_TVERSKY_HPP_
#define CAFFE_RANDROP_LOSSES_TVERSKY_HPP_

#include "caffe/randrop/losses/dice.hpp"
#include "caffe/randrop/losses/exp_log.hpp"

namespace caffe {
namespace randrop {

/// @brief The sums of a class; false positives and false negatives have weights
///        of their own (Salehi et al., MLMI 2017).
struct TverskySums {
  double overlap;  // sum p y
  double false_positives, false_negatives;  // sum p (1 - y), sum (1 - p) y
  int members;     // elements that are not ignored
  int bad_label;   // index of the first invalid label; -1: none

  RANDROP_HOST_DEVICE inline void Clear() {
    overlap = false_positives = false_negatives = 0;
    members = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const TverskySums& other) {
    overlap += other.overlap;
    false_positives += other.false_positives;
    false_negatives += other.false_negatives;
    members += other.members;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  /// Adds an element with class probability p and complement 1 - p.
  RANDROP_HOST_DEVICE inline void AddElement(double p, double complement,
      bool truth) {
    ++members;
    overlap += truth ? p : 0;
    false_positives += truth ? 0 : p;
    false_negatives += truth ? complement : 0;
  }
};

/// @brief Adds element i of a sigmoid to its group's sums.
template <typename Dtype>
struct SumSigmoidTversky {
  LossInput<Dtype> input;

  RANDROP_HOST_DEVICE inline void operator()(int i, TverskySums* sums) const {
    const int own = LabelClass(input.label[i], input.has_ignore_label,
        input.ignore_label);
    if (own == Role::POSITIVE || own == Role::NEGATIVE) {
      const SigmoidPixel<Dtype> pixel =
          SigmoidPixel<Dtype>::Shown(input.logits[i]);
      sums->AddElement(pixel.P(), pixel.Complement(), own == Role::POSITIVE);
    } else if (own != Role::IGNORED) {
      sums->bad_label = FirstIndex(sums->bad_label, i);
    }
  }
};

/// @brief Adds a softmax pixel to the sums of its classes, like SumSoftmaxDice.
template <typename Dtype>
struct SumSoftmaxTversky {
  LossInput<Dtype> input;

  template <int most>
  RANDROP_HOST_DEVICE inline void AddClasses(int j, int first,
      TverskySums* sums) const {
    const int own = input.Class(j);
    if (own == PixelClass::BAD) {
      sums[0].bad_label = FirstIndex(sums[0].bad_label, j);
    }
    if (own < 0) {
      return;
    }
    const SoftmaxPixel<Dtype> pixel(input, j, own);
    for (int k = 0; k < most; ++k) {
      if (first + k < input.classes) {
        sums[k].AddElement(pixel.Probability(first + k), pixel.Complement(),
            first + k == own);
      }
    }
  }
};

/// @brief Writes a group's contribution to the loss, (1 - T)^gamma, and its
///        slopes in p. With O = 2 overlap + smooth and E = 2 (alpha
///        false_positives + beta false_negatives), 1 - T = E / (O + E).
template <typename Dtype>
struct WriteTverskyTerm {
  ClassGroups<TverskySums> groups;
  const GroupTally* tally;
  double alpha, beta, gamma, smooth;
  ExpLogTerm<Dtype>* terms;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    ExpLogTerm<Dtype> term = {0, 0, 0};
    const TverskySums whole = groups.Whole(group);
    const double overlap = 2 * whole.overlap + smooth;
    const double error = 2 * (alpha * whole.false_positives +
        beta * whole.false_negatives);
    const double size = overlap + error;
    // Neither present nor predicted, no smoothing: no loss. NaN passes through.
    if (groups.Counts(group, whole) && !(size == 0)) {
      const double share = 1. / tally->groups;
      const double value = error / size;
      term.loss = groups.IsRepeated(group) ? 0 :
          share * ExpLogPower(value, gamma);
      const double slope = 2 * share * ExpLogPowerDiff(value, gamma) / size;
      term.by_own = -slope * (beta * (overlap / size) + value);
      term.by_others = slope * alpha * (overlap / size);
    }
    terms[group] = term;
  }
};

/// @brief Writes the gradient with respect to sigmoid logit i.
template <typename Dtype>
struct WriteSigmoidTverskyDiff {
  LossInput<Dtype> input;
  const ExpLogTerm<Dtype>* terms;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline void operator()(int i) const {
    const int own = LabelClass(input.label[i], input.has_ignore_label,
        input.ignore_label);
    diff[i] = 0;
    if (own == Role::POSITIVE || own == Role::NEGATIVE) {
      const SigmoidPixel<Dtype> pixel(input.logits[i]);
      const ExpLogTerm<Dtype>& term = terms[i / input.area];
      diff[i] = scale * (own == Role::POSITIVE ? term.by_own : term.by_others) *
          pixel.P() * pixel.Complement();
    }
  }
};

/// @brief Writes the gradient with respect to the softmax logits of pixel j.
template <typename Dtype>
struct WriteSoftmaxTverskyDiff {
  LossInput<Dtype> input;
  const ExpLogTerm<Dtype>* terms;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline void operator()(int j) const {
    const int own = input.Class(j);
    if (own < 0) {
      ClearPixel(input, j, diff);
      return;
    }
    const SoftmaxPixel<Dtype> pixel(input, j, own);
    const ExpLogSlopes<Dtype> slope = {
        terms + j / input.area * input.classes, own};
    const SoftmaxSlopes<Dtype> slopes(pixel, input.classes, slope);
    for (int c = 0, i = input.Offset(j); c < input.classes;
         ++c, i += input.area) {
      diff[i] = scale * slopes.Diff(pixel, c, slope(c));
    }
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_TVERSKY_HPP_
