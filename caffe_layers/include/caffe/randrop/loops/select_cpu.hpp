#ifndef CAFFE_RANDROP_LOOPS_SELECT_CPU_HPP_
#define CAFFE_RANDROP_LOOPS_SELECT_CPU_HPP_

#include <stdint.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "caffe/randrop/loops/pieces.hpp"
#include "caffe/randrop/loops/radix_cut.hpp"
#include "caffe/randrop/simd/kernels.hpp"

namespace caffe {
namespace randrop {

/// @brief Collect keys and mark elements from begin on in vectors; both return
///        the first element not handled, which is begin unless an operation
///        overloads them.
template <typename Key, typename Operation>
inline int CollectInVectors(const Operation& op, int begin, int end,
    const KeyRange<Key>& range, KeyCounts* counts, Key* between) {
  return begin;
}
template <typename Key, typename Operation>
inline int MarkInVectors(const Operation& op, int begin, int end, Key least,
    int* ties) {
  return begin;
}

/**
 * @brief Exact selection of the largest keys without sorting. A sample gives
 *        two keys that almost surely enclose the cut; one pass over the
 *        elements counts those above and sets the few between aside; another
 *        pass marks.
 *
 * The time does not depend on how many are wanted. If the cut lies outside the
 * sampled range, all keys are set aside: the result is the same.
 */
template <typename Key, typename Operation>
class SelectOnCpu {
 public:
  /// @param begin the first of the elements
  SelectOnCpu(const Operation& op, int begin, int size)
      : op_(op), begin_(begin), size_(size), pieces_(1, size) {}

  /// @brief Marks the wanted elements.
  void Mark(int wanted) const {
    const RadixCut<Key> cut = FindCut(wanted);
    // Marks all ties: there are rarely more than are wanted.
    std::vector<int> ties(pieces_.Parts());
    ForParts([&](int part, int first, int last) {
      int mine = 0;
      for (int i = MarkInVectors(op_, first, last, cut.prefix, &mine);
           i < last; ++i) {
        Key key;
        if (op_.Key(i, &key)) {
          op_.Mark(i, key >= cut.prefix);
          mine += key == cut.prefix;
        }
      }
      ties[part] = mine;
    });
    int all = 0;
    for (size_t part = 0; part < ties.size(); ++part) {
      const int before = all;
      all += ties[part];
      ties[part] = before;  // ties in the parts before it
    }
    if (all > cut.remaining) {
      ForParts([&](int part, int first, int last) {
        const int next = part + 1 < pieces_.Parts() ? ties[part + 1] : all;
        if (next > cut.remaining) {
          Unmark(first, last, cut, ties[part]);
        }
      });
    }
  }

 private:
  template <typename Pass>
  void ForParts(const Pass& pass) const {
    pieces_.ForParts([&](int part, int first, int last) {
      pass(part, begin_ + first, begin_ + last);
    });
  }

  /// 0, below all other keys, for an element that does not take part.
  Key KeyAt(int i) const {
    Key key;
    return op_.Key(i, &key) ? key : 0;
  }

  /// Unmarks ties of a part beyond those wanted.
  void Unmark(int first, int last, const RadixCut<Key>& cut, int ties) const {
    for (int i = first; i < last; ++i) {
      Key key;
      if (op_.Key(i, &key) && key == cut.prefix) {
        op_.Mark(i, cut.Takes(key, ties));
        ++ties;
      }
    }
  }

  RadixCut<Key> FindCut(int wanted) const {
    const KeyRange<Key> whole = {0, static_cast<Key>(~Key(0))};
    RadixCut<Key> cut(std::max(0, wanted));
    if (wanted <= 0) {
      cut.prefix = whole.high;
    } else if (!Narrow(LikelyRange(wanted, whole), &cut)) {
      Narrow(whole, &cut);
    }
    return cut;
  }

  /// Estimates the range of the cut from a sample of the keys.
  KeyRange<Key> LikelyRange(int wanted, const KeyRange<Key>& whole) const {
    const int count = std::min(1 << 14, size_ / 32);
    if (count < 64) {
      return whole;
    }
    std::vector<Key> sample(count);
    // One random element of each stretch, as images may have stripes.
    uint32_t state = 1;
    const int stretch = size_ / count;
    for (int k = 0; k < count; ++k) {
      state = state * 1664525 + 1013904223;
      const int start = static_cast<int64_t>(size_) * k / count;
      sample[k] = KeyAt(begin_ + start + (state >> 8) % stretch);
    }
    const double share = static_cast<double>(wanted) / size_;
    const double rank = share * count;
    // Five standard deviations of the sample rank of a key with this overall
    // rank.
    const double margin = 5 * std::sqrt(rank * std::max(0., 1 - share)) + 5;
    KeyRange<Key> range = whole;
    typename std::vector<Key>::iterator from = sample.begin();
    if (rank - margin >= 0) {
      from += static_cast<int>(rank - margin);
      std::nth_element(sample.begin(), from, sample.end(),
          std::greater<Key>());
      range.high = *from;
    }
    if (rank + margin < count) {
      typename std::vector<Key>::iterator to =
          sample.begin() + static_cast<int>(rank + margin);
      std::nth_element(from, to, sample.end(), std::greater<Key>());
      range.low = *to;
    }
    return range;
  }

  /// Finds the cut if it lies in a range of keys.
  bool Narrow(const KeyRange<Key>& range, RadixCut<Key>* cut) const {
    std::vector<KeyCounts> counts(pieces_.Parts());
    std::vector<std::vector<Key> > between(pieces_.Parts());
    ForParts([&](int part, int first, int last) {
      Key room[kLargestPiece];
      KeyCounts mine = KeyCounts();
      for (int i = CollectInVectors(op_, first, last, range, &mine, room);
           i < last; ++i) {
        const Key key = KeyAt(i);
        mine.above += key > range.high;
        mine.high += key == range.high;
        mine.low += key == range.low;
        if (key > range.low && key < range.high) {
          room[mine.between++] = key;
        }
      }
      between[part].assign(room, room + mine.between);
      counts[part] = mine;
    });
    KeyCounts total = KeyCounts();
    std::vector<Key> aside;
    for (size_t part = 0; part < counts.size(); ++part) {
      total.Add(counts[part]);
      aside.insert(aside.end(), between[part].begin(), between[part].end());
    }
    int rank = cut->remaining - total.above;
    if (rank <= 0) {
      return false;
    }
    if (rank <= total.high) {
      return Found(range.high, rank, cut);
    }
    rank -= total.high;
    if (rank <= total.between) {
      const typename std::vector<Key>::iterator at = aside.begin() + rank - 1;
      std::nth_element(aside.begin(), at, aside.end(), std::greater<Key>());
      const Key key = *at;
      // No key before it is smaller.
      return Found(key, std::count(aside.begin(), at + 1, key), cut);
    }
    rank -= total.between;
    return range.low < range.high && (rank <= total.low || range.low == 0) &&
        Found(range.low, rank, cut);
  }
  static bool Found(Key key, int rank, RadixCut<Key>* cut) {
    cut->prefix = key;
    cut->remaining = rank;
    return true;
  }

  const Operation& op_;
  const int begin_, size_;
  const Pieces pieces_;
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOOPS_SELECT_CPU_HPP_
