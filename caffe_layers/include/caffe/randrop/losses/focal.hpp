#ifndef CAFFE_RANDROP_LOSSES_FOCAL_HPP_
#define CAFFE_RANDROP_LOSSES_FOCAL_HPP_

#include <cmath>

#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/losses/visits.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
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

  template <typename Real>
  RANDROP_HOST_DEVICE inline BinaryLabel<Real> Label(int i) const {
    return BinaryLabel<Real>(LoadAs<Real>(label + i), has_ignore_label,
        ignore_label);
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline Real Weight(int group,
      typename IndexOf<Real>::Type positive) const {
    return positive ? Real() + weights[2 * group] :
        Real() + weights[2 * group + 1];
  }
  /// The z of SigmoidFocal.
  template <typename Real>
  RANDROP_HOST_DEVICE inline Real Z(int i,
      typename IndexOf<Real>::Type positive) const {
    const Real x = LoadAs<Real>(logits + i);
    return positive ? -x : x;
  }
};

/// @brief Counts the classes of a group.
template <typename Dtype>
struct CountClasses {
  SigmoidFocalInput<Dtype> input;

  RANDROP_HOST_DEVICE inline void operator()(int i, ClassCounts* counts) const {
    const BinaryLabel<Dtype> own = input.template Label<Dtype>(i);
    counts->positives += own.positive;
    counts->negatives += own.negative;
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
  typedef ByGroup Visits;
  SigmoidFocalInput<Dtype> input;

  RANDROP_HOST_DEVICE inline int GroupSize() const { return input.group_size; }
  template <typename Real>
  RANDROP_HOST_DEVICE inline PixelPart<Real> At(int group, int i) const {
    const BinaryLabel<Real> own = input.template Label<Real>(i);
    const SigmoidPixel<Real> z = SigmoidPixel<Real>::Shown(
        input.template Z<Real>(i, own.positive));
    const PixelPart<Real> part = {
        Where(own.Valid(), input.template Weight<Real>(group, own.positive) *
            SigmoidFocal(z, input.gamma)), own.Valid(), own.Bad()};
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int i, PixelSums* sums) const {
    sums->AddPart(At<Dtype>(i / input.group_size, i), i);
  }
};

/// @brief Writes its gradient.
template <typename Dtype>
struct WriteSigmoidFocalDiff {
  typedef ByGroup Visits;
  SigmoidFocalInput<Dtype> input;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline int GroupSize() const { return input.group_size; }
  template <typename Real>
  RANDROP_HOST_DEVICE inline void At(int group, int i) const {
    const BinaryLabel<Real> own = input.template Label<Real>(i);
    const SigmoidPixel<Real> z(input.template Z<Real>(i, own.positive));
    const Real weight =
        scale * input.template Weight<Real>(group, own.positive);
    StoreAs(Where(own.Valid(), (own.positive ? -weight : weight) *
        SigmoidFocalDiff(z, input.gamma)), diff + i);
  }
  RANDROP_HOST_DEVICE inline void operator()(int i) const {
    At<Dtype>(i / input.group_size, i);
  }
};

/// @brief Adds up the softmax focal loss.
template <typename Dtype>
struct SumSoftmaxFocal {
  typedef ByPixel Visits;
  LossInput<Dtype> input;
  Dtype gamma;
  const Dtype* alpha;  // one for each class

  RANDROP_HOST_DEVICE inline const LossInput<Dtype>& Input() const {
    return input;
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline PixelPart<Real> At(const LossInput<Dtype>& in,
      const PixelAt& at) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index own = in.template Class<Real>(at.j);
    const Index valid = own >= 0;
    const SoftmaxPixel<Real> pixel(in, at.first, own);
    const PixelPart<Real> part = {
        Where(valid, OfOwnClass<Real>(alpha, in.classes, own) *
            SoftmaxFocal(pixel, gamma)),
        valid, Is(own, static_cast<int>(PixelClass::BAD))};
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    sums->AddPart(At<Dtype>(input, input.At(j)), j);
  }
};

/// @brief Writes its gradient.
template <typename Dtype>
struct WriteSoftmaxFocalDiff {
  typedef ByPixel Visits;
  LossInput<Dtype> input;
  Dtype gamma;
  const Dtype* alpha;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline const LossInput<Dtype>& Input() const {
    return input;
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline void At(const LossInput<Dtype>& in,
      const PixelAt& at) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index own = in.template Class<Real>(at.j);
    const SoftmaxPixel<Real> pixel(in, at.first, own);
    const Real factor = scale * OfOwnClass<Real>(alpha, in.classes, own) *
        SoftmaxFocalFactor(pixel, gamma);
    for (int c = 0, i = at.first; c < in.classes; ++c, i += in.area) {
      StoreAs(Where(own >= 0, factor * pixel.CrossEntropyDiff(c)), diff + i);
    }
  }
  RANDROP_HOST_DEVICE inline void operator()(int j) const {
    At<Dtype>(input, input.At(j));
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_FOCAL_HPP_
