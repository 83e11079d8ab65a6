#ifndef CAFFE_RANDROP_LOSSES_OVERLAP_HPP_
#define CAFFE_RANDROP_LOSSES_OVERLAP_HPP_

#include <cstddef>

#include "caffe/randrop/losses/classes.hpp"
#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/losses/visits.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/sigmoid.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {
namespace randrop {

/// @brief What an element adds to the sums of a class of which it has
///        probability p; the complement is 1 - p, kept accurate where the class
///        is its own.
template <typename Real>
struct OverlapPart {
  typedef typename IndexOf<Real>::Type Index;
  Real p, complement;
  Index truth;   // whether the class is its own
  Index part;    // whether the loss looks at it
  Index member;  // whether it is not ignored
  Index bad;
  bool squared;
};

/**
 * @brief The sums of an overlap loss. With E = false_positives +
 *        false_negatives, Dice is D = (2 overlap + s) / (size + s), and
 *        1 - D = E / (size + s): no cancellation at either end.
 */
struct OverlapSums {
  // Sums of p (1 - y) and (1 - p) y; with squares, of (p - y)^2 and nothing.
  double false_positives, false_negatives;
  double size;     // sum p^2 + y^2; without squares sum p + y
  double overlap;  // sum p y
  int members;     // elements that are not ignored
  int bad_label;   // index of the first invalid label; -1: none

  RANDROP_HOST_DEVICE inline void Clear() {
    false_positives = false_negatives = size = overlap = 0;
    members = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const OverlapSums& other) {
    false_positives += other.false_positives;
    false_negatives += other.false_negatives;
    size += other.size;
    overlap += other.overlap;
    members += other.members;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  /// Adds element i.
  template <typename Real>
  RANDROP_HOST_DEVICE inline void AddPart(const OverlapPart<Real>& part,
      int i) {
    members += part.member;
    bad_label = part.bad ? FirstIndex(bad_label, i) : bad_label;
    if (part.part) {
      const double p = part.p, wrong = part.truth ? part.complement : part.p;
      if (part.squared) {
        false_positives += wrong * wrong;
      } else {
        (part.truth ? false_negatives : false_positives) += wrong;
      }
      size += (part.squared ? p * p : p) + part.truth;
      overlap += part.truth ? p : 0;
    }
  }
};

/// @brief A group's (one class of an image or of the batch) contribution to the
///        loss, and its slopes with respect to p, for its own pixels and for
///        others: a constant plus, for squared sums, a multiple of the error,
///        1 - p or p. This avoids cancellation where the prediction is right.
template <typename Number>
struct OverlapTerm {
  double loss;
  Number own, others, by_wrong;

  template <typename Real>
  RANDROP_HOST_DEVICE inline Real Slope(Real p, Real complement,
      typename IndexOf<Real>::Type truth) const {
    return truth ? own - by_wrong * complement : others + by_wrong * p;
  }
};

/// @brief Logits, truth and the elements to be summed.
template <typename Dtype>
struct OverlapInput {
  LossInput<Dtype> input;
  bool squared;
  /// Unselected elements of a class still count for the other classes.
  bool foreground;
  const unsigned char* selection;  // of labels; NULL: all take part

  /// Whether an element takes part, given its pixel's selection.
  template <typename Index>
  RANDROP_HOST_DEVICE inline Index IsPart(Index selected, Index truth) const {
    const Index part = Is(selected, Role::SELECTED);
    return !foreground ? part : part | (Is(selected, Role::LEFT_OUT) & ~truth);
  }
  template <typename Index>
  RANDROP_HOST_DEVICE inline Index Selected(int j) const {
    return selection ? LoadBytes<Index>(selection + j) :
        Index() + static_cast<int>(Role::SELECTED);
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline BinaryLabel<Real> Label(int i) const {
    return BinaryLabel<Real>(LoadAs<Real>(input.label + i),
        input.has_ignore_label, input.ignore_label);
  }

  /// The usual options as constants, for a loop without the other cases.
  RANDROP_HOST_DEVICE inline bool IsUsual() const {
    return squared && !input.has_ignore_label && !selection;
  }
  RANDROP_HOST_DEVICE inline OverlapInput Usual() const {
    OverlapInput usual = *this;
    usual.squared = true;
    usual.foreground = usual.input.has_ignore_label = false;
    usual.selection = NULL;
    return usual;
  }
};

/// @brief Adds elements of a sigmoid to their group's sums.
template <typename Dtype>
struct SumSigmoidOverlap {
  typedef ByElement Visits;
  OverlapInput<Dtype> overlap;

  template <typename Real>
  RANDROP_HOST_DEVICE inline OverlapPart<Real> At(int i) const {
    typedef typename IndexOf<Real>::Type Index;
    const BinaryLabel<Real> own = overlap.template Label<Real>(i);
    const SigmoidPixel<Real> pixel =
        SigmoidPixel<Real>::Shown(LoadAs<Real>(overlap.input.logits + i));
    const OverlapPart<Real> part = {pixel.P(), pixel.Complement(), own.positive,
        own.Valid() & overlap.IsPart(overlap.template Selected<Index>(i),
            own.positive), own.Valid(), own.Bad(), overlap.squared};
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int i, OverlapSums* sums) const {
    sums->AddPart(At<Dtype>(i), i);
  }
};

/// @brief Adds pixels of a softmax to the sums of their classes.
template <typename Dtype>
struct SumSoftmaxOverlap {
  typedef Dtype Number;
  OverlapInput<Dtype> overlap;

