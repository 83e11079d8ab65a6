// The kernels of one instruction set. simd/kernels_<set>.cpp includes this
// after it has chosen the set, and defined RANDROP_LANES, the number of floats
// in a register, RANDROP_SET, the name of the set, and RANDROP_TABLE, that of
// the table: hence no include guard.

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/losses/cross_entropy.hpp"
#include "caffe/randrop/losses/exp_log.hpp"
#include "caffe/randrop/losses/focal.hpp"
#include "caffe/randrop/losses/overlap.hpp"
#include "caffe/randrop/losses/random_drop.hpp"
#include "caffe/randrop/losses/top_k.hpp"
#include "caffe/randrop/losses/visits.hpp"
#include "caffe/randrop/simd/class_tiles.hpp"
#include "caffe/randrop/simd/kernels.hpp"
#include "caffe/randrop/simd/lane_sums.hpp"
#include "caffe/randrop/simd/loops.hpp"
#include "caffe/randrop/simd/random_drop.hpp"
#include "caffe/randrop/simd/vector.hpp"

namespace caffe {
namespace randrop {
namespace {

/// Marks a kernel: everything it calls is inlined, or each call would spill
/// the registers.
#define RANDROP_FLAT __attribute__((flatten))

// Writes what an operation writes. Like the loops, these return false and do
// nothing if the elements do not fill a vector.
template <typename Operation>
inline bool Write(ByElement, const Operation& op, int begin, int end) {
  return OverElements(begin, end, [&](int i, Ints) {
    op.template At<Floats>(i);
  });
}
template <typename Operation>
inline bool Write(ByGroup, const Operation& op, int begin, int end) {
  return OverAreas(op.GroupSize(), begin, end, [&](int group, int i, Ints) {
    op.template At<Floats>(group, i);
  });
}
template <typename Operation>
inline bool Write(ByPixel, const Operation& op, int begin, int end) {
  return OverPixels(op.Input(), begin, end,
      [&](const LossInput<float>& in, const PixelAt& at, Ints) {
    op.template At<Floats>(in, at);
  });
}

// Adds up what an operation returns; false, too, if single precision is too
// short for the sums, which the scalar loop then adds up in double.
template <typename Operation, typename Sums>
inline bool Sum(ByElement, const Operation& op, int begin, int end,
    SettlingSums<Sums>* sum) {
  return OverElements(begin, end, [&](int i, Ints inside) {
    sum->Add(op.template At<Floats>(i), inside);
  });
}
template <typename Operation, typename Sums>
inline bool Sum(ByGroup, const Operation& op, int begin, int end,
    SettlingSums<Sums>* sum) {
  return OverAreas(op.GroupSize(), begin, end,
      [&](int group, int i, Ints inside) {
    sum->Add(op.template At<Floats>(group, i), inside);
  });
}
template <typename Operation, typename Sums>
inline bool Sum(ByPixel, const Operation& op, int begin, int end,
    SettlingSums<Sums>* sum) {
  return OverPixels(op.Input(), begin, end,
      [&](const LossInput<float>& in, const PixelAt& at, Ints inside) {
    sum->Add(op.template At<Floats>(in, at), inside);
  });
}

/// Finds the first invalid label by the scalar body.
template <typename Operation, typename Sums>
inline void FindBadLabel(const Operation& op, int begin, int end, Sums* sums) {
  Sums again;
  again.Clear();
  for (int i = begin; i < end; ++i) {
    op(i, &again);
  }
  sums->bad_label = FirstIndex(sums->bad_label, again.bad_label);
}
template <typename Operation>
inline void FindBadLabel(const Operation&, int, int, CandidateSums*) {}

template <typename Operation, typename Sums>
inline bool SumUp(const Operation& op, int begin, int end, Sums* sums) {
  SettlingSums<Sums> sum;
  if (!Sum(typename Operation::Visits(), op, begin, end, &sum) ||
      !sum.lanes().Fits()) {
    return false;
  }
  sum.lanes().AddTo(sums);
  if (sum.lanes().AnyBad()) {
    FindBadLabel(op, begin, end, sums);
  }
  return true;
}

/// Keys of elements that take part, 0 for others.
template <typename Operation>
inline Words KeysAt(const Operation& op, int i, Ints* taking_part) {
  const Candidate<Floats> candidate = op.template At<Floats>(i);
  *taking_part = candidate.taking_part;
  return KeysOf(candidate.value, candidate.taking_part);
}

// --- the kernels

RANDROP_FLAT bool RandomDropKernel(const RandomDropPass<float>& pass, int begin,
    int end, GroupSums* sums) {
  return RandomDropOf(pass, begin, end, sums);
}

template <typename Operation>
RANDROP_FLAT bool WriteKernel(const Operation& op, int begin, int end) {
  return Write(typename Operation::Visits(), op, begin, end);
}

template <typename Operation, typename Sums>
RANDROP_FLAT bool SumKernel(const Operation& op, int begin, int end,
    Sums* sums) {
  return SumUp(op, begin, end, sums);
}

// Those of sigmoid overlap losses have a copy for the usual options.
RANDROP_FLAT bool SumKernel(const SumSigmoidOverlap<float>& op, int begin,
    int end, OverlapSums* sums) {
  if (!op.overlap.IsUsual()) {
    return SumUp(op, begin, end, sums);
  }
  const SumSigmoidOverlap<float> usual = {op.overlap.Usual()};
  return SumUp(usual, begin, end, sums);
}
RANDROP_FLAT bool WriteKernel(const WriteSigmoidOverlapDiff<float>& op,
    int begin, int end) {
  if (!op.overlap.IsUsual()) {
    return Write(ByGroup(), op, begin, end);
  }
  const WriteSigmoidOverlapDiff<float> usual = {op.overlap.Usual(), op.terms,
      op.scale, op.diff};
  return Write(ByGroup(), usual, begin, end);
}

template <typename Operation, typename Sums>
RANDROP_FLAT bool ClassesKernel(const Operation& op, int begin, int end,
    Sums* sums) {
  return OverClasses(op, begin, end, sums);
}

template <typename Operation>
RANDROP_FLAT int CollectKernel(const Operation& op, int begin, int end,
    const KeyRange<uint32_t>& range, KeyCounts* counts, uint32_t* between) {
  LaneCount above, high, low;
  int aside = 0;
  int i = begin;
  for (; i + RANDROP_LANES <= end; i += RANDROP_LANES) {
    Ints taking_part;
    const Words keys = KeysAt(op, i, &taking_part);
    above.Add(keys > range.high);
    high.Add(keys == range.high);
    low.Add(keys == range.low);
    const Ints inside = (keys > range.low) & (keys < range.high);
    for (unsigned bits = BitsOf(inside); bits; bits &= bits - 1) {
      between[aside++] = keys[__builtin_ctz(bits)];
    }
  }
  counts->above += above.Total();
  counts->high += high.Total();
  counts->low += low.Total();
  counts->between += aside;
  return i;
}

template <typename Operation>
RANDROP_FLAT int MarkKernel(const Operation& op, int begin, int end,
    uint32_t least, int* ties) {
  LaneCount equal;
  int i = begin;
  for (; i + RANDROP_LANES <= end; i += RANDROP_LANES) {
    Ints taking_part;
    const Words keys = KeysAt(op, i, &taking_part);
    equal.Add(taking_part & (keys == least));
    op.Mark(i, taking_part, Ints(keys >= least));
  }
  *ties += equal.Total();
  return i;
}

}  // namespace

#define RANDROP_WRITING(Operation, kernel) WriteKernel,
#define RANDROP_SUMMING(Operation, Sums, kernel) SumKernel,
#define RANDROP_CLASSES(Operation, Sums, kernel) ClassesKernel,
#define RANDROP_SELECTING(Operation, kernel) CollectKernel, MarkKernel,
extern const PixelKernels RANDROP_TABLE = {
  RANDROP_SET, RandomDropKernel,
  RANDROP_WRITING_KERNELS(RANDROP_WRITING)
  RANDROP_SUMMING_KERNELS(RANDROP_SUMMING)
  RANDROP_CLASSES_KERNELS(RANDROP_CLASSES)
  RANDROP_SELECTING_KERNELS(RANDROP_SELECTING)
};

}  // namespace randrop
}  // namespace caffe
