#ifndef CAFFE_UTIL_LOSS_KERNELS_IMPL_HPP_
#define CAFFE_UTIL_LOSS_KERNELS_IMPL_HPP_

#include "caffe/util/dice.hpp"
#include "caffe/util/exp_log.hpp"
#include "caffe/util/focal.hpp"
#include "caffe/util/pixel_kernels.hpp"
#include "caffe/util/softmax_top_k.hpp"
#include "caffe/util/top_k_ce.hpp"
#include "caffe/util/vector.hpp"

// The operations of the losses on vectors; as pixel_kernels_impl.hpp.
namespace caffe {
namespace {

/// Calls body(first, inside) for vectors of elements begin to end - 1, none of
/// them across a multiple of area. The last of an area may begin before the
/// end of that before it: `inside` tells its new elements; what it writes of
/// the others they have already.
template <typename Body>
inline bool OverAreas(int area, int begin, int end, const Body& body) {
  if (area < CAFFE_LANES) {
    return false;
  }
  const Ints all = Ints() - 1;
  while (begin < end) {
    const int start = begin / area * area;
    const int last = end - start < area ? end : start + area;
    int i = begin;
    for (; i + CAFFE_LANES <= last; i += CAFFE_LANES) {
      body(i, all);
    }
    if (i < last) {
      const int first =
          last - CAFFE_LANES < start ? start : last - CAFFE_LANES;
      const Ints index = Numbers() + first;
      body(first, (index >= i) & (index < last));
    }
    begin = last;
  }
  return true;
}

/// The same for elements that any neighbours may be beside.
template <typename Body>
inline bool OverElements(int begin, int end, const Body& body) {
  if (end < CAFFE_LANES) {
    return false;
  }
  const Ints all = Ints() - 1;
  int i = begin;
  for (; i + CAFFE_LANES <= end; i += CAFFE_LANES) {
    body(i, all);
  }
  if (i < end) {
    body(end - CAFFE_LANES, Numbers() + (end - CAFFE_LANES) >= i);
  }
  return true;
}

/// A sum in floats that do not get far from what is added to them.
class LongSum {
 public:
  LongSum() : part_(Floats()), added_(0), total_(0) {}
  inline void Add(Floats values) {
    part_ += values;
    if (++added_ == 64) {
      total_ += SumOf(part_);
      part_ = Floats();
      added_ = 0;
    }
  }
  inline double Total() const { return total_ + SumOf(part_); }

 private:
  Floats part_;
  int added_;
  double total_;
};

inline Floats Where(Ints mask, Floats values) {
  return mask ? values : Floats();
}

/// Binary labels.
struct LabelMasks {
  Ints positive, negative, ignored;

  inline LabelMasks(const float* label, bool has_ignore_label,
      int ignore_label) {
    const Floats values = LoadAs<Floats>(label);
    ignored = has_ignore_label ?
        values == static_cast<float>(ignore_label) : Ints();
    positive = ~ignored & (values == 1);
    negative = ~ignored & (values == 0);
  }
  inline Ints Valid() const { return positive | negative; }
};

/// What PixelSums knows of the labels.
struct LabelCount {
  Ints taking_part, bad;

