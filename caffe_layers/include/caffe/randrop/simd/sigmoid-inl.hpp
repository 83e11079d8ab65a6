#ifndef CAFFE_RANDROP_SIMD_SIGMOID_INL_HPP_
#define CAFFE_RANDROP_SIMD_SIGMOID_INL_HPP_

#include "caffe/randrop/losses/cross_entropy.hpp"
#include "caffe/randrop/losses/focal.hpp"
#include "caffe/randrop/losses/top_k.hpp"
#include "caffe/randrop/simd/kernels.hpp"
#include "caffe/randrop/simd/loops.hpp"
#include "caffe/randrop/simd/vector.hpp"

// Vectorised sigmoid top-k and focal loss; included like random_drop-inl.hpp.
namespace caffe {
namespace randrop {
namespace {

// --- top-k, sigmoid

RANDROP_FLAT bool ClassifyLabelsKernel(
    const ClassifyLabels<float>& op, int begin, int end, CandidateSums* sums) {
  Ints positives = Ints(), negatives = Ints();
  Ints from_bin[kHardnessBins - 1] = {Ints()};
  const bool done = OverElements(begin, end, [&](int i, Ints inside) {
    const LabelMasks label(op.label + i, op.has_ignore_label, op.ignore_label);
    // An invalid label is stored as -1 in one byte.
    const Ints selection =
        (label.positive & static_cast<int>(Role::POSITIVE)) |
        (label.negative & static_cast<int>(Role::NEGATIVE)) |
        (label.ignored & static_cast<int>(Role::IGNORED)) |
        (~(label.Valid() | label.ignored) & 255);
    Store(selection, op.selection + i);
    const Ints negative = inside & label.negative;
    positives -= inside & label.positive;
    negatives -= negative;
    if (op.logits) {
      const Floats x = LoadAs<Floats>(op.logits + i);
      for (int b = 0; b < kHardnessBins - 1; ++b) {
        from_bin[b] -= negative & ~(x < HardnessBound(b));
      }
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

RANDROP_FLAT bool KeepBinsKernel(
    const KeepBins<float>& op, int begin, int end) {
  return OverAreas(op.group_size, begin, end, [&](int group, int i, Ints) {
    const int lowest = op.lowest[group];
    if (lowest == 0) {
      return;
    }
    // Beyond the last bin no negative is kept.
    const Ints below = lowest == kHardnessBins ? Ints() - 1 :
        LoadAs<Floats>(op.logits + i) < HardnessBound(lowest - 1);
    const Ints selection = Load(op.selection + i);
    const Ints dropped =
        (selection == static_cast<int>(Role::NEGATIVE)) & below;
    Store(dropped ? Ints() + static_cast<int>(Role::LEFT_OUT) : selection,
        op.selection + i);
  });
}

RANDROP_FLAT bool SumSelectedKernel(
    const SumSelected<float>& op, int begin, int end, GroupSums* sums) {
  LongSum positive_loss, negative_loss;
  Ints positives = Ints(), negatives = Ints(), ignored = Ints(), bad = Ints();
  const bool done = OverElements(begin, end, [&](int i, Ints inside) {
    const Ints selection = Load(op.selection + i);
    const Ints positive =
        inside & (selection == static_cast<int>(Role::POSITIVE));
    const Ints negative =
        inside & (selection == static_cast<int>(Role::NEGATIVE));
    const Ints left_out =
        inside & (selection == static_cast<int>(Role::LEFT_OUT));
    const SigmoidPixel<Floats> pixel =
        SigmoidPixel<Floats>::Shown(LoadAs<Floats>(op.logits + i));
    positive_loss.Add(Where(positive, pixel.PositiveLoss()));
    negative_loss.Add(Where(negative, pixel.NegativeLoss()) +
        Where(left_out, 0 * pixel.x));
    positives -= positive;
    negatives -= negative;
    ignored -= inside & (selection == static_cast<int>(Role::IGNORED));
    bad |= inside & (selection == 255);
  });
  if (done) {
    sums->positive_loss += positive_loss.Total();
    sums->negative_loss += negative_loss.Total();
    sums->positives += static_cast<int>(SumOf(positives));
    sums->negatives += static_cast<int>(SumOf(negatives));
    sums->ignored += static_cast<int>(SumOf(ignored));
  }
  for (int i = end - 1; done && Any(bad) && i >= begin; --i) {
    if (op.selection[i] == 255) {
      sums->bad_label = i;
      op.selection[i] = Role::IGNORED;
    }
  }
  return done;
}

RANDROP_FLAT bool SigmoidCrossEntropyKernel(
    const SigmoidCrossEntropy<float>& op, int begin, int end, PixelSums* sums) {
  const LossInput<float>& in = op.input;
  LabelCount count;
  const bool done = OverElements(begin, end, [&](int i, Ints inside) {
    const LabelMasks label(in.label + i, in.has_ignore_label, in.ignore_label);
    const Floats x = LoadAs<Floats>(in.logits + i);
    const SigmoidPixel<Floats> pixel =
        SigmoidPixel<Floats>::Shown(label.positive ? -x : x);
    Store(Where(label.Valid(), pixel.NegativeLoss()), op.cross_entropy + i);
    Store(label.Valid() ? Ints() + static_cast<int>(Role::POSITIVE) :
        Ints() + static_cast<int>(Role::IGNORED), op.selection + i);
    count.Add(inside & label.Valid(), inside);
  });
  if (done) {
    count.AddTo(sums);
  }
  return done;
}

// --- focal, sigmoid

RANDROP_FLAT bool SumSigmoidFocalKernel(
    const SumSigmoidFocal<float>& op, int begin, int end, PixelSums* sums) {
  const SigmoidFocalInput<float>& in = op.input;
  LongSum loss;
  LabelCount count;
  const bool done = OverAreas(in.group_size, begin, end,
      [&](int group, int i, Ints inside) {
    const LabelMasks label(in.label + i, in.has_ignore_label, in.ignore_label);
    const Floats x = LoadAs<Floats>(in.logits + i);
    const SigmoidPixel<Floats> z =
        SigmoidPixel<Floats>::Shown(label.positive ? -x : x);
    const float* weights = in.weights + 2 * group;
    const Floats weight = label.positive ? Floats() + weights[0] :
        Floats() + weights[1];
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

RANDROP_FLAT bool WriteSigmoidFocalDiffKernel(
    const WriteSigmoidFocalDiff<float>& op, int begin, int end) {
  const SigmoidFocalInput<float>& in = op.input;
  return OverAreas(in.group_size, begin, end, [&](int group, int i, Ints) {
    const LabelMasks label(in.label + i, in.has_ignore_label, in.ignore_label);
    const Floats x = LoadAs<Floats>(in.logits + i);
    const SigmoidPixel<Floats> z(label.positive ? -x : x);
    const float* weights = in.weights + 2 * group;
    const Floats weight = label.positive ? Floats() - op.scale * weights[0] :
        Floats() + op.scale * weights[1];
    Store(Where(label.Valid(), weight * SigmoidFocalDiff(z, in.gamma)),
        op.diff + i);
  });
}

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_SIGMOID_INL_HPP_
