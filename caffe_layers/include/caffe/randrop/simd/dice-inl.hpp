#ifndef CAFFE_RANDROP_SIMD_DICE_INL_HPP_
#define CAFFE_RANDROP_SIMD_DICE_INL_HPP_

#include <cfloat>

#include "caffe/randrop/losses/dice.hpp"
#include "caffe/randrop/simd/class_tiles.hpp"
#include "caffe/randrop/simd/kernels.hpp"
#include "caffe/randrop/simd/loops.hpp"
#include "caffe/randrop/simd/vector.hpp"

// Vectorised Dice loss; included like random_drop-inl.hpp.
namespace caffe {
namespace randrop {
namespace {

/// The sums of a group, vectorised: DiceSums::AddElement.
class DiceSum {
 public:
  explicit DiceSum(bool squared) : squared_(squared),
      unit_(squared ? 288230376151711744.0f : 1),  // 2^58
      predicted_(Ints()) {}

  inline void Add(Floats p, Floats complement, Ints truth, Ints part) {
    const Floats wrong = (truth ? complement : p) * unit_;
    const Floats own = p * unit_;
    const Floats one = Where(truth, Floats() + unit_ * unit_);
    error_.Add(Where(part, squared_ ? wrong * wrong : wrong));
    size_.Add(Where(part, (squared_ ? own * own : own) + one));
    overlap_.Add(Where(part & truth, p));
    predicted_ |= part & (Ints)p;
  }
  inline void AddTo(DiceSums* sums) const {
    const double units = static_cast<double>(unit_) * unit_;
    const double size = size_.Total();
    // Squares of numbers below 2^-132 still underflow to 0, but a class is
    // empty only if every p is 0.
    const double hardly = squared_ && size == 0 && Any(predicted_ != 0) ?
        DBL_MIN : 0;
    sums->error += error_.Total() / units + hardly;
    sums->size += size / units + hardly;
    sums->overlap += overlap_.Total();
  }

 private:
  bool squared_;
  // Squares are scaled by 2^116 to keep those of a small p above 0.
  float unit_;
  LongSum error_, size_, overlap_;
  Ints predicted_;  // the bits of every p
};

inline Ints Selected(const DiceInput<float>& dice, int j) {
  return dice.selection ? Load(dice.selection + j) :
      Ints() + static_cast<int>(Role::POSITIVE);
}

/// The usual options as constants, for a loop without the other cases.
inline DiceInput<float> Usual(DiceInput<float> dice) {
  dice.squared = true;
  dice.foreground = dice.input.has_ignore_label = false;
  dice.selection = NULL;
  return dice;
}
inline bool IsUsual(const DiceInput<float>& dice) {
  return dice.squared && !dice.input.has_ignore_label && !dice.selection;
}

inline bool SumSigmoidDiceOf(const SumSigmoidDice<float>& op, int begin,
    int end, DiceSums* sums) {
  const DiceInput<float>& dice = op.dice;
  const LossInput<float>& in = dice.input;
  DiceSum sum(dice.squared);
  LabelCount count;
  const bool done = OverElements(begin, end, [&](int i, Ints inside) {
    const LabelMasks label(in.label + i, in.has_ignore_label, in.ignore_label);
    const SigmoidPixel<Floats> pixel =
        SigmoidPixel<Floats>::Shown(LoadAs<Floats>(in.logits + i));
    sum.Add(pixel.P(), pixel.Complement(), label.positive,
        inside & label.Valid() &
        dice.IsPart(Selected(dice, i), label.positive));
    count.Add(inside & label.Valid(), label.Valid() | label.ignored);
  });
  if (done) {
    sum.AddTo(sums);
    sums->members += count.TakingPart();
    if (count.AnyBad()) {
      FindBadBinary(in.label, in.has_ignore_label, in.ignore_label, begin, end,
          sums);
    }
  }
  return done;
}

RANDROP_FLAT bool SumSigmoidDiceKernel(
    const SumSigmoidDice<float>& op, int begin, int end, DiceSums* sums) {
  if (!IsUsual(op.dice)) {
    return SumSigmoidDiceOf(op, begin, end, sums);
  }
  const SumSigmoidDice<float> usual = {Usual(op.dice)};
  return SumSigmoidDiceOf(usual, begin, end, sums);
}

RANDROP_FLAT bool SumSoftmaxDiceKernel(
    const SumSoftmaxDice<float>& op, int begin, int end, DiceSums* sums) {
  const DiceInput<float>& dice = op.dice;
  LabelCount count;
  const bool done = OverClasses(dice.input, begin, end, sums, &count,
      [&](const LossInput<float>& in, int j,
          const SoftmaxPixel<Floats>& pixel, Ints own,
          ClassTile* tile) {
    tile->Add(pixel, in.classes, own, Selected(dice, j), Floats());
  }, [&](const ClassTile& tile, int c, DiceSums* of_class) {
    DiceSum sum(dice.squared);
    for (int v = 0; v < tile.vectors(); ++v) {
      const Ints truth = tile.Own(v) == c;
      sum.Add(tile.P(c, v), tile.Complement(v), truth,
          (tile.Own(v) >= 0) & dice.IsPart(tile.Selected(v), truth));
    }
    sum.AddTo(of_class);
  });
  for (int c = 0; done && c < dice.input.classes; ++c) {
    sums[c].members += count.TakingPart();
  }
  return done;
}

inline bool WriteSigmoidDiceDiffOf(const WriteSigmoidDiceDiff<float>& op,
    int begin, int end) {
  const DiceInput<float>& dice = op.dice;
  const LossInput<float>& in = dice.input;
  return OverAreas(in.area, begin, end, [&](int group, int i, Ints) {
    const LabelMasks label(in.label + i, in.has_ignore_label, in.ignore_label);
    const SigmoidPixel<Floats> pixel(LoadAs<Floats>(in.logits + i));
    const Ints part = label.Valid() &
        dice.IsPart(Selected(dice, i), label.positive);
    Store(Where(part, op.scale *
        op.terms[group].Slope(pixel.P(), pixel.Complement(), label.positive) *
        pixel.P() * pixel.Complement()), op.diff + i);
  });
}

RANDROP_FLAT bool WriteSigmoidDiceDiffKernel(
    const WriteSigmoidDiceDiff<float>& op, int begin, int end) {
  if (!IsUsual(op.dice)) {
    return WriteSigmoidDiceDiffOf(op, begin, end);
  }
  const WriteSigmoidDiceDiff<float> usual = {Usual(op.dice), op.terms, op.scale,
      op.diff};
  return WriteSigmoidDiceDiffOf(usual, begin, end);
}

RANDROP_FLAT bool WriteSoftmaxDiceDiffKernel(
    const WriteSoftmaxDiceDiff<float>& op, int begin, int end) {
  const DiceInput<float>& dice = op.dice;
  return OverPixels(dice.input, begin, end,
      [&](const LossInput<float>& in, const PixelsAt& at) {
    const Ints own = Classes(in, at.j);
    const SoftmaxPixel<Floats> pixel =
        SoftmaxPixel<Floats>::At(in, at.first, own);
    const DiceSlopes<Floats> slope = {dice, op.terms + at.image * in.classes,
        pixel, own, Selected(dice, at.j)};
    const SoftmaxSlopes<Floats> slopes(pixel, in.classes, slope);
    for (int c = 0, i = at.first; c < in.classes; ++c, i += in.area) {
      Store(Where(own >= 0, op.scale * slopes.Diff(pixel, c, slope(c))),
          op.diff + i);
    }
  });
}

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_DICE_INL_HPP_
