#ifndef CAFFE_RANDROP_LOSSES_DICE_HPP_
#define CAFFE_RANDROP_LOSSES_DICE_HPP_

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/sigmoid.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {
namespace randrop {

/**
 * @brief The sums for Dice, D = (2 overlap + s) / (size + s), and for
 *        1 - D = error / (size + s): no cancellation at either end.
 */
struct DiceSums {
  double error;    // sum (p - y)^2; without squares sum |p - y|
  double size;     // sum p^2 + y^2; without squares sum p + y
  double overlap;  // sum p y
  int members;     // elements that are not ignored
  int bad_label;   // index of the first invalid label; -1: none

  RANDROP_HOST_DEVICE inline void Clear() {
    error = size = overlap = 0;
    members = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const DiceSums& other) {
    error += other.error;
    size += other.size;
    overlap += other.overlap;
    members += other.members;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  /// Adds an element with class probability p and complement 1 - p.
  RANDROP_HOST_DEVICE inline void AddElement(double p, double complement,
      bool truth, bool squared) {
    const double wrong = truth ? complement : p;
    error += squared ? wrong * wrong : wrong;
    size += (squared ? p * p : p) + truth;
    overlap += truth ? p : 0;
  }
};

/// @brief A group's (one class of an image or of the batch) contribution to the
///        loss, and its slopes with respect to p, for its own pixels and for
///        others: a constant plus, for squared sums, a multiple of the error,
///        1 - p or p. This avoids cancellation where the prediction is right.
template <typename Number>
struct DiceTerm {
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
struct DiceInput {
  LossInput<Dtype> input;
  bool squared;
  /// Unselected elements of a class still count for the other classes.
  bool foreground;
  const unsigned char* selection;  // of labels; NULL: all take part

  /// Whether an element takes part, given its pixel's selection.
  template <typename Index>
  RANDROP_HOST_DEVICE inline Index IsPart(Index selected, Index truth) const {
    const Index part = selected == static_cast<int>(Role::SELECTED);
    return !foreground ? part :
        part | ((selected == static_cast<int>(Role::LEFT_OUT)) & ~truth);
  }
  RANDROP_HOST_DEVICE inline int Selected(int j) const {
    return selection ? selection[j] : static_cast<int>(Role::SELECTED);
  }
};

/// @brief Adds element i of a sigmoid to its group's sums.
template <typename Dtype>
struct SumSigmoidDice {
  DiceInput<Dtype> dice;

  RANDROP_HOST_DEVICE inline void operator()(int i, DiceSums* sums) const {
    const int own = LabelClass(dice.input.label[i],
        dice.input.has_ignore_label, dice.input.ignore_label);
    const int truth = own == Role::POSITIVE;
    if (own != Role::POSITIVE && own != Role::NEGATIVE) {
      sums->bad_label = own == Role::IGNORED ? sums->bad_label :
          FirstIndex(sums->bad_label, i);
      return;
    }
    ++sums->members;
    if (dice.IsPart(dice.Selected(i), truth)) {
      const SigmoidPixel<Dtype> pixel =
          SigmoidPixel<Dtype>::Shown(dice.input.logits[i]);
      sums->AddElement(pixel.P(), pixel.Complement(), truth, dice.squared);
    }
  }
};

/// @brief Adds pixel j of a softmax to the sums of its classes: those from
///        `first` on, at most `most` of them.
template <typename Dtype>
struct SumSoftmaxDice {
  DiceInput<Dtype> dice;

  template <int most>
  RANDROP_HOST_DEVICE inline void AddClasses(int j, int first, DiceSums* sums)
      const {
    const int own = dice.input.Class(j);
    if (own == PixelClass::BAD) {
      sums[0].bad_label = FirstIndex(sums[0].bad_label, j);
    }
    if (own < 0) {
      return;
    }
    const SoftmaxPixel<Dtype> pixel(dice.input, j, own);
    for (int k = 0; k < most; ++k) {
      const int c = first + k;
      const int truth = c == own;
      ++sums[k].members;
      if (c < dice.input.classes && dice.IsPart(dice.Selected(j), truth)) {
        sums[k].AddElement(pixel.Probability(c), pixel.Complement(), truth,
            dice.squared);
      }
    }
  }
};

/// @brief The groups of an overlap loss, one class of one image each; with
///        batch, each image uses the class's sums over all images.
template <typename Sums>
struct ClassGroups {
  const Sums* sums;
  int images, classes;
  bool batch;
  int first_class;  // first class in the mean

  RANDROP_HOST_DEVICE inline Sums Whole(int group) const {
    if (!batch) {
      return sums[group];
    }
    Sums whole;
    whole.Clear();
    for (int n = 0; n < images; ++n) {
      whole.Add(sums[n * classes + group % classes]);
    }
    return whole;
  }
  /// Whether a group with these sums is in the mean: a group whose pixels are
  /// all ignored is not.
  RANDROP_HOST_DEVICE inline bool Counts(int group, const Sums& whole) const {
    return group % classes >= first_class && whole.members > 0;
  }
  /// Whether another group with the same sums adds the loss.
  RANDROP_HOST_DEVICE inline bool IsRepeated(int group) const {
    return batch && group >= classes;
  }
};

/// @brief Counts the groups in the mean.
template <typename Sums>
struct CountClassGroups {
  ClassGroups<Sums> groups;

  RANDROP_HOST_DEVICE inline void operator()(
      int group, GroupTally* tally) const {
    tally->groups += !groups.IsRepeated(group) &&
        groups.Counts(group, groups.Whole(group));
  }
};

/// @brief Writes the term of a group.
template <typename Dtype>
struct WriteDiceTerm {
  ClassGroups<DiceSums> groups;
  const GroupTally* tally;
  double smooth;
  bool squared;
  DiceTerm<Dtype>* terms;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    DiceTerm<Dtype> term = {0, 0, 0, 0};
    const DiceSums whole = groups.Whole(group);
    const double size = whole.size + smooth;
    // Neither present nor predicted, no smoothing: no loss. NaN passes through.
    if (groups.Counts(group, whole) && !(size == 0)) {
      const double share = 1. / tally->groups;
      const double error = whole.error / size;
      term.loss = groups.IsRepeated(group) ? 0 : share * error;
      const double by_error = share / size, by_size = -share * error / size;
      // Their sum, without cancellation as D approaches 0.
      const double by_both =
          share * (2 * whole.overlap + smooth) / size / size;
      term.own = squared ? 2 * by_size : by_size - by_error;
      term.others = squared ? 0 : by_both;
      term.by_wrong = squared ? 2 * by_both : 0;
    }
    terms[group] = term;
  }
};

/// @brief The total of a loss over groups.
struct GroupedLoss {
  double loss;
  int bad_label;  // as in DiceSums

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
template <typename Sums, typename Term>
struct SumGroupTerms {
  const Sums* sums;
  const Term* terms;

  RANDROP_HOST_DEVICE inline void operator()(
      int group, GroupedLoss* total) const {
    total->loss += terms[group].loss;
    total->bad_label = FirstIndex(total->bad_label, sums[group].bad_label);
  }
};

/// @brief Writes the gradient with respect to sigmoid logit i.
template <typename Dtype>
struct WriteSigmoidDiceDiff {
  DiceInput<Dtype> dice;
  const DiceTerm<Dtype>* terms;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline void operator()(int i) const {
    const int own = LabelClass(dice.input.label[i],
        dice.input.has_ignore_label, dice.input.ignore_label);
    const int truth = own == Role::POSITIVE;
    diff[i] = 0;
    if ((truth || own == Role::NEGATIVE) &&
        dice.IsPart(dice.Selected(i), truth)) {
      const SigmoidPixel<Dtype> pixel(dice.input.logits[i]);
      diff[i] = scale * terms[i / dice.input.area].Slope(pixel.P(),
          pixel.Complement(), truth) * pixel.P() * pixel.Complement();
    }
  }
};

/// @brief The slopes of the classes of a softmax pixel.
template <typename Real>
struct DiceSlopes {
  typedef typename ScalarOf<Real>::Type Number;
  typedef typename IndexOf<Real>::Type Index;
  const DiceInput<Number>& dice;
  const DiceTerm<Number>* terms;  // of the pixel's image
  const SoftmaxPixel<Real>& pixel;
  Index own, selected;

  RANDROP_HOST_DEVICE inline Real operator()(int c) const {
    const Index truth = own == c;
    return dice.IsPart(selected, truth) ?
        terms[c].Slope(pixel.Probability(c), pixel.Complement(), truth) :
        Real();
  }
};

/// @brief Writes the gradient with respect to the softmax logits of pixel j.
template <typename Dtype>
struct WriteSoftmaxDiceDiff {
  DiceInput<Dtype> dice;
  const DiceTerm<Dtype>* terms;
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline void operator()(int j) const {
    const LossInput<Dtype>& in = dice.input;
    const int own = in.Class(j);
    if (own < 0) {
      ClearPixel(in, j, diff);
      return;
    }
    const SoftmaxPixel<Dtype> pixel(in, j, own);
    const DiceSlopes<Dtype> slope = {dice, terms + j / in.area * in.classes,
        pixel, own, dice.Selected(j)};
    const SoftmaxSlopes<Dtype> slopes(pixel, in.classes, slope);
    for (int c = 0, i = in.Offset(j); c < in.classes; ++c, i += in.area) {
      diff[i] = scale * slopes.Diff(pixel, c, slope(c));
    }
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_DICE_HPP_
