#ifndef CAFFE_RANDROP_LOOPS_RADIX_CUT_HPP_
#define CAFFE_RANDROP_LOOPS_RADIX_CUT_HPP_

#include <stdint.h>

#include <cmath>

#include "caffe/randrop/math/host_device.hpp"

namespace caffe {
namespace randrop {

/// @brief The unsigned integer type that orders floating-point numbers.
template <typename Dtype> struct OrderedKey;

template <> struct OrderedKey<float> {
  typedef uint32_t Type;
};

template <> struct OrderedKey<double> {
  typedef uint64_t Type;
};

/// @brief The key of a value: larger for a larger value, equal for -0 and 0.
///        NaN has the largest key, is thus selected and shows in the loss.
template <typename Dtype>
RANDROP_HOST_DEVICE inline typename OrderedKey<Dtype>::Type KeyOf(Dtype value) {
  typedef typename OrderedKey<Dtype>::Type Key;
  if (value != value) {
    return ~Key(0);
  }
  union {
    Dtype value;
    Key bits;
  } both;
  both.value = value + Dtype(0);  // -0 becomes 0
  const Key sign = Key(1) << (sizeof(Key) * 8 - 1);
  return both.bits & sign ? ~both.bits : both.bits | sign;
}

/**
 * @brief Finds where the k largest keys end, digit by digit from the highest
 *        (radix selection). The result: all keys above prefix and the first
 *        `remaining` keys equal to it.
 */
template <typename Key>
struct RadixCut {
  Key prefix;
  int remaining;

  RANDROP_HOST_DEVICE inline explicit RadixCut(int wanted)
      : prefix(0), remaining(wanted) {}

  /// @brief Whether a key agrees with the digits found so far, those from bit
  ///        `bits` on.
  RANDROP_HOST_DEVICE inline bool Matches(Key key, int bits) const {
    return bits >= static_cast<int>(sizeof(Key) * 8) ||
        (key >> bits) == (prefix >> bits);
  }
  /// @brief Finds the next digit from a histogram of the matching keys' digits.
  RANDROP_HOST_DEVICE inline void Narrow(const int* histogram, int digits,
      int shift) {
    int digit = digits - 1;
    while (digit > 0 && histogram[digit] < remaining) {
      remaining -= histogram[digit];
      --digit;
    }
    prefix |= static_cast<Key>(digit) << shift;
  }
  /// @brief Whether a key preceded by `ties` equal keys is selected.
  RANDROP_HOST_DEVICE inline bool Takes(Key key, int ties) const {
    return key > prefix || (key == prefix && ties < remaining);
  }
};

/// @brief Bounds between which a cut is sought; 0 is below all keys.
template <typename Key>
struct KeyRange {
  Key low, high;
};

/// @brief How many keys lie where relative to a KeyRange.
struct KeyCounts {
  int above, high, between, low;

  void Add(const KeyCounts& other) {
    above += other.above;
    high += other.high;
    between += other.between;
    low += other.low;
  }
};

/// @brief Rounds a product of decimal numbers down: 33.3 % of 3000 is 999,
///        though the nearest double to 33.3 is below it. The largest possible
///        rounding error of three operations is added first.
RANDROP_HOST_DEVICE inline int RoundedDown(double product) {
  return static_cast<int>(product * (1 + 8.8817841970012523e-16));  // 2^-50
}

/// @brief How many of `count` pixels are the hardest k_percent: rounded down,
///        but at least one.
RANDROP_HOST_DEVICE inline int ShareOf(double k_percent, int count) {
  const int share = RoundedDown(count * k_percent / 100);
  return share < 1 ? (count > 0 ? 1 : 0) : share;
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOOPS_RADIX_CUT_HPP_
