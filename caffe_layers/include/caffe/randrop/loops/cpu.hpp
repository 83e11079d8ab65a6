#ifndef CAFFE_RANDROP_LOOPS_CPU_HPP_
#define CAFFE_RANDROP_LOOPS_CPU_HPP_

#include <algorithm>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/randrop/loops/pieces.hpp"
#include "caffe/randrop/loops/select_cpu.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/simd/kernels.hpp"
#include "caffe/syncedmem.hpp"

namespace caffe {
namespace randrop {

/// @brief CPU or GPU memory that a layer keeps from pass to pass.
class ScratchMemory {
 public:
  /// @brief Room for count objects of type T; growing discards the contents.
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
///        it has no vector code. Operations that have it overload this.
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

/// @brief Classes that a pass over the pixels sums if it cannot do all.
const int kClassesAtOnce = 8;

/**
 * @brief The CPU loops that pixel losses are built from.
 *
 * A layer writes its passes once, as a template over this class and its twin
 * OnGpu (loops/gpu.cuh): an operation object, whose operator() is compiled for
 * both sides, handles each element.
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
  /// @brief Reads a value written by a loop.
  template <typename T>
  static T Read(const T* address) { return *address; }

  /// @brief Calls op(i) for the elements of all segments, in any order.
  template <typename Operation>
  static void ForEach(int segments, int size, const Operation& op) {
    const Pieces pieces(segments, size);
    pieces.ForRuns([&](int first, int last) {
      const int begin = pieces.Begin(first), end = pieces.End(last - 1);
      if (InVectors(op, begin, end)) {
        return;
      }
      for (int i = begin; i < end; ++i) {
        op(i);
      }
    });
  }
  /// @brief Calls op(i) for i from 0 to count - 1.
  template <typename Operation>
  static void ForEach(int count, const Operation& op) {
    ForEach(1, count, op);
  }

  /// @brief Calls op(i, &sums[segment]) for every element; Sums has Clear()
  ///        and Add(const Sums&).
  template <typename Sums, typename Operation>
  static void Reduce(int segments, int size, const Operation& op, Sums* sums,
      ScratchMemory* scratch) {
    Pieces(segments, size).Reduce(AddElements<Operation>(op), sums);
  }
  /// @brief Calls op(i, total) for the elements of all segments.
  template <typename Sums, typename Operation>
  static void ReduceAll(int segments, int size, const Operation& op,
      Sums* total, ScratchMemory* scratch) {
    Pieces(segments, size).ReduceAll(AddElements<Operation>(op), total);
  }

  /**
   * @brief Selects the wanted[segment] elements with the largest keys in each
   *        segment, without sorting; ties are broken by index.
   *
   * @param op op.Key(i, &key) tells whether an element takes part, and its key
   *        (an unsigned integer); op.Mark(i, selected) is then called for each
   *        element that does.
   */
  template <typename Key, typename Operation>
  static void Select(int segments, int size, const Operation& op,
      const int* wanted, ScratchMemory* scratch) {
    Pieces(segments, size).ForSegments([&](int s) {
      SelectOnCpu<Key, Operation>(op, s * size, size).Mark(wanted[s]);
    });
  }

  /**
   * @brief Sums over each class of each image, in one pass over the pixels.
   *
   * @param op op.AddClasses<most>(j, first, &sums) adds pixel j's part of at
   *        most `most` classes from `first` on; j is less than images * area
   * @param sums images x classes
   */
  template <typename Sums, typename Operation>
  static void ReduceClasses(int images, int classes, int area,
      const Operation& op, Sums* sums, ScratchMemory* scratch) {
    const Pieces pieces(images, area);
    std::vector<Sums> parts(static_cast<size_t>(pieces.Parts()) * classes);
    pieces.ForParts([&](int part, int begin, int end) {
      AddClasses(op, begin, end, classes,
          &parts[static_cast<size_t>(part) * classes]);
    });
    for (int group = 0; group < images * classes; ++group) {
      const int first = group / classes * pieces.PartsOfSegment();
      sums[group].Clear();
      for (int part = first; part < first + pieces.PartsOfSegment(); ++part) {
        sums[group].Add(
            parts[static_cast<size_t>(part) * classes + group % classes]);
      }
    }
  }

