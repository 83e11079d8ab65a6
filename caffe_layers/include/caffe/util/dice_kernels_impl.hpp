#ifndef CAFFE_UTIL_DICE_KERNELS_IMPL_HPP_
#define CAFFE_UTIL_DICE_KERNELS_IMPL_HPP_

#include "caffe/util/dice.hpp"
#include "caffe/util/kernel_loops.hpp"
#include "caffe/util/pixel_kernels.hpp"
#include "caffe/util/vector.hpp"

// Dice loss in vectors; as pixel_kernels_impl.hpp.
namespace caffe {
namespace {

// --- Dice

inline void StoreSelection(Ints valid, unsigned char* selection) {
  Store(valid ? Ints() + static_cast<int>(POSITIVE) :
      Ints() + static_cast<int>(IGNORED), selection);
}

inline bool SigmoidProbabilitiesKernel(const SigmoidProbabilities<float>& op,
    int begin, int end, PixelSums* sums) {
  const SoftmaxInput<float>& in = op.input;
  LabelCount count;
  const bool done = OverElements(begin, end, [&](int i, Ints inside) {
    const LabelMasks label(in.label + i, in.has_ignore_label, in.ignore_label);
    const SigmoidPixel<Floats> pixel(LoadAs<Floats>(in.logits + i));
    Store(Where(label.Valid(), pixel.P()), op.probability + i);
    if (op.cross_entropy) {
      const Floats loss =
          label.positive ? pixel.PositiveLoss() : pixel.NegativeLoss();
      Store(Where(label.Valid(), loss), op.cross_entropy + i);
    }
    StoreSelection(label.Valid(), op.selection + i);
    count.Add(inside & label.Valid(), label.Valid() | label.ignored);
  });
  if (done) {
    count.AddTo(sums);
    if (count.AnyBad()) {
      FindBadBinary(in.label, in.has_ignore_label, in.ignore_label, begin, end,
          sums);
    }
  }
  return done;
}

inline bool SoftmaxProbabilitiesKernel(const SoftmaxProbabilities<float>& op,
    int begin, int end, PixelSums* sums) {
  const SoftmaxInput<float>& in = op.input;
  LabelCount count;
  const bool done = OverAreas(in.area, begin, end, [&](int j, Ints inside) {
    const Ints own = Classes(in, j);
    const Ints valid = own >= 0;
    const SoftmaxPixel<Floats> pixel(in, j, own);
    for (int c = 0, i = in.Offset(j); c < in.classes; ++c, i += in.area) {
      Store(Where(valid, pixel.Probability(c)), op.probability + i);
    }
    if (op.cross_entropy) {
      Store(Where(valid, pixel.CrossEntropy()), op.cross_entropy + j);
    }
    StoreSelection(valid, op.selection + j);
    count.Add(inside & valid, own > static_cast<int>(BAD_LABEL));
  });
  if (done) {
    count.AddTo(sums);
    if (count.AnyBad()) {
      FindBadClass(in, begin, end, sums);
    }
  }
  return done;
}

/// DiceInput::TakesPart
inline Ints TakesPart(const DiceInput<float>& dice, Ints selection,
    Ints truth) {
  const Ints selected = selection == static_cast<int>(POSITIVE);
  return !dice.foreground ? selected : selected |
      ((selection == static_cast<int>(LEFT_OUT)) & ~truth);
}

inline bool SumDiceKernel(const SumDice<float>& op, int begin, int end,
    DiceSums* sums) {
  const DiceInput<float>& dice = op.dice;
  LongSum error, size, overlap;
  // Squares are added up times 2^116, or those of a small p would be 0.
  const float unit = dice.squared ? 288230376151711744.0f : 1;  // 2^58
  const bool done = OverAreas(dice.input.area, begin, end,
      [&](int i, Ints inside) {
    const int j = dice.Label(i);
    const float truly =
        dice.softmax ? i / dice.input.area % dice.input.classes : 1;
    const Ints truth = LoadAs<Floats>(dice.input.label + j) == truly;
    const Ints part =
        inside & TakesPart(dice, Load(dice.selection + j), truth);
    const Floats p = LoadAs<Floats>(dice.probability + i);
    const Floats wrong = (truth ? 1 - p : p) * unit;
    const Floats own = p * unit;
    const Floats one = Where(truth, Floats() + unit * unit);
    error.Add(Where(part, dice.squared ? wrong * wrong : wrong));
    size.Add(Where(part, (dice.squared ? own * own : own) + one));
    overlap.Add(Where(part & truth, p));
  });
  if (done) {
    const double units = static_cast<double>(unit) * unit;
    sums->error += error.Total() / units;
    sums->size += size.Total() / units;
    sums->overlap += overlap.Total();
  }
  return done;
}

/// A class's slopes by p, for its own pixels and for others: constant, or for
/// squared sums constant + by_p * p.
struct LinearSlope {
  float own, others, by_p;

