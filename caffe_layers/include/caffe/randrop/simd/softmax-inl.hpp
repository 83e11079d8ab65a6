#ifndef CAFFE_RANDROP_SIMD_SOFTMAX_INL_HPP_
#define CAFFE_RANDROP_SIMD_SOFTMAX_INL_HPP_

#include "caffe/randrop/losses/exp_log.hpp"
#include "caffe/randrop/losses/focal.hpp"
#include "caffe/randrop/losses/top_k.hpp"
#include "caffe/randrop/simd/class_tiles.hpp"
#include "caffe/randrop/simd/kernels.hpp"
#include "caffe/randrop/simd/loops.hpp"
#include "caffe/randrop/simd/vector.hpp"

// Vectorised softmax top-k, focal and exponential logarithmic loss; included
// like random_drop-inl.hpp.
namespace caffe {
namespace randrop {
namespace {

// --- softmax top-k

RANDROP_FLAT bool SoftmaxCrossEntropyKernel(
    const SoftmaxCrossEntropy<float>& op, int begin, int end, PixelSums* sums) {
  LabelCount count;
  const bool done = OverPixels(op.input, begin, end,
      [&](const LossInput<float>& in, const PixelsAt& at) {
    const Ints own = Classes(in, at.j);
    const Ints valid = own >= 0;
    const SoftmaxPixel<Floats> pixel =
        SoftmaxPixel<Floats>::At(in, at.first, own);
    Store(Where(valid, pixel.CrossEntropy()), op.cross_entropy + at.j);
    Store(valid ? Ints() + static_cast<int>(Role::LEFT_OUT) :
        Ints() + static_cast<int>(Role::IGNORED), op.selection + at.j);
    count.Add(at.inside & valid, own > static_cast<int>(PixelClass::BAD));
  });
  if (done) {
    count.AddTo(sums);
    if (count.AnyBad()) {
      FindBadClass(op.input, begin, end, sums);
    }
  }
  return done;
}

RANDROP_FLAT bool SumHardestPixelsKernel(
    const SumHardestPixels<float>& op, int begin, int end, PixelSums* sums) {
  LongSum loss;
  LabelCount count;
  const bool done = OverElements(begin, end, [&](int j, Ints inside) {
    const Ints selected =
        inside & (Load(op.selection + j) == static_cast<int>(Role::POSITIVE));
    loss.Add(Where(selected, LoadAs<Floats>(op.cross_entropy + j)));
    count.Add(selected, inside);
  });
  if (done) {
    sums->loss += loss.Total();
    count.AddTo(sums);
  }
  return done;
}

RANDROP_FLAT bool SoftmaxTopKDiffKernel(
    const SoftmaxTopKDiff<float>& op, int begin, int end) {
  return OverPixels(op.input, begin, end,
      [&](const LossInput<float>& in, const PixelsAt& at) {
    const Ints selected =
        Load(op.selection + at.j) == static_cast<int>(Role::POSITIVE);
    if (!Any(selected)) {
      for (int c = 0; c < in.classes; ++c) {
        Store(Floats(), op.diff + at.first + c * in.area);
      }
      return;
    }
    const SoftmaxPixel<Floats> pixel =
        SoftmaxPixel<Floats>::At(in, at.first, Classes(in, at.j));
    for (int c = 0; c < in.classes; ++c) {
      Store(Where(selected, op.scale * pixel.CrossEntropyDiff(c)),
          op.diff + at.first + c * in.area);
    }
  });
}

// --- focal, softmax

/// The value of each lane's class; 0 for a lane without a class.
inline Floats OfClass(const float* values, int classes, Ints own) {
  Floats result = Floats();
  for (int c = 0; c < classes; ++c) {
    result = own == c ? Floats() + values[c] : result;
  }
  return result;
}

RANDROP_FLAT bool SumSoftmaxFocalKernel(
    const SumSoftmaxFocal<float>& op, int begin, int end, PixelSums* sums) {
  LongSum loss;
  LabelCount count;
  const bool done = OverPixels(op.input, begin, end,
      [&](const LossInput<float>& in, const PixelsAt& at) {
    const Ints own = Classes(in, at.j);
    const SoftmaxPixel<Floats> pixel =
        SoftmaxPixel<Floats>::At(in, at.first, own);
    const Ints valid = at.inside & (own >= 0);
    loss.Add(Where(valid, OfClass(op.alpha, in.classes, own) *
        SoftmaxFocal(pixel, op.gamma)));
    count.Add(valid, own > static_cast<int>(PixelClass::BAD));
  });
  if (done) {
    sums->loss += loss.Total();
    count.AddTo(sums);
    if (count.AnyBad()) {
      FindBadClass(op.input, begin, end, sums);
    }
  }
  return done;
}

RANDROP_FLAT bool WriteSoftmaxFocalDiffKernel(
    const WriteSoftmaxFocalDiff<float>& op, int begin, int end) {
  return OverPixels(op.input, begin, end,
      [&](const LossInput<float>& in, const PixelsAt& at) {
    const Ints own = Classes(in, at.j);
    const Ints valid = own >= 0;
    const SoftmaxPixel<Floats> pixel =
        SoftmaxPixel<Floats>::At(in, at.first, own);
    const Floats factor = op.scale * OfClass(op.alpha, in.classes, own) *
        SoftmaxFocalFactor(pixel, op.gamma);
    for (int c = 0, i = at.first; c < in.classes; ++c, i += in.area) {
      Store(Where(valid, factor * pixel.CrossEntropyDiff(c)), op.diff + i);
    }
  });
}

// --- exponential logarithmic loss

RANDROP_FLAT bool SumExpLogKernel(
    const SumExpLog<float>& op, int begin, int end, ExpLogSums* sums) {
  const float gamma = op.gamma_cross;
  LabelCount count;
  return OverClasses(op.input, begin, end, sums, &count,
      [&](const LossInput<float>& in, int,
          const SoftmaxPixel<Floats>& pixel, Ints own,
          ClassTile* tile) {
    tile->Add(pixel, in.classes, own, Ints(),
        ExpLogPower(pixel.CrossEntropy(), gamma));
  }, [&](const ClassTile& tile, int c, ExpLogSums* of_class) {
    LongSum overlap, error, cross;
    Ints owned = Ints();
    for (int v = 0; v < tile.vectors(); ++v) {
      const Ints own = tile.Own(v) == c;
      const Floats p = tile.P(c, v);
      overlap.Add(Where(own, p));
      error.Add(Where(tile.Own(v) >= 0, own ? tile.Complement(v) : p));
      cross.Add(Where(own, tile.Extra(v)));
      owned -= own;
    }
    of_class->overlap += overlap.Total();
    of_class->error += error.Total();
    of_class->cross += cross.Total();
    of_class->own += static_cast<int>(SumOf(owned));
  });
}

RANDROP_FLAT bool WriteExpLogDiffKernel(
    const WriteExpLogDiff<float>& op, int begin, int end) {
  const float gamma = op.gamma_cross, cross = op.cross;
  return OverPixels(op.input, begin, end,
      [&](const LossInput<float>& in, const PixelsAt& at) {
    const Ints own = Classes(in, at.j);
    const SoftmaxPixel<Floats> pixel =
        SoftmaxPixel<Floats>::At(in, at.first, own);
    const ExpLogSlopes<Floats> slope = {
        op.terms + at.image * in.classes, own};
    const SoftmaxSlopes<Floats> slopes(pixel, in.classes, slope);
    const Floats factor = cross * OfClass(op.weights, in.classes, own) *
        ExpLogPowerDiff(pixel.CrossEntropy(), gamma);
    for (int c = 0, i = at.first; c < in.classes; ++c, i += in.area) {
      Store(Where(own >= 0, op.scale * (slopes.Diff(pixel, c, slope(c)) +
          factor * pixel.CrossEntropyDiff(c))), op.diff + i);
    }
  });
}

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_SOFTMAX_INL_HPP_
