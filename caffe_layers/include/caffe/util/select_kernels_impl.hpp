#ifndef CAFFE_UTIL_SELECT_KERNELS_IMPL_HPP_
#define CAFFE_UTIL_SELECT_KERNELS_IMPL_HPP_

#include "caffe/util/hardest_pixels.hpp"
#include "caffe/util/kernel_loops.hpp"
#include "caffe/util/pixel_kernels.hpp"
#include "caffe/util/top_k_ce.hpp"
#include "caffe/util/vector.hpp"

// Selection of the largest keys in vectors; as pixel_kernels_impl.hpp.
namespace caffe {
namespace {

/// KeyOf of elements that take part, 0 of the others.
inline Words KeysOf(Floats values, Ints part) {
  const Ints bits = (Ints)(values + 0);  // -0 becomes 0
  const Ints key = bits ^ ((bits >> 31) | INT32_MIN);
  return (Words)(part & (key | (values != values)));
}

inline Words Keys(const HardestNegatives<float>& op, int i) {
  return KeysOf(LoadAs<Floats>(op.logits + i),
      Load(op.selection + i) == static_cast<int>(NEGATIVE));
}

inline Words Keys(const HardestElements<float>& op, int i) {
  const Floats x = LoadAs<Floats>(op.logits + i);
  const Ints selection = Load(op.selection + i);
  const Ints positive = selection == static_cast<int>(POSITIVE);
  return KeysOf(positive ? -x : x,
      positive | (selection == static_cast<int>(NEGATIVE)));
}

inline Words Keys(const HardestPixels<float>& op, int j) {
  return KeysOf(LoadAs<Floats>(op.cross_entropy + j),
      Load(op.selection + j) != static_cast<int>(IGNORED));
}

inline Words Keys(const HardestOfClass<float>& op, int j) {
  return Keys(op.pixels, j) & (Words)(
      LoadAs<Floats>(op.label + j) == static_cast<float>(op.own));
}

/// What the selection of elements that take part becomes.
template <typename Operation>
inline Ints Marked(const Operation&, Ints selection, Ints selected) {
  return selected ? selection : Ints() + static_cast<int>(LEFT_OUT);
}
inline Ints Marked(const HardestPixels<float>&, Ints, Ints selected) {
  return selected ? Ints() + static_cast<int>(POSITIVE) :
      Ints() + static_cast<int>(LEFT_OUT);
}
inline Ints Marked(const HardestOfClass<float>& op, Ints selection,
    Ints selected) {
  return Marked(op.pixels, selection, selected);
}

template <typename Operation>
inline unsigned char* SelectionOf(const Operation& op) { return op.selection; }
inline unsigned char* SelectionOf(const HardestOfClass<float>& op) {
  return op.pixels.selection;
}

template <typename Operation>
CAFFE_FLAT int CollectKernel(
    const Operation& op, int begin, int end, const KeyRange<uint32_t>& range,
    KeyCounts* counts, uint32_t* between) {
  Ints above = Ints(), high = Ints(), low = Ints();
  int aside = 0;
  int i = begin;
  for (; i + CAFFE_LANES <= end; i += CAFFE_LANES) {
    const Words keys = Keys(op, i);
    above -= keys > range.high;
    high -= keys == range.high;
    low -= keys == range.low;
    const Ints inside = (keys > range.low) & (keys < range.high);
    for (unsigned bits = BitsOf(inside); bits; bits &= bits - 1) {
      between[aside++] = keys[__builtin_ctz(bits)];
    }
  }
  counts->above += static_cast<int>(SumOf(above));
  counts->high += static_cast<int>(SumOf(high));
  counts->low += static_cast<int>(SumOf(low));
  counts->between += aside;
  return i;
}

template <typename Operation>
CAFFE_FLAT int MarkKernel(
    const Operation& op, int begin, int end, uint32_t least, int* ties) {
  unsigned char* selection = SelectionOf(op);
  Ints equal = Ints();
  int i = begin;
  for (; i + CAFFE_LANES <= end; i += CAFFE_LANES) {
    const Words keys = Keys(op, i);
    const Ints part = keys != 0;
    equal -= part & (keys == least);
    const Ints old = Load(selection + i);
    Store(part ? Marked(op, old, keys >= least) : old, selection + i);
  }
  *ties += static_cast<int>(SumOf(equal));
  return i;
}

}  // namespace
}  // namespace caffe

#endif  // CAFFE_UTIL_SELECT_KERNELS_IMPL_HPP_
