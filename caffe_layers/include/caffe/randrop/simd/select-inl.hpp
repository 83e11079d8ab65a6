#ifndef CAFFE_RANDROP_SIMD_SELECT_INL_HPP_
#define CAFFE_RANDROP_SIMD_SELECT_INL_HPP_

#include "caffe/randrop/losses/cross_entropy.hpp"
#include "caffe/randrop/losses/top_k.hpp"
#include "caffe/randrop/simd/kernels.hpp"
#include "caffe/randrop/simd/loops.hpp"
#include "caffe/randrop/simd/vector.hpp"

// Vectorised selection of the largest keys; included like random_drop-inl.hpp.
namespace caffe {
namespace randrop {
namespace {

/// KeyOf for elements that take part, 0 for others.
inline Words KeysOf(Floats values, Ints part) {
  const Ints bits = (Ints)(values + 0);  // -0 becomes 0
  const Ints key = bits ^ ((bits >> 31) | INT32_MIN);
  return (Words)(part & (key | (values != values)));
}

inline Words Keys(const HardestNegatives<float>& op, int i) {
  return KeysOf(LoadAs<Floats>(op.logits + i),
      Load(op.selection + i) == static_cast<int>(Role::NEGATIVE));
}

inline Words Keys(const HardestElements<float>& op, int i) {
  const Floats x = LoadAs<Floats>(op.logits + i);
  const Ints selection = Load(op.selection + i);
  const Ints positive = selection == static_cast<int>(Role::POSITIVE);
  return KeysOf(positive ? -x : x,
      positive | (selection == static_cast<int>(Role::NEGATIVE)));
}

inline Words Keys(const HardestPixels<float>& op, int j) {
  return KeysOf(LoadAs<Floats>(op.cross_entropy + j),
      Load(op.selection + j) != static_cast<int>(Role::IGNORED));
}

inline Words Keys(const HardestOfClass<float>& op, int j) {
  return Keys(op.pixels, j) & (Words)(
      LoadAs<Floats>(op.label + j) == static_cast<float>(op.own));
}

/// The new selection of elements that take part.
template <typename Operation>
inline Ints Marked(const Operation&, Ints selection, Ints selected) {
  return selected ? selection : Ints() + static_cast<int>(Role::LEFT_OUT);
}
inline Ints Marked(const HardestPixels<float>&, Ints, Ints selected) {
  return selected ? Ints() + static_cast<int>(Role::POSITIVE) :
      Ints() + static_cast<int>(Role::LEFT_OUT);
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
RANDROP_FLAT int CollectKernel(
    const Operation& op, int begin, int end, const KeyRange<uint32_t>& range,
    KeyCounts* counts, uint32_t* between) {
  Ints above = Ints(), high = Ints(), low = Ints();
  int aside = 0;
  int i = begin;
  for (; i + RANDROP_LANES <= end; i += RANDROP_LANES) {
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
RANDROP_FLAT int MarkKernel(
    const Operation& op, int begin, int end, uint32_t least, int* ties) {
  unsigned char* selection = SelectionOf(op);
  Ints equal = Ints();
  int i = begin;
  for (; i + RANDROP_LANES <= end; i += RANDROP_LANES) {
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
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_SELECT_INL_HPP_