  /**
   * @brief The same over each cell of each segment, for an operation of Reduce
   *        (ReduceCells) or ReduceClasses (ReduceClassCells).
   *
   * @param map map.EndOfRun(j, end) is where the cells next change after j,
   *        map.At(j, c) the cell of class c there, of at most map.most;
   *        map.classes is 1 for ReduceCells
   * @param sums segments x classes x most
   */
  template <typename Sums, typename Operation, typename Map>
  static void ReduceCells(int segments, int size, const Operation& op,
      const Map& map, Sums* sums) {
    const AddElements<Operation> add(op);
    AddUpCells(segments, size, map, [&](int begin, int end, Sums* one) {
      one->Clear();
      add(begin, end, one);
    }, sums);
  }
  template <typename Sums, typename Operation, typename Map>
  static void ReduceClassCells(int segments, int size, const Operation& op,
      const Map& map, Sums* sums) {
    AddUpCells(segments, size, map, [&](int begin, int end, Sums* some) {
      AddClasses(op, begin, end, map.classes, some);
    }, sums);
  }
  /// @brief Calls op(j) for the elements of all segments, in any order. CPU
  ///        threads replace op by op.OfRun(map, j, room), which is for elements
  ///        from j on whose cells are the same; room is for one Operation::Term
  ///        of each class.
  template <typename Operation, typename Map>
  static void ForEachInCells(int segments, int size, const Operation& op,
      const Map& map) {
    const Pieces pieces(segments, size);
    pieces.ForRuns([&](int first, int last) {
      const int end = pieces.End(last - 1);
      std::vector<typename Operation::Term> room(map.classes);
      for (int j = pieces.Begin(first), next = j; j < end; j = next) {
        next = map.EndOfRun(j, end);
        const Operation own = op.OfRun(map, j, room.data());
        if (!InVectors(own, j, next)) {
          for (int i = j; i < next; ++i) {
            own(i);
          }
        }
      }
    });
  }

 private:
  /// The sums of a cell of a class.
  template <typename Sums>
  struct OneCell {
    int number;
    Sums sums;
  };
  /// The sums of the cells that elements begin to end - 1 are in, from
  /// add(begin, end, sums of classes).
  template <typename Sums, typename Map, typename Add>
  static std::vector<OneCell<Sums> > CellsOf(const Map& map, const Add& add,
      int begin, int end) {
    std::vector<OneCell<Sums> > found;
    std::vector<int> place(static_cast<size_t>(map.classes) * map.most, -1);
    std::vector<Sums> run(map.classes);
    for (int j = begin, next = j; j < end; j = next) {
      next = map.EndOfRun(j, end);
      add(j, next, run.data());
      for (int c = 0; c < map.classes; ++c) {
        const int number = c * map.most + map.At(j, c);
        if (place[number] < 0) {
          place[number] = found.size();
          const OneCell<Sums> first = {number, run[c]};
          found.push_back(first);
        } else {
          found[place[number]].sums.Add(run[c]);
        }
      }
    }
    return found;
  }
  template <typename Sums, typename Map, typename Add>
  static void AddUpCells(int segments, int size, const Map& map,
      const Add& add, Sums* sums) {
    const Pieces pieces(segments, size);
    std::vector<std::vector<OneCell<Sums> > > parts(pieces.Parts());
    pieces.ForParts([&](int part, int begin, int end) {
      parts[part] = CellsOf<Sums>(map, add, begin, end);
    });
    const size_t each = static_cast<size_t>(map.classes) * map.most;
    for (size_t cell = 0; cell < segments * each; ++cell) {
      sums[cell].Clear();
    }
    for (size_t part = 0; part < parts.size(); ++part) {
      Sums* const own = sums + part / pieces.PartsOfSegment() * each;
      for (size_t k = 0; k < parts[part].size(); ++k) {
        own[parts[part][k].number].Add(parts[part][k].sums);
      }
    }
  }

  /// Adds up a run of elements.
  template <typename Operation>
  class AddElements {
   public:
    explicit AddElements(const Operation& op) : op_(op) {}
    template <typename Sums>
    void operator()(int begin, int end, Sums* sums) const {
      if (InVectors(op_, begin, end, sums)) {
        return;
      }
      for (int i = begin; i < end; ++i) {
        op_(i, sums);
      }
    }

   private:
    const Operation& op_;
  };

  /// Adds up the classes of a run of pixels of an image.
  template <typename Sums, typename Operation>
  static void AddClasses(const Operation& op, int begin, int end, int classes,
      Sums* sums) {
    for (int c = 0; c < classes; ++c) {
      sums[c].Clear();
    }
    if (ClassesInVectors(op, begin, end, sums)) {
      return;
    }
    for (int first = 0; first < classes; first += kClassesAtOnce) {
      Sums some[kClassesAtOnce];
      for (int k = 0; k < kClassesAtOnce; ++k) {
        some[k].Clear();
      }
      for (int j = begin; j < end; ++j) {
        op.template AddClasses<kClassesAtOnce>(j, first, some);
      }
      std::copy(some, some + std::min(kClassesAtOnce, classes - first),
          sums + first);
    }
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOOPS_CPU_HPP_
