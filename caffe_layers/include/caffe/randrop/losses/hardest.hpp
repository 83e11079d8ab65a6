#ifndef CAFFE_RANDROP_LOSSES_HARDEST_HPP_
#define CAFFE_RANDROP_LOSSES_HARDEST_HPP_

#include "caffe/randrop/loops/radix_cut.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"

// What the loops' Select() ranks: At<Real>(i) gives a Candidate, and Mark()
// writes which ones were selected.
namespace caffe {
namespace randrop {

/// @brief An element that may be selected, by the size of its value.
template <typename Real>
struct Candidate {
  Real value;
  typename IndexOf<Real>::Type taking_part;
};

/// @brief Gives the key of element i of a selecting operation; false if it does
///        not take part.
template <typename Dtype, typename Operation>
RANDROP_HOST_DEVICE inline bool KeyAt(const Operation& op, int i,
    typename OrderedKey<Dtype>::Type* key) {
  const Candidate<Dtype> candidate = op.template At<Dtype>(i);
  *key = KeyOf(candidate.value);
  return candidate.taking_part;
}

/// @brief The hardest negatives: those with the largest logits.
template <typename Dtype>
struct HardestNegatives {
  const Dtype* logits;
  unsigned char* selection;

  template <typename Real>
  RANDROP_HOST_DEVICE inline Candidate<Real> At(int i) const {
    typedef typename IndexOf<Real>::Type Index;
    const Candidate<Real> candidate = {LoadAs<Real>(logits + i),
        Is(LoadBytes<Index>(selection + i), Role::NEGATIVE)};
    return candidate;
  }
  template <typename Index>
  RANDROP_HOST_DEVICE inline void Mark(int i, Index taking_part,
      Index selected) const {
    const Index role = LoadBytes<Index>(selection + i);
    StoreBytes(taking_part & ~selected ?
        Index() + static_cast<int>(Role::LEFT_OUT) : role, selection + i);
  }
  RANDROP_HOST_DEVICE inline bool Key(int i,
      typename OrderedKey<Dtype>::Type* key) const {
    return KeyAt<Dtype>(*this, i, key);
  }
  RANDROP_HOST_DEVICE inline void Mark(int i, bool selected) const {
    Mark<int>(i, true, selected);
  }
};

/// @brief The elements with the highest cross-entropy, which increases with a
///        negative's logit and decreases with a positive's.
template <typename Dtype>
struct HardestElements {
  HardestNegatives<Dtype> elements;

  template <typename Real>
  RANDROP_HOST_DEVICE inline Candidate<Real> At(int i) const {
    typedef typename IndexOf<Real>::Type Index;
    const Real x = LoadAs<Real>(elements.logits + i);
    const Index role = LoadBytes<Index>(elements.selection + i);
    const Index positive = Is(role, Role::POSITIVE);
    const Candidate<Real> candidate = {positive ? -x : x,
        positive | Is(role, Role::NEGATIVE)};
    return candidate;
  }
  template <typename Index>
  RANDROP_HOST_DEVICE inline void Mark(int i, Index taking_part,
      Index selected) const {
    elements.Mark(i, taking_part, selected);
  }
  RANDROP_HOST_DEVICE inline bool Key(int i,
      typename OrderedKey<Dtype>::Type* key) const {
    return KeyAt<Dtype>(*this, i, key);
  }
  RANDROP_HOST_DEVICE inline void Mark(int i, bool selected) const {
    elements.Mark(i, selected);
  }
};

/// @brief Marks the pixels with the highest cross-entropy.
template <typename Dtype>
struct HardestPixels {
  const Dtype* cross_entropy;
  unsigned char* selection;

  template <typename Real>
  RANDROP_HOST_DEVICE inline Candidate<Real> At(int j) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index role = LoadBytes<Index>(selection + j);
    const Candidate<Real> candidate = {LoadAs<Real>(cross_entropy + j),
        role != static_cast<int>(Role::IGNORED)};
    return candidate;
  }
  template <typename Index>
  RANDROP_HOST_DEVICE inline void Mark(int j, Index taking_part,
      Index selected) const {
    const Index marked = selected ?
        Index() + static_cast<int>(Role::SELECTED) :
        Index() + static_cast<int>(Role::LEFT_OUT);
    StoreBytes(taking_part ? marked : LoadBytes<Index>(selection + j),
        selection + j);
  }
  RANDROP_HOST_DEVICE inline bool Key(int j,
      typename OrderedKey<Dtype>::Type* key) const {
    return KeyAt<Dtype>(*this, j, key);
  }
  RANDROP_HOST_DEVICE inline void Mark(int j, bool selected) const {
    Mark<int>(j, true, selected);
  }
};

/// @brief The same within one class.
template <typename Dtype>
struct HardestOfClass {
  HardestPixels<Dtype> pixels;
  const Dtype* label;
  int own;

  template <typename Real>
  RANDROP_HOST_DEVICE inline Candidate<Real> At(int j) const {
    Candidate<Real> candidate = pixels.template At<Real>(j);
    candidate.taking_part &=
        LoadAs<Real>(label + j) == static_cast<Dtype>(own);
    return candidate;
  }
  template <typename Index>
  RANDROP_HOST_DEVICE inline void Mark(int j, Index taking_part,
      Index selected) const {
    pixels.Mark(j, taking_part, selected);
  }
  RANDROP_HOST_DEVICE inline bool Key(int j,
      typename OrderedKey<Dtype>::Type* key) const {
    return KeyAt<Dtype>(*this, j, key);
  }
  RANDROP_HOST_DEVICE inline void Mark(int j, bool selected) const {
    pixels.Mark(j, selected);
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_HARDEST_HPP_
