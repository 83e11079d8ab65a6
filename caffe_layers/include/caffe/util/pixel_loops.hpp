#ifndef CAFFE_UTIL_PIXEL_LOOPS_HPP_
#define CAFFE_UTIL_PIXEL_LOOPS_HPP_

#include <algorithm>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/syncedmem.hpp"
#include "caffe/util/hardest.hpp"
#include "caffe/util/host_device.hpp"

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
    for (int i = 0; i < count; ++i) {
      op(i);
    }
  }

  /// @brief Calls op(i, &sums[segment]) for every element; Sums has Clear()
  ///        and Add(const Sums&).
  template <typename Sums, typename Operation>
  static void Reduce(int segments, int size, const Operation& op, Sums* sums,
      ScratchMemory* scratch) {
    for (int s = 0, i = 0; s < segments; ++s) {
      Sums mine;
      mine.Clear();
      for (int end = i + size; i < end; ++i) {
        op(i, &mine);
      }
      sums[s] = mine;
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
    std::vector<int> histogram(kDigits);
    for (int s = 0; s < segments; ++s) {
      const int begin = s * size, end = begin + size;
      Cut<Key> cut(wanted[s]);
      for (int shift = (sizeof(Key) * 8 - 1) / kDigitBits * kDigitBits;
           shift >= 0; shift -= kDigitBits) {
        std::fill(histogram.begin(), histogram.end(), 0);
        for (int i = begin; i < end; ++i) {
          Key key;
          if (op.Key(i, &key) && cut.Matches(key, shift + kDigitBits)) {
            ++histogram[(key >> shift) & (kDigits - 1)];
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
};

}  // namespace caffe

#endif  // CAFFE_UTIL_PIXEL_LOOPS_HPP_
