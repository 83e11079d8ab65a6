#ifndef CAFFE_UTIL_SELECT_ON_CPU_HPP_
#define CAFFE_UTIL_SELECT_ON_CPU_HPP_

#include <stdint.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "caffe/util/hardest.hpp"
#include "caffe/util/pieces.hpp"
#include "caffe/util/pixel_kernels.hpp"

namespace caffe {

/// @brief Collects keys from begin on in vectors, and marks elements; both
///        return the first element that they leave, which is begin unless an
///        operation overloads this.
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
 * @brief Selection of the largest keys, exact and without sorting: a sample
 *        tells between which two keys the cut is all but surely, one pass over
 *        the elements counts those above and takes the few between aside, and
 *        another marks.
 *
 * The time does not depend on how many are wanted. Where the cut is not where
 * the sample said, all keys are taken aside: the result is the same.
 */
template <typename Key, typename Operation>
class SelectOnCpu {
 public:
  /// @param aside room for size keys
  SelectOnCpu(const Operation& op, int begin, int size, Key* aside)
      : op_(op), begin_(begin), size_(size), aside_(aside) {}

  /// @brief Marks the wanted elements.
  void Mark(int wanted) const {
    const Cut<Key> cut = FindCut(wanted);
    // Ties are marked, all of them: there are rarely more than are wanted.
    std::vector<int> ties(Pieces());
    InPieces(begin_, begin_ + size_, [&](int first, int last) {
      int* mine = &ties[(first - begin_) / kPiece];
      for (int i = MarkInVectors(op_, first, last, cut.prefix, mine); i < last;
           ++i) {
        Key key;
        if (op_.Key(i, &key)) {
          op_.Mark(i, key >= cut.prefix);
          *mine += key == cut.prefix;
        }
      }
    });
    int before = 0;
    for (int piece = 0; piece < ties.size(); ++piece) {
      if (before + ties[piece] > cut.remaining) {
        Unmark(begin_ + piece * kPiece, cut, before);
      }
      before += ties[piece];
    }
  }

 private:
  int Pieces() const { return (size_ + kPiece - 1) / kPiece; }

  /// 0, below all others, for an element that does not take part.
  Key KeyAt(int i) const {
    Key key;
    return op_.Key(i, &key) ? key : 0;
  }

  /// Unmarks ties of a piece beyond those wanted.
  void Unmark(int first, const Cut<Key>& cut, int ties) const {
    const int last = std::min(begin_ + size_, first + kPiece);
    for (int i = first; i < last; ++i) {
      Key key;
      if (op_.Key(i, &key) && key == cut.prefix) {
        op_.Mark(i, cut.Takes(key, ties));
        ++ties;
      }
    }
  }

  Cut<Key> FindCut(int wanted) const {
    const KeyRange<Key> whole = {0, static_cast<Key>(~Key(0))};
    Cut<Key> cut(std::max(0, wanted));
    if (wanted <= 0) {
      cut.prefix = whole.high;
    } else if (!Narrow(LikelyRange(wanted, whole), &cut)) {
      Narrow(whole, &cut);
    }
    return cut;
  }

  /// Where the cut is by a sample of the keys.
  KeyRange<Key> LikelyRange(int wanted, const KeyRange<Key>& whole) const {
    const int count = std::min(1 << 14, size_ / 32);
    if (count < 64) {
      return whole;
    }
    std::vector<Key> sample(count);
    // One of each stretch, by chance, as pictures have stripes.
    uint32_t state = 1;
    const int stretch = size_ / count;
    for (int k = 0; k < count; ++k) {
      state = state * 1664525 + 1013904223;
      const int start = static_cast<int64_t>(size_) * k / count;
      sample[k] = KeyAt(begin_ + start + (state >> 8) % stretch);
    }
    const double share = static_cast<double>(wanted) / size_;
    const double rank = share * count;
    // Five standard deviations of the rank in a sample of one that is at this
    // rank of all.
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

  /// Finds the cut if it is in a range of keys.
  bool Narrow(const KeyRange<Key>& range, Cut<Key>* cut) const {
    std::vector<KeyCounts> counts(Pieces());
    InPieces(begin_, begin_ + size_, [&](int first, int last) {
      Key* between = aside_ + (first - begin_);
      KeyCounts* mine = &counts[(first - begin_) / kPiece];
      for (int i = CollectInVectors(op_, first, last, range, mine, between);
           i < last; ++i) {
        const Key key = KeyAt(i);
        mine->above += key > range.high;
        mine->high += key == range.high;
        mine->low += key == range.low;
        if (key > range.low && key < range.high) {
          between[mine->between++] = key;
        }
      }
    });
    KeyCounts total = KeyCounts();
    for (int piece = 0; piece < counts.size(); ++piece) {
      const Key* between = aside_ + piece * kPiece;
      std::copy(between, between + counts[piece].between,
          aside_ + total.between);
      total.Add(counts[piece]);
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
      std::nth_element(aside_, aside_ + rank - 1, aside_ + total.between,
          std::greater<Key>());
      const Key key = aside_[rank - 1];
      // What stands before it is no smaller.
      return Found(key, std::count(aside_, aside_ + rank, key), cut);
    }
    rank -= total.between;
    return range.low < range.high && (rank <= total.low || range.low == 0) &&
        Found(range.low, rank, cut);
  }
  static bool Found(Key key, int rank, Cut<Key>* cut) {
    cut->prefix = key;
    cut->remaining = rank;
    return true;
  }

  const Operation& op_;
  int begin_, size_;
  Key* aside_;
};

}  // namespace caffe

#endif  // CAFFE_UTIL_SELECT_ON_CPU_HPP_