  LinearSlope(const DiceTerm& term, bool squared) {
    if (squared) {
      own = -2 * term.by_error;
      others = 0;
      by_p = 2 * term.by_both;
    } else {
      own = term.by_size - term.by_error;
      others = term.by_both;
      by_p = 0;
    }
  }
  inline Floats At(Floats p, Ints truth) const {
    return (truth ? Floats() + own : Floats() + others) + by_p * p;
  }
};

/// WriteSoftmaxDiff: slope(c, p) of class c.
template <typename Slope>
inline void WriteSoftmaxDiffVector(const SoftmaxInput<float>& in, int j,
    const float* probability, const Slope& slope, float scale, Ints valid,
    float* diff) {
  const int first = in.Offset(j);
  Floats most = LoadAs<Floats>(probability + first);
  Floats origin = slope(0, most);
  for (int c = 1; c < in.classes; ++c) {
    const Floats p = LoadAs<Floats>(probability + first + c * in.area);
    const Ints more = p > most;
    origin = more ? slope(c, p) : origin;
    most = more ? p : most;
  }
  Floats mean = Floats();
  for (int c = 0, i = first; c < in.classes; ++c, i += in.area) {
    const Floats p = LoadAs<Floats>(probability + i);
    mean += p * (slope(c, p) - origin);
  }
  for (int c = 0, i = first; c < in.classes; ++c, i += in.area) {
    const Floats p = LoadAs<Floats>(probability + i);
    Store(Where(valid, scale * (p * (slope(c, p) - origin - mean))), diff + i);
  }
}

inline bool WriteDiceDiffKernel(const WriteDiceDiff<float>& op, int begin,
    int end) {
  const DiceInput<float>& dice = op.dice;
  const SoftmaxInput<float>& in = dice.input;
  if (!dice.softmax) {
    return OverAreas(in.area, begin, end, [&](int i, Ints) {
      const LinearSlope slope(op.terms[i / in.area], dice.squared);
      const Ints truth = LoadAs<Floats>(in.label + i) == 1;
      const SigmoidPixel<Floats> pixel(LoadAs<Floats>(in.logits + i));
      const Ints part = TakesPart(dice, Load(dice.selection + i), truth);
      Store(Where(part, op.scale * slope.At(pixel.P(), truth) * pixel.P() *
          pixel.Complement()), op.diff + i);
    });
  }
  return OverAreas(in.area, begin, end, [&](int j, Ints) {
    const Floats label = LoadAs<Floats>(in.label + j);
    const Ints selection = Load(dice.selection + j);
    const DiceTerm* terms = op.terms + j / in.area * in.classes;
    const Ints valid = selection != static_cast<int>(IGNORED);
    WriteSoftmaxDiffVector(in, j, dice.probability, [&](int c, Floats p) {
      const Ints truth = label == static_cast<float>(c);
      return Where(TakesPart(dice, selection, truth),
          LinearSlope(terms[c], dice.squared).At(p, truth));
    }, op.scale, valid, op.diff);
  });
}

}  // namespace
}  // namespace caffe

#endif  // CAFFE_UTIL_DICE_KERNELS_IMPL_HPP_
