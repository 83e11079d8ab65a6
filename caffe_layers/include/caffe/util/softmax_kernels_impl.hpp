#ifndef CAFFE_UTIL_SOFTMAX_KERNELS_IMPL_HPP_
#define CAFFE_UTIL_SOFTMAX_KERNELS_IMPL_HPP_

#include "caffe/util/dice_kernels_impl.hpp"
#include "caffe/util/exp_log.hpp"
#include "caffe/util/focal.hpp"
#include "caffe/util/kernel_loops.hpp"
#include "caffe/util/pixel_kernels.hpp"
#include "caffe/util/softmax_top_k.hpp"
#include "caffe/util/vector.hpp"

// Top-k, focal and exponential logarithmic loss of a softmax in vectors; as
// pixel_kernels_impl.hpp.
namespace caffe {
namespace {

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

#endif  // CAFFE_UTIL_SOFTMAX_KERNELS_IMPL_HPP_