  LabelCount() : taking_part(Ints()), bad(Ints()) {}
  inline void Add(Ints valid, Ints allowed) {
    taking_part -= valid;
    bad |= ~allowed;
  }
  inline void AddTo(PixelSums* sums) const {
    sums->taking_part += static_cast<int>(SumOf(taking_part));
  }
  inline bool AnyBad() const { return SumOf(bad) != 0; }
};

inline void FindBadBinary(const float* label, bool has_ignore_label,
    int ignore_label, int begin, int end, PixelSums* sums) {
  for (int i = begin; i < end && sums->bad_label < 0; ++i) {
    const float value = label[i];
    if (!(value == 0 || value == 1 ||
        (has_ignore_label && value == ignore_label))) {
      sums->bad_label = i;
    }
  }
}

/// Classes of softmax labels: IGNORED_PIXEL and BAD_LABEL as for one.
inline Ints Classes(const SoftmaxInput<float>& input, int j) {
  const Floats values = LoadAs<Floats>(input.label + j);
  const Ints in_range = (values >= 0) &
      (values < static_cast<float>(input.classes));
  const Ints whole = __builtin_convertvector(
      in_range ? values : Floats(), Ints);
  const Ints good =
      in_range & (__builtin_convertvector(whole, Floats) == values);
  const Ints own = good ? whole : Ints() + static_cast<int>(BAD_LABEL);
  if (!input.has_ignore_label) {
    return own;
  }
  return values == static_cast<float>(input.ignore_label) ?
      Ints() + static_cast<int>(IGNORED_PIXEL) : own;
}

inline void FindBadClass(const SoftmaxInput<float>& input, int begin, int end,
    PixelSums* sums) {
  for (int j = begin; j < end && sums->bad_label < 0; ++j) {
    const float value = input.label[j];
    if (!(input.has_ignore_label && value == input.ignore_label) &&
        !(value >= 0 && value < input.classes &&
        static_cast<int>(value) == value)) {
      sums->bad_label = j;
    }
  }
}

/// Whether any lane is.
inline bool Any(Ints mask) {
  Ints both = mask;
  for (int half = CAFFE_LANES / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) {
      both[lane] |= both[lane + half];
    }
  }
  return both[0] != 0;
}

// --- top-k, sigmoid

inline bool ClassifyLabelsKernel(const ClassifyLabels<float>& op, int begin,
    int end, CandidateSums* sums) {
  Ints positives = Ints(), negatives = Ints();
  Ints from_bin[kHardnessBins - 1] = {Ints()};
  const bool done = OverElements(begin, end, [&](int i, Ints inside) {
    const LabelMasks label(op.label + i, op.has_ignore_label, op.ignore_label);
    // A label that is not allowed is stored as -1, one byte.
    const Ints selection =
        (label.positive & static_cast<int>(POSITIVE)) |
        (label.negative & static_cast<int>(NEGATIVE)) |
        (label.ignored & static_cast<int>(IGNORED)) |
        (~(label.Valid() | label.ignored) & 255);
    Store(selection, op.selection + i);
    const Ints negative = inside & label.negative;
    positives -= inside & label.positive;
    negatives -= negative;
    const Floats x = LoadAs<Floats>(op.logits + i);
    for (int b = 0; b < kHardnessBins - 1; ++b) {
      from_bin[b] -= negative & ~(x < HardnessBound(b));
    }
  });
  if (done) {
    sums->positives += static_cast<int>(SumOf(positives));
    int above = static_cast<int>(SumOf(negatives));
    sums->negatives += above;
    for (int b = 0; b < kHardnessBins - 1; ++b) {
      const int from_next = static_cast<int>(SumOf(from_bin[b]));
      sums->bins[b] += above - from_next;
      above = from_next;
    }
    sums->bins[kHardnessBins - 1] += above;
  }
  return done;
}

inline bool SumSelectedKernel(const SumSelected<float>& op, int begin, int end,
    GroupSums* sums) {
  LongSum positive_loss, negative_loss;
  Ints positives = Ints(), negatives = Ints(), ignored = Ints();
  const bool done = OverElements(begin, end, [&](int i, Ints inside) {
    const Ints selection = Load(op.selection + i);
    const Ints bad = inside & (selection == 255);
    if (Any(bad)) {
      for (int lane = CAFFE_LANES - 1; lane >= 0; --lane) {
        if (bad[lane]) {
          sums->bad_label = FirstIndex(sums->bad_label, i + lane);
          op.selection[i + lane] = IGNORED;
        }
      }
    }
    const Ints positive = inside & (selection == static_cast<int>(POSITIVE));
    const Ints negative = inside & (selection == static_cast<int>(NEGATIVE));
    ignored -= inside & (selection == static_cast<int>(IGNORED));
    if (Any(positive | negative)) {
      const SigmoidPixel<Floats> pixel(LoadAs<Floats>(op.logits + i));
      positive_loss.Add(Where(positive, pixel.PositiveLoss()));
      negative_loss.Add(Where(negative, pixel.NegativeLoss()));
      positives -= positive;
      negatives -= negative;
    }
  });
  if (done) {
    sums->positive_loss += positive_loss.Total();
    sums->negative_loss += negative_loss.Total();
    sums->positives += static_cast<int>(SumOf(positives));
    sums->negatives += static_cast<int>(SumOf(negatives));
    sums->ignored += static_cast<int>(SumOf(ignored));
  }
  return done;
}

// --- focal, sigmoid

inline bool SumSigmoidFocalKernel(const SumSigmoidFocal<float>& op, int begin,
    int end, PixelSums* sums) {
  const SigmoidFocalInput<float>& in = op.input;
  LongSum loss;
  LabelCount count;
  const bool done = OverAreas(in.group_size, begin, end,
      [&](int i, Ints inside) {
    const LabelMasks label(in.label + i, in.has_ignore_label, in.ignore_label);
    const float alpha = in.alpha[i / in.group_size];
    const Floats x = LoadAs<Floats>(in.logits + i);
    const SigmoidPixel<Floats> z(label.positive ? -x : x);
    const Floats weight = label.positive ? Floats() + alpha :
        Floats() + (1 - alpha);
    const Ints valid = inside & label.Valid();
    loss.Add(Where(valid, weight * SigmoidFocal(z, in.gamma)));
    count.Add(valid, label.Valid() | label.ignored);
  });
  if (done) {
    sums->loss += loss.Total();
    count.AddTo(sums);
    if (count.AnyBad()) {
      FindBadBinary(in.label, in.has_ignore_label, in.ignore_label, begin, end,
          sums);
    }
  }
  return done;
}

inline bool WriteSigmoidFocalDiffKernel(const WriteSigmoidFocalDiff<float>& op,
    int begin, int end) {
  const SigmoidFocalInput<float>& in = op.input;
  return OverAreas(in.group_size, begin, end, [&](int i, Ints) {
    const LabelMasks label(in.label + i, in.has_ignore_label, in.ignore_label);
    const float alpha = in.alpha[i / in.group_size];
    const Floats x = LoadAs<Floats>(in.logits + i);
    const SigmoidPixel<Floats> z(label.positive ? -x : x);
    const Floats weight = label.positive ? Floats() - op.scale * alpha :
        Floats() + op.scale * (1 - alpha);
    Store(Where(label.Valid(), weight * SigmoidFocalDiff(z, in.gamma)),
        op.diff + i);
  });
}

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

// --- softmax top-k

inline bool SoftmaxCrossEntropyKernel(const SoftmaxCrossEntropy<float>& op,
    int begin, int end, PixelSums* sums) {
  const SoftmaxInput<float>& in = op.input;
  LabelCount count;
  const bool done = OverAreas(in.area, begin, end, [&](int j, Ints inside) {
    const Ints own = Classes(in, j);
    const Ints valid = own >= 0;
    Store(Where(valid, SoftmaxPixel<Floats>(in, j, own).CrossEntropy()),
        op.cross_entropy + j);
    Store(valid ? Ints() + static_cast<int>(LEFT_OUT) :
        Ints() + static_cast<int>(IGNORED), op.selection + j);
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

inline bool SoftmaxTopKDiffKernel(const SoftmaxTopKDiff<float>& op, int begin,
    int end) {
  const SoftmaxInput<float>& in = op.input;
  return OverAreas(in.area, begin, end, [&](int j, Ints) {
    const Ints selected =
        Load(op.selection + j) == static_cast<int>(POSITIVE);
    const int first = in.Offset(j);
    if (!Any(selected)) {
      for (int c = 0; c < in.classes; ++c) {
        Store(Floats(), op.diff + first + c * in.area);
      }
      return;
    }
    const SoftmaxPixel<Floats> pixel(in, j, Classes(in, j));
    for (int c = 0; c < in.classes; ++c) {
      Store(Where(selected, op.scale * pixel.CrossEntropyDiff(c)),
          op.diff + first + c * in.area);
    }
  });
}

// --- focal, softmax

/// A number of each lane's class; 0 where that is none.
inline Floats OfClass(const float* values, int classes, Ints own) {
  Floats result = Floats();
  for (int c = 0; c < classes; ++c) {
    result = own == c ? Floats() + values[c] : result;
  }
  return result;
}

inline bool SumSoftmaxFocalKernel(const SumSoftmaxFocal<float>& op, int begin,
    int end, PixelSums* sums) {
  const SoftmaxInput<float>& in = op.input;
  LongSum loss;
  LabelCount count;
  const bool done = OverAreas(in.area, begin, end, [&](int j, Ints inside) {
    const Ints own = Classes(in, j);
    const SoftmaxPixel<Floats> pixel(in, j, own);
    const Ints valid = inside & (own >= 0);
    loss.Add(Where(valid, OfClass(op.alpha, in.classes, own) *
        SoftmaxFocal(pixel, op.gamma)));
    count.Add(valid, own > static_cast<int>(BAD_LABEL));
  });
  if (done) {
    sums->loss += loss.Total();
    count.AddTo(sums);
    if (count.AnyBad()) {
      FindBadClass(in, begin, end, sums);
    }
  }
  return done;
}

inline bool WriteSoftmaxFocalDiffKernel(const WriteSoftmaxFocalDiff<float>& op,
    int begin, int end) {
  const SoftmaxInput<float>& in = op.input;
  return OverAreas(in.area, begin, end, [&](int j, Ints) {
    const Ints own = Classes(in, j);
    const Ints valid = own >= 0;
    const SoftmaxPixel<Floats> pixel(in, j, own);
    const Floats factor = op.scale * OfClass(op.alpha, in.classes, own) *
        SoftmaxFocalFactor(pixel, op.gamma);
    for (int c = 0, i = in.Offset(j); c < in.classes; ++c, i += in.area) {
      Store(Where(valid, factor * pixel.CrossEntropyDiff(c)), op.diff + i);
    }
  });
}

// --- exponential logarithmic loss

inline bool SumExpLogKernel(const SumExpLog<float>& op, int begin, int end,
    ExpLogSums* sums) {
  const SoftmaxInput<float>& in = op.input;
  LongSum overlap, error;
  Ints owned = Ints();
  const bool done = OverAreas(in.area, begin, end, [&](int i, Ints inside) {
    const int j = i / (in.classes * in.area) * in.area + i % in.area;
    const int c = i / in.area % in.classes;
    const Ints valid = inside &
        (Load(op.selection + j) != static_cast<int>(IGNORED));
    const Ints own = valid &
        (LoadAs<Floats>(in.label + j) == static_cast<float>(c));
    const Floats p = LoadAs<Floats>(op.probability + i);
    Floats wrong = p;
    if (Any(own)) {
      // 1 - p, exactly where p is all but 1
      Floats others = Floats();
      for (int k = 0, at = in.Offset(j); k < in.classes; ++k, at += in.area) {
        others += k == c ? Floats() : LoadAs<Floats>(op.probability + at);
      }
      wrong = own ? others : p;
      overlap.Add(Where(own, p));
      owned -= own;
    }
    error.Add(Where(valid, wrong));
  });
  if (done) {
    sums->overlap += overlap.Total();
    sums->error += error.Total();
    sums->own += static_cast<int>(SumOf(owned));
  }
  return done;
}

/// The weights of the classes in floats.
inline Floats WeightOf(const double* weights, int classes, Ints own) {
  Floats result = Floats();
  for (int c = 0; c < classes; ++c) {
    result = own == c ? Floats() + static_cast<float>(weights[c]) : result;
  }
  return result;
}

inline bool SumExpLogCrossKernel(const SumExpLogCross<float>& op, int begin,
    int end, PixelSums* sums) {
  LongSum loss;
  LabelCount count;
  const float gamma = op.gamma;
  const bool done = OverElements(begin, end, [&](int j, Ints inside) {
    const Ints own = Classes(op.input, j);
    const Ints valid = inside & (own >= 0);
    const Floats ce = LoadAs<Floats>(op.cross_entropy + j);
    loss.Add(Where(valid, WeightOf(op.weights, op.input.classes, own) *
        ExpLogPower(ce, gamma)));
    count.Add(valid, Ints() - 1);
  });
  if (done) {
    sums->loss += loss.Total();
    count.AddTo(sums);
  }
  return done;
}

inline bool WriteExpLogDiffKernel(const WriteExpLogDiff<float>& op, int begin,
    int end) {
  const SoftmaxInput<float>& in = op.input;
  const float gamma = op.gamma_cross;
  const float cross = op.scale * op.cross;
  return OverAreas(in.area, begin, end, [&](int j, Ints) {
    const Ints own = Classes(in, j);
    const Ints valid = own >= 0;
    const ExpLogTerm* terms = op.terms + j / in.area * in.classes;
    WriteSoftmaxDiffVector(in, j, op.probability, [&](int c, Floats) {
      return own == c ? Floats() + static_cast<float>(terms[c].by_own) :
          Floats() + static_cast<float>(terms[c].by_others);
    }, op.scale, valid, op.diff);
    const SoftmaxPixel<Floats> pixel(in, j, own);
    const Floats factor = cross * WeightOf(op.weights, in.classes, own) *
        ExpLogPowerDiff(pixel.CrossEntropy(), gamma);
    for (int c = 0, i = in.Offset(j); c < in.classes; ++c, i += in.area) {
      Store(LoadAs<Floats>(op.diff + i) +
          Where(valid, factor * pixel.CrossEntropyDiff(c)), op.diff + i);
    }
  });
}

}  // namespace
}  // namespace caffe

#endif  // CAFFE_UTIL_LOSS_KERNELS_IMPL_HPP_
