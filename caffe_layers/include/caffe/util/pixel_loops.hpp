#ifndef CAFFE_UTIL_PIXEL_LOOPS_HPP_
#define CAFFE_UTIL_PIXEL_LOOPS_HPP_

#include <algorithm>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/syncedmem.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/pieces.hpp"
#include "caffe/util/pixel_kernels.hpp"
#include "caffe/util/select_on_cpu.hpp"

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

template <typename Operation, typename Sums>
inline bool ClassesInVectors(const Operation& op, int begin, int end,
    Sums* sums) {
  return false;
}

/// @brief Classes whose sums a pass over the pixels adds up, where it can not
///        do all.
const int kClassesAtOnce = 8;

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
    Key* aside = scratch->Get<OnCpu, Key>(size);
    for (int s = 0; s < segments; ++s) {
      const SelectOnCpu<Key, Operation> select(op, s * size, size, aside);
      select.Mark(wanted[s]);
    }
  }

  /**
   * @brief Adds up sums of each class of each image, in one pass over the
   *        pixels.
   *
   * @param op op.AddClasses<most>(j, first, &sums) adds pixel j's part of the
   *        classes from first on, of at most so many; j is less than
   *        images * area
   * @param sums images x classes of them
   */
  template <typename Sums, typename Operation>
  static void ReduceClasses(int images, int classes, int area,
      const Operation& op, Sums* sums, ScratchMemory* scratch) {
    const int pieces = (area + kPiece - 1) / kPiece;
    std::vector<Sums> parts(static_cast<size_t>(pieces) * classes);
    for (int n = 0; n < images; ++n) {
      const int image = n * area;
      InPieces(image, image + area, [&](int begin, int end) {
        Sums* mine = &parts[(begin - image) / kPiece * classes];
        for (int c = 0; c < classes; ++c) {
          mine[c].Clear();
        }
        if (ClassesInVectors(op, begin, end, mine)) {
          return;
        }
        for (int first = 0; first < classes; first += kClassesAtOnce) {
          const int most = std::min(kClassesAtOnce, classes - first);
          Sums some[kClassesAtOnce];
          for (int k = 0; k < kClassesAtOnce; ++k) {
            some[k].Clear();
          }
          for (int j = begin; j < end; ++j) {
            op.template AddClasses<kClassesAtOnce>(j, first, some);
          }
          std::copy(some, some + most, mine + first);
        }
      });
      for (int c = 0; c < classes; ++c) {
        Sums* total = sums + n * classes + c;
        total->Clear();
        for (int piece = 0; piece < pieces; ++piece) {
          total->Add(parts[piece * classes + c]);
        }
      }
    }
  }
};

}  // namespace caffe

#endif  // CAFFE_UTIL_PIXEL_LOOPS_HPP_
