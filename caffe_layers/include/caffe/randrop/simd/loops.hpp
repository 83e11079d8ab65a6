#ifndef CAFFE_RANDROP_SIMD_LOOPS_HPP_
#define CAFFE_RANDROP_SIMD_LOOPS_HPP_

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/math/softmax.hpp"
#include "caffe/randrop/simd/vector.hpp"

// Shared by the losses' kernels: loops over vectors, sums, labels.
namespace caffe {
namespace randrop {
namespace {

/// Marks a kernel: everything it calls is inlined, or each call would spill
/// the registers.
#define RANDROP_FLAT __attribute__((flatten))

/// Whether elements begin to end - 1 fill a vector in each area that they
/// touch, so that no vector reaches beyond them: other threads may own the
/// neighbours.
inline bool FillVectors(int area, int begin, int end) {
  const int next = (begin / area + 1) * area;
  const int last = (end - 1) / area * area;
  return area >= RANDROP_LANES && begin < end &&
      (end < next ? end : next) - begin >= RANDROP_LANES &&
      end - (last > begin ? last : begin) >= RANDROP_LANES;
}

/// Calls body(number, first, inside) for vectors of elements begin to end - 1.
/// No vector crosses a multiple of area; the multiple before it is number *
/// area. The last vector of an area may overlap the one before: `inside` marks
/// its new elements, and the others are rewritten with the same values. Returns
/// false and does nothing if some area has no full vector; loops/pieces.hpp
/// ensures that each has one.
template <typename Body>
inline bool OverAreas(int area, int begin, int end, const Body& body) {
  if (!FillVectors(area, begin, end)) {
    return false;
  }
  while (begin < end) {
    const int number = begin / area, start = number * area;
    const int last = end - start < area ? end : start + area;
    // A single call, so that the compiler inlines the body.
    for (int i = begin; i < last; i += RANDROP_LANES) {
      int first = i;
      Ints inside = Ints() - 1;
      if (i + RANDROP_LANES > last) {
        first = last - RANDROP_LANES;
        const Ints index = Numbers() + first;
        inside = (index >= i) & (index < last);
      }
      body(number, first, inside);
    }
    begin = last;
  }
  return true;
}

/// The same for elements without area borders.
template <typename Body>
inline bool OverElements(int begin, int end, const Body& body) {
  if (end - begin < RANDROP_LANES) {
    return false;
  }
  for (int i = begin; i < end; i += RANDROP_LANES) {
    const int first = i + RANDROP_LANES <= end ? i : end - RANDROP_LANES;
    body(first, Numbers() + first >= i);
  }
  return true;
}

/// A vector of pixels of a softmax.
struct PixelsAt {
  int image;
  int j;      // the first pixel
  int first;  // offset of its class 0
  Ints inside;
};

/// Calls body(input, at) for vectors of softmax pixels, like OverAreas. It is
/// compiled separately for each usual number of classes, to keep per-class
/// values in registers.
template <typename Body>
inline bool OverPixels(LossInput<float> input, int begin, int end,
    const Body& body) {
#define RANDROP_OVER_PIXELS \
  OverAreas(input.area, begin, end, [&](int image, int j, Ints inside) { \
    const PixelsAt at = \
        {image, j, j + image * (input.classes - 1) * input.area, inside}; \
    body(input, at); \
  })
#define RANDROP_CASE(number) \
  case number: \
    input.classes = number; \
    return RANDROP_OVER_PIXELS
  switch (input.classes) {
  RANDROP_CASE(2);
  RANDROP_CASE(3);
  RANDROP_CASE(4);
  RANDROP_CASE(5);
  default:
    return RANDROP_OVER_PIXELS;
  }
#undef RANDROP_CASE
#undef RANDROP_OVER_PIXELS
}

/// A double sum of short float sums, which stay close in size to their terms.
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

/// The label statistics of PixelSums.
struct LabelCount {
  Ints taking_part, bad;

  LabelCount() : taking_part(Ints()), bad(Ints()) {}
  inline void Add(Ints valid, Ints allowed) {
    taking_part -= valid;
    bad |= ~allowed;
  }
  inline int TakingPart() const { return static_cast<int>(SumOf(taking_part)); }
  inline void AddTo(PixelSums* sums) const {
    sums->taking_part += TakingPart();
  }
  inline bool AnyBad() const { return SumOf(bad) != 0; }
};

template <typename Sums>
inline void FindBadBinary(const float* label, bool has_ignore_label,
    int ignore_label, int begin, int end, Sums* sums) {
  for (int i = begin; i < end && sums->bad_label < 0; ++i) {
    const float value = label[i];
    if (!(value == 0 || value == 1 ||
        (has_ignore_label && value == ignore_label))) {
      sums->bad_label = i;
    }
  }
}

/// Classes of softmax labels, PixelClass::IGNORED or PixelClass::BAD.
inline Ints Classes(const LossInput<float>& input, int j) {
  const Floats values = LoadAs<Floats>(input.label + j);
  const Ints in_range = (values >= 0) &
      (values < static_cast<float>(input.classes));
  const Ints whole = __builtin_convertvector(
      in_range ? values : Floats(), Ints);
  const Ints good =
      in_range & (__builtin_convertvector(whole, Floats) == values);
  const Ints own = good ? whole : Ints() + static_cast<int>(PixelClass::BAD);
  if (!input.has_ignore_label) {
    return own;
  }
  return values == static_cast<float>(input.ignore_label) ?
      Ints() + static_cast<int>(PixelClass::IGNORED) : own;
}

template <typename Sums>
inline void FindBadClass(const LossInput<float>& input, int begin, int end,
    Sums* sums) {
  for (int j = begin; j < end && sums->bad_label < 0; ++j) {
    const float value = input.label[j];
    if (!(input.has_ignore_label && value == input.ignore_label) &&
        !(value >= 0 && value < input.classes &&
        static_cast<int>(value) == value)) {
      sums->bad_label = j;
    }
  }
}

/// Whether any lane is set.
inline bool Any(Ints mask) { return BitsOf(mask) != 0; }

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_LOOPS_HPP_
