#ifndef CAFFE_RANDROP_LOSSES_OVERLAP_HPP_
#define CAFFE_RANDROP_LOSSES_OVERLAP_HPP_

#include <cstddef>

#include "caffe/randrop/losses/cells.hpp"
#include "caffe/randrop/losses/classes.hpp"
#include "caffe/randrop/losses/overlap_sums.hpp"
#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/losses/visits.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/sigmoid.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {
namespace randrop {

/// @brief A group's (one class of an image or of the batch) contribution to the
///        loss, and its slopes with respect to p, for its own pixels and for
///        others: a constant plus, for squared sums, a multiple of the error,
///        1 - p or p. This avoids cancellation where the prediction is right.
///        by_cross is the slope with respect to the cross-entropy.
template <typename Number>
struct OverlapTerm {
  double loss;
  Number own, others, by_wrong, by_cross;

  template <typename Real>
  RANDROP_HOST_DEVICE inline Real Slope(Real p, Real complement,
      typename IndexOf<Real>::Type truth) const {
    return truth ? own - by_wrong * complement : others + by_wrong * p;
  }
};

/// @brief The terms of the groups. A group may be split into cells; then, each
///        has its term.
template <typename Dtype>
struct OverlapTerms {
  const OverlapTerm<Dtype>* terms;
  int classes;         // groups of an image; 0: all images share them
  int most;            // cells of a group
  const Dtype* cells;  // the cell of each logit; NULL: the group is one