  RANDROP_HOST_DEVICE inline const LossInput<Dtype>& Input() const {
    return overlap.input;
  }
  template <typename Index>
  RANDROP_HOST_DEVICE inline Index Selected(int j) const {
    return overlap.template Selected<Index>(j);
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline Real OfPixel(const SoftmaxPixel<Real>&) const {
    return Real();
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline OverlapPart<Real> OfClass(Real p, Real complement,
      typename IndexOf<Real>::Type truth,
      typename IndexOf<Real>::Type selected,
      typename WideOf<Real>::Type) const {
    typedef typename IndexOf<Real>::Type Index;
    const OverlapPart<Real> part = {p, complement, truth,
        overlap.IsPart(selected, truth), All<Index>(), Index(),
        overlap.squared};
    return part;
  }
  template <int most>
  RANDROP_HOST_DEVICE inline void AddClasses(int j, int first,
      OverlapSums* sums) const {
    AddPixelToClasses<most>(*this, j, first, sums);
  }
};

/// @brief The groups of an overlap loss, one class of one image each; with
///        batch, each image uses the class's sums over all images.
struct ClassGroups {
  const OverlapSums* sums;
  int images, classes;
  bool batch;
  int first_class;  // first class in the mean

  RANDROP_HOST_DEVICE inline OverlapSums Whole(int group) const {
    if (!batch) {
      return sums[group];
    }
    OverlapSums whole;
    whole.Clear();
    for (int n = 0; n < images; ++n) {
      whole.Add(sums[n * classes + group % classes]);
    }
    return whole;
  }
  /// Whether a group with these sums is in the mean: a group whose pixels are
  /// all ignored is not.
  RANDROP_HOST_DEVICE inline bool Counts(int group, const OverlapSums& whole)
      const {
    return group % classes >= first_class && whole.members > 0;
  }
  /// Whether another group with the same sums adds the loss.
  RANDROP_HOST_DEVICE inline bool IsRepeated(int group) const {
    return batch && group >= classes;
  }
};

/// @brief Counts the groups in the mean.
struct CountClassGroups {
  ClassGroups groups;

  RANDROP_HOST_DEVICE inline void operator()(
      int group, GroupTally* tally) const {
    tally->groups += !groups.IsRepeated(group) &&
        groups.Counts(group, groups.Whole(group));
  }
};

/// @brief The total of a loss over groups.
struct GroupedLoss {
  double loss;
  int bad_label;  // as in OverlapSums

  RANDROP_HOST_DEVICE inline void Clear() {
    loss = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const GroupedLoss& other) {
    loss += other.loss;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
};

/// @brief Adds the groups up.
template <typename Dtype>
struct SumOverlapTerms {
  const OverlapSums* sums;
  const OverlapTerm<Dtype>* terms;

  RANDROP_HOST_DEVICE inline void operator()(
      int group, GroupedLoss* total) const {
    total->loss += terms[group].loss;
    total->bad_label = FirstIndex(total->bad_label, sums[group].bad_label);
  }
};

/// @brief Writes the gradient with respect to sigmoid logits.
template <typename Dtype>
struct WriteSigmoidOverlapDiff {
  typedef ByGroup Visits;
  OverlapInput<Dtype> overlap;
  const OverlapTerm<Dtype>* terms;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline int GroupSize() const {
    return overlap.input.area;
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline void At(int group, int i) const {
    typedef typename IndexOf<Real>::Type Index;
    const BinaryLabel<Real> own = overlap.template Label<Real>(i);
    const SigmoidPixel<Real> pixel(LoadAs<Real>(overlap.input.logits + i));
    const Index part = own.Valid() & overlap.IsPart(
        overlap.template Selected<Index>(i), own.positive);
    StoreAs(Where(part, scale *
        terms[group].Slope(pixel.P(), pixel.Complement(), own.positive) *
        pixel.P() * pixel.Complement()), diff + i);
  }
  RANDROP_HOST_DEVICE inline void operator()(int i) const {
    At<Dtype>(i / GroupSize(), i);
  }
};

/// @brief The slopes of the classes of a softmax pixel.
template <typename Real>
struct OverlapSlopes {
  typedef typename ScalarOf<Real>::Type Number;
  typedef typename IndexOf<Real>::Type Index;
  const OverlapInput<Number>& overlap;
  const OverlapTerm<Number>* terms;  // of the pixel's image
  const SoftmaxPixel<Real>& pixel;
  Index own, selected;

  RANDROP_HOST_DEVICE inline Real operator()(int c) const {
    const Index truth = own == c;
    return Where(overlap.IsPart(selected, truth),
        terms[c].Slope(pixel.Probability(c), pixel.Complement(), truth));
  }
};

/// @brief Writes the gradient with respect to the softmax logits of pixels.
template <typename Dtype>
struct WriteSoftmaxOverlapDiff {
  typedef ByPixel Visits;
  OverlapInput<Dtype> overlap;
  const OverlapTerm<Dtype>* terms;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline const LossInput<Dtype>& Input() const {
    return overlap.input;
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline void At(const LossInput<Dtype>& in,
      const PixelAt& at) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index own = in.template Class<Real>(at.j);
    const SoftmaxPixel<Real> pixel(in, at.first, own);
    const OverlapSlopes<Real> slope = {overlap, terms + at.image * in.classes,
        pixel, own, overlap.template Selected<Index>(at.j)};
    const SoftmaxSlopes<Real> slopes(pixel, in.classes, slope);
    for (int c = 0, i = at.first; c < in.classes; ++c, i += in.area) {
      StoreAs(Where(own >= 0, scale * slopes.Diff(pixel, c, slope(c))),
          diff + i);
    }
  }
  RANDROP_HOST_DEVICE inline void operator()(int j) const {
    At<Dtype>(overlap.input, overlap.input.At(j));
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_OVERLAP_HPP_
