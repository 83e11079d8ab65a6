#ifndef CAFFE_RANDROP_LOSSES_FOCAL_HPP_
#define CAFFE_RANDROP_LOSSES_FOCAL_HPP_

#include <cmath>

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/sigmoid.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {
namespace randrop {

/// @brief (1 - p)^gamma for 1 - p in [0, 1].
template <typename Real>
RANDROP_HOST_DEVICE inline Real FocalModulation(Real complement,
    typename ScalarOf<Real>::Type gamma) {
  if (gamma == 0) {
    return Real() + 1;
  }
  return gamma == 2 ? complement * complement : PowOf(complement, gamma);
}

/// @brief (1 - p)^gamma (-log p) with p = sigmoid(-z): z is the logit of a
///        negative, or minus the logit of a positive.
template <typename Real>
RANDROP_HOST_DEVICE inline Real SigmoidFocal(const SigmoidPixel<Real>& z,
    typename ScalarOf<Real>::Type gamma) {
  return FocalModulation(z.P(), gamma) * z.NegativeLoss();
}

/// @brief Its derivative with respect to z, including that of the modulation.
template <typename Real>
RANDROP_HOST_DEVICE inline Real SigmoidFocalDiff(const SigmoidPixel<Real>& z,
    typename ScalarOf<Real>::Type gamma) {
  return FocalModulation(z.P(), gamma) *
      (z.P() + gamma * z.Complement() * z.NegativeLoss());
}

/// @brief The same for the true class of a softmax.
template <typename Real>
RANDROP_HOST_DEVICE inline Real SoftmaxFocal(const SoftmaxPixel<Real>& pixel,
    typename ScalarOf<Real>::Type gamma) {
  return FocalModulation(pixel.Complement(), gamma) * pixel.CrossEntropy();
}

/// @brief The factor that turns the derivative of the cross-entropy,
///        p_c - [c is the true class], into that of the focal loss:
///        (1 - p)^gamma + gamma p (1 - p)^(gamma - 1) (-log p).
template <typename Real>
RANDROP_HOST_DEVICE inline Real SoftmaxFocalFactor(
    const SoftmaxPixel<Real>& pixel, typename ScalarOf<Real>::Type gamma) {
  const Real complement = pixel.Complement();
  // -log(p) / (1 - p) tends to 1 as p does; at p = 1 its term below is 0.
  const Real ratio =
      complement > 0 ? pixel.CrossEntropy() / complement : Real() + 1;
  return FocalModulation(complement, gamma) *
      (1 + gamma * pixel.OwnProbability() * ratio);
}

/// @brief Numbers of positives and negatives in a group.
struct ClassCounts {
  int positives, negatives;

  RANDROP_HOST_DEVICE inline void Clear() { positives = negatives = 0; }
  RANDROP_HOST_DEVICE inline void Add(const ClassCounts& other) {
    positives += other.positives;
    negatives += other.negatives;
  }
};

/// @brief Binary labels and the weights of their groups.
template <typename Dtype>
struct SigmoidFocalInput {
  const Dtype* logits;
  const Dtype* label;
  bool has_ignore_label;
  int ignore_label;
  Dtype gamma;
  const Dtype* weights;  // a pair a group: of positives, of negatives
  int group_size;

  RANDROP_HOST_DEVICE inline int Class(int i) const {
    return LabelClass(label[i], has_ignore_label, ignore_label);
  }
  RANDROP_HOST_DEVICE inline Dtype Weight(int i, int own) const {
    return weights[i / group_size * 2 + (own != Role::POSITIVE)];
  }
};

/// @brief Counts the classes of a group.
template <typename Dtype>
struct CountClasses {
  SigmoidFocalInput<Dtype> input;

  RANDROP_HOST_DEVICE inline void operator()(int i, ClassCounts* counts) const {
    const int own = input.Class(i);
    counts->positives += own == Role::POSITIVE;
    counts->negatives += own == Role::NEGATIVE;
  }
};

/// @brief Writes alpha and 1 - alpha. Alpha is N- / (N+ + N-) of a group, or
///        fixed without counts. Both are computed from the counts, as the
///        subtraction from 1 may lose one of them.
template <typename Dtype>
struct WriteFocalWeights {
  const ClassCounts* counts;
  double fixed;
  Dtype* weights;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    double positive = fixed, negative = 1 - fixed;
    if (counts) {
      const double positives = counts[group].positives;
      const double negatives = counts[group].negatives;
      const double all = positives + negatives;
      positive = all > 0 ? negatives / all : 0;
      negative = all > 0 ? positives / all : 0;
    }
    weights[2 * group] = positive;
    weights[2 * group + 1] = negative;
  }
};

/// @brief Adds up the sigmoid focal loss.
template <typename Dtype>
struct SumSigmoidFocal {
  SigmoidFocalInput<Dtype> input;

  RANDROP_HOST_DEVICE inline void operator()(int i, PixelSums* sums) const {
    const int own = input.Class(i);
    if (own == Role::POSITIVE || own == Role::NEGATIVE) {
      const Dtype z =
          own == Role::POSITIVE ? -input.logits[i] : input.logits[i];
      ++sums->taking_part;
      sums->loss += input.Weight(i, own) *
          SigmoidFocal(SigmoidPixel<Dtype>::Shown(z), input.gamma);
    } else if (own != Role::IGNORED) {
      sums->bad_label = FirstIndex(sums->bad_label, i);
    }
  }
};

/// @brief Writes its gradient.
template <typename Dtype>
struct WriteSigmoidFocalDiff {
  SigmoidFocalInput<Dtype> input;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline void operator()(int i) const {
    const int own = input.Class(i);
    if (own == Role::IGNORED) {
      diff[i] = 0;
      return;
    }
    const Dtype sign = own == Role::POSITIVE ? -1 : 1;
    diff[i] = scale * sign * input.Weight(i, own) *
        SigmoidFocalDiff(SigmoidPixel<Dtype>(sign * input.logits[i]),
            input.gamma);
  }
};

/// @brief Adds up the softmax focal loss.
template <typename Dtype>
struct SumSoftmaxFocal {
  LossInput<Dtype> input;
  Dtype gamma;
  const Dtype* alpha;  // one for each class

  RANDROP_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    const int own = input.Class(j);
    if (sums->Count(own, j)) {
      const SoftmaxPixel<Dtype> pixel(input, j, own);
      sums->loss += alpha[own] * SoftmaxFocal(pixel, gamma);
    }
  }
};

/// @brief Writes its gradient.
template <typename Dtype>
struct WriteSoftmaxFocalDiff {
  LossInput<Dtype> input;
  Dtype gamma;
  const Dtype* alpha;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline void operator()(int j) const {
    const int own = input.Class(j);
    if (own < 0) {
      ClearPixel(input, j, diff);
      return;
    }
    const SoftmaxPixel<Dtype> pixel(input, j, own);
    const Dtype factor =
        scale * alpha[own] * SoftmaxFocalFactor(pixel, gamma);
    for (int c = 0, i = input.Offset(j); c < input.classes;
         ++c, i += input.area) {
      diff[i] = factor * pixel.CrossEntropyDiff(c);
    }
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_FOCAL_HPP_