  RANDROP_HOST_DEVICE inline const OverlapTerm<Dtype>& Of(int image, int c,
      int logit) const {
    const int cell = cells ? static_cast<int>(cells[logit]) : 0;
    return terms[(image * classes + c) * most + cell];
  }
  /// Those of pixel j and its neighbours in the same cells; room is for one of
  /// each class.
  OverlapTerms OfRun(const CellMap<Dtype>& map, int j, OverlapTerm<Dtype>* room)
      const {
    for (int c = 0; c < map.classes; ++c) {
      room[c] = Of(j / map.area, c, map.Logit(j, c));
    }
    const OverlapTerms run = {room, 0, 1, NULL};
    return run;
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
  Dtype gamma;  // an element weighs |p - y|^gamma
  bool cross;   // whether to sum cross-entropies

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
  RANDROP_HOST_DEVICE inline Real Weight(Real wrong) const {
    return gamma > 0 ? PowOf(wrong, gamma) : Real() + 1;
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline BinaryLabel<Real> Label(int i) const {
    return BinaryLabel<Real>(LoadAs<Real>(input.label + i),
        input.has_ignore_label, input.ignore_label);
  }

  /// The usual options as constants, for a loop without the other cases.
  RANDROP_HOST_DEVICE inline bool IsUsual() const {
    return squared && !input.has_ignore_label && !selection && gamma == 0 &&
        !cross;
  }
  RANDROP_HOST_DEVICE inline OverlapInput Usual() const {
    OverlapInput usual = *this;
    usual.squared = true;
    usual.foreground = usual.input.has_ignore_label = false;
    usual.selection = NULL;
    usual.gamma = 0;
    usual.cross = false;
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
    OverlapPart<Real> part = {pixel.P(), pixel.Complement(), Real(), Real(),
        own.positive, own.Valid() & overlap.IsPart(
            overlap.template Selected<Index>(i), own.positive), own.Valid(),
        own.Bad(), overlap.squared, overlap.cross};
    part.weight = overlap.Weight(part.Wrong());
    if (overlap.cross) {
      part.cross = own.positive ? pixel.PositiveLoss() : pixel.NegativeLoss();
    }
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int i, OverlapSums* sums) const {
    sums->AddPart(At<Dtype>(i), i);
  }
  /// Adds element j of a group.
  RANDROP_HOST_DEVICE inline void AddOfGroup(int group, int j,
      OverlapSums* sums) const {
    (*this)(group * overlap.input.area + j, sums);
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
  RANDROP_HOST_DEVICE inline Real OfPixel(const SoftmaxPixel<Real>& pixel)
      const {
    return overlap.cross ? pixel.CrossEntropy() : Real();
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline OverlapPart<Real> OfClass(Real p, Real complement,
      typename IndexOf<Real>::Type truth,
      typename IndexOf<Real>::Type selected,
      typename WideOf<Real>::Type cross_entropy) const {
    typedef typename IndexOf<Real>::Type Index;
    OverlapPart<Real> part = {p, complement, Real(),
        static_cast<Real>(cross_entropy), truth,
        overlap.IsPart(selected, truth), All<Index>(), Index(),
        overlap.squared, overlap.cross};
    part.weight = overlap.Weight(part.Wrong());
    return part;
  }
  template <int most>
  RANDROP_HOST_DEVICE inline void AddClasses(int j, int first,
      OverlapSums* sums) const {
    AddPixelToClasses<most>(*this, j, first, sums);
  }
  /// Adds pixel j of an image to one of its classes.
  RANDROP_HOST_DEVICE inline void AddOfGroup(int group, int j,
      OverlapSums* sums) const {
    const LossInput<Dtype>& in = overlap.input;
    AddClasses<1>(group / in.classes * in.area + j, group % in.classes, sums);
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
  typedef OverlapTerm<Dtype> Term;
  OverlapInput<Dtype> overlap;
  OverlapTerms<Dtype> terms;
  Dtype scale;
  Dtype* diff;

  WriteSigmoidOverlapDiff OfRun(const CellMap<Dtype>& map, int j, Term* room)
      const {
    const WriteSigmoidOverlapDiff run = {overlap, terms.OfRun(map, j, room),
        scale, diff};
    return run;
  }
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
    const OverlapTerm<Dtype>& term = terms.Of(group, 0, i);
    const Real p = pixel.P(), complement = pixel.Complement();
    Real slope = scale * term.Slope(p, complement, own.positive) * p *
        complement * overlap.Weight(own.positive ? complement : p);
    if (overlap.cross) {
      slope += scale * term.by_cross * (own.positive ? -complement : p);
    }
    StoreAs(Where(part, slope), diff + i);
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
  const OverlapTerms<Number>& terms;
  const PixelAt& at;
  const SoftmaxPixel<Real>& pixel;
  Index own, selected;

  RANDROP_HOST_DEVICE inline const OverlapTerm<Number>& Term(int c) const {
    return terms.Of(at.image, c, at.first + c * overlap.input.area);
  }
  RANDROP_HOST_DEVICE inline Real operator()(int c) const {
    const Index truth = own == c;
    const Real p = pixel.Probability(c), complement = pixel.Complement();
    return Where(overlap.IsPart(selected, truth),
        Term(c).Slope(p, complement, truth) *
            overlap.Weight(truth ? complement : p));
  }
  /// With respect to the cross-entropy of the pixel.
  RANDROP_HOST_DEVICE inline Number ByCross() const {
    Number sum = 0;
    for (int c = 0; c < overlap.input.classes; ++c) {
      sum += Term(c).by_cross;
    }
    return sum;
  }
};

/// @brief Writes the gradient with respect to the softmax logits of pixels.
template <typename Dtype>
struct WriteSoftmaxOverlapDiff {
  typedef ByPixel Visits;
  typedef OverlapTerm<Dtype> Term;
  OverlapInput<Dtype> overlap;
  OverlapTerms<Dtype> terms;
  Dtype scale;
  Dtype* diff;

  WriteSoftmaxOverlapDiff OfRun(const CellMap<Dtype>& map, int j, Term* room)
      const {
    const WriteSoftmaxOverlapDiff run = {overlap, terms.OfRun(map, j, room),
        scale, diff};
    return run;
  }
  RANDROP_HOST_DEVICE inline const LossInput<Dtype>& Input() const {
    return overlap.input;
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline void At(const LossInput<Dtype>& in,
      const PixelAt& at) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index own = in.template Class<Real>(at.j);
    const SoftmaxPixel<Real> pixel(in, at.first, own);
    const OverlapSlopes<Real> slope = {overlap, terms, at, pixel, own,
        overlap.template Selected<Index>(at.j)};
    const SoftmaxSlopes<Real> slopes(pixel, in.classes, slope);
    const Dtype by_cross = overlap.cross ? scale * slope.ByCross() : 0;
    for (int c = 0, i = at.first; c < in.classes; ++c, i += in.area) {
      Real value = scale * slopes.Diff(pixel, c, slope(c));
      if (overlap.cross) {
        value += by_cross * pixel.CrossEntropyDiff(c);
      }
      StoreAs(Where(own >= 0, value), diff + i);
    }
  }
  RANDROP_HOST_DEVICE inline void operator()(int j) const {
    At<Dtype>(overlap.input, overlap.input.At(j));
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_OVERLAP_HPP_
