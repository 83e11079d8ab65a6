#ifndef CAFFE_UTIL_PIXEL_LOOPS_HPP_
#define CAFFE_UTIL_PIXEL_LOOPS_HPP_

#include <algorithm>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/syncedmem.hpp"
#include "caffe/util/hardest.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/pieces.hpp"
#include "caffe/util/pixel_kernels.hpp"

namespace caffe {

/// @brief Memory on either side that a layer keeps from pass to pass.
class ScratchMemory {
 public:
  /// @brief Room for count objects of type T; what was there is lost when it
  ///        has to grow.
  template <typename Device, typename T>
  T* Get(size_t count) {
    const size_t size = std::max<size_t>(1, count) * sizeof(T);
    if (!memory_ || memory_->size() < size) {
      memory_.reset(new SyncedMemory(size));
    }
    return static_cast<T*>(Device::Memory(memory_.get()));
  }

 private:
  shared_ptr<SyncedMemory> memory_;
};

/// @brief Runs an operation on elements begin to end - 1 in vectors; false if
///        it has none, which is so unless it overloads this.
template <typename Operation>
inline bool InVectors(const Operation& op, int begin, int end) { return false; }
template <typename Operation, typename Sums>
inline bool InVectors(const Operation& op, int begin, int end, Sums* sums) {
  return false;
}

/**
 * @brief The loops that losses over pixels are made of, on the CPU.
 *
 * A layer writes its passes once, as a template over this class and its twin
 * OnGpu (pixel_loops.cuh): what happens to an element is an operation object
 * whose operator() is compiled for both sides.
 *
 * A segment is a run of neighbouring elements; segment s covers the indices
 * from s * size on.
 */
struct OnCpu {
  template <typename Dtype>
  static const Dtype* Data(const Blob<Dtype>& blob) { return blob.cpu_data(); }
  template <typename Dtype>
  static Dtype* MutableData(Blob<Dtype>* blob) {
    return blob->mutable_cpu_data();
  }
  template <typename Dtype>
  static Dtype* MutableDiff(Blob<Dtype>* blob) {
    return blob->mutable_cpu_diff();
  }
  static void* Memory(SyncedMemory* memory) {
    return memory->mutable_cpu_data();
  }
  /// @brief A value that a loop has written.
  template <typename T>
  static T Read(const T* address) { return *address; }

  /// @brief Calls op(i) for i from 0 to count - 1, in any order.
  template <typename Operation>
  static void ForEach(int count, const Operation& op) {
    InPieces(0, count, [&op](int begin, int end) {
      if (InVectors(op, begin, end)) {
        return;
      }
      for (int i = begin; i < end; ++i) {
        op(i);
      }
    });
  }

  /// @brief Calls op(i, &sums[segment]) for every element; Sums has Clear()
  ///        and Add(const Sums&).
  template <typename Sums, typename Operation>
  static void Reduce(int segments, int size, const Operation& op, Sums* sums,
      ScratchMemory* scratch) {
    for (int s = 0; s < segments; ++s) {
      InPieces(s * size, (s + 1) * size, [&op](int begin, int end,
          Sums* mine) {
        if (InVectors(op, begin, end, mine)) {
          return;
        }
        for (int i = begin; i < end; ++i) {
          op(i, mine);
        }
      }, sums + s);
    }
  }

  /**
   * @brief Selects in each segment the wanted[segment] elements with the
   *        largest keys, ties in the order of their indices, without sorting.
   *
   * @param op op.Key(i, &key) tells whether an element takes part, and its key
   *        (an unsigned integer); op.Mark(i, selected) is then called for each
   *        that does.
   */
  template <typename Key, typename Operation>
  static void Select(int segments, int size, const Operation& op,
      const int* wanted, ScratchMemory* scratch) {
    const int kDigitBits = 11;
    const int kDigits = 1 << kDigitBits;
    const int kTop = (sizeof(Key) * 8 - 1) / kDigitBits * kDigitBits;
    std::vector<Key> matching;
    std::vector<int> histogram(kDigits);
    for (int s = 0; s < segments; ++s) {
      const int begin = s * size, end = begin + size;
      Cut<Key> cut(wanted[s]);
      // The first digit leaves a small part of the keys to look at.
      CountDigits<Key>(begin, end, op, kTop, kDigits, &histogram);
      cut.Narrow(&histogram[0], kDigits, kTop);
      matching.clear();
      for (int i = begin; i < end; ++i) {
        Key key;
        if (op.Key(i, &key) && cut.Matches(key, kTop)) {
          matching.push_back(key);
        }
      }
      for (int shift = kTop - kDigitBits; shift >= 0; shift -= kDigitBits) {
        std::fill(histogram.begin(), histogram.end(), 0);
        for (size_t k = 0; k < matching.size(); ++k) {
          if (cut.Matches(matching[k], shift + kDigitBits)) {
            ++histogram[(matching[k] >> shift) & (kDigits - 1)];
          }
        }
        cut.Narrow(&histogram[0], kDigits, shift);
      }
      int ties = 0;
      for (int i = begin; i < end; ++i) {
        Key key;
        if (op.Key(i, &key)) {
          op.Mark(i, cut.Takes(key, ties));
          ties += key == cut.prefix;
        }
      }
    }
  }

 private:
  /// Counts the highest digits of the keys.
  template <typename Key, typename Operation>
  static void CountDigits(int begin, int end, const Operation& op, int shift,
      int digits, std::vector<int>* histogram) {
    // Neighbours often have the same digit: each adds to a count of its own, or
    // would wait for the other's.
    const int kWays = 4;
    std::vector<int> counts(kWays * digits);
    for (int i = begin; i < end; ++i) {
      Key key;
      if (op.Key(i, &key)) {
        ++counts[i % kWays * digits + (key >> shift)];
      }
    }
    for (int digit = 0; digit < digits; ++digit) {
      (*histogram)[digit] = 0;
      for (int way = 0; way < kWays; ++way) {
        (*histogram)[digit] += counts[way * digits + digit];
      }
    }
  }
};

}  // namespace caffe

#endif  // CAFFE_UTIL_PIXEL_LOOPS_HPP_
