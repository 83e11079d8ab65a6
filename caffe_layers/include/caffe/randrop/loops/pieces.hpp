#ifndef CAFFE_RANDROP_LOOPS_PIECES_HPP_
#define CAFFE_RANDROP_LOOPS_PIECES_HPP_

#include <algorithm>
#include <vector>

#include "caffe/randrop/loops/parallel.hpp"

namespace caffe {
namespace randrop {

/// Typical and largest number of elements that a thread takes at a time.
const int kPiece = 1 << 13;
const int kLargestPiece = kPiece + kPiece / 2;

/**
 * @brief Splits segments of neighbouring elements (segment s covers the indices
 *        from s * size on) among threads. A part never crosses a segment
 *        border. A piece is a task: one part of a large segment, or some small
 *        segments whole.
 *
 * A part is a whole segment or has at least kPiece / 2 elements: if a segment
 * fills a vector, so does each part, without elements of its neighbours.
 */
class Pieces {
 public:
  Pieces(int segments, int size) : segments_(segments), size_(size),
      parts_(std::max(1, size / kPiece + (size % kPiece >= kPiece / 2))),
      together_(std::max(1, kPiece / std::max(1, size))) {}

  /// @brief Number of parts in a segment and in all; the parts of segment s
  ///        begin at s * PartsOfSegment().
  int PartsOfSegment() const { return parts_; }
  int Parts() const { return segments_ * parts_; }
  int segments() const { return segments_; }

  int Begin(int part) const {
    return part / parts_ * size_ + part % parts_ * kPiece;
  }
  int End(int part) const {
    return part % parts_ == parts_ - 1 ? (part / parts_ + 1) * size_ :
        Begin(part) + kPiece;
  }

  /// @brief Calls pass(first, last) for runs of neighbouring parts, from first
  ///        to last - 1, on all threads; in one loop, so that there is a single
  ///        wait for all segments.
  template <typename Pass>
  void ForRuns(const Pass& pass) const {
    InRuns(Parts(), parts_ > 1 ? 1 : together_, pass);
  }
  /// @brief Calls pass(part, begin, end) for each part.
  template <typename Pass>
  void ForParts(const Pass& pass) const {
    ForRuns([&](int first, int last) {
      for (int part = first; part < last; ++part) {
        pass(part, Begin(part), End(part));
      }
    });
  }
  /// @brief Calls pass(segment) once for each segment.
  template <typename Pass>
  void ForSegments(const Pass& pass) const {
    InRuns(segments_, together_, [&](int first, int last) {
      for (int segment = first; segment < last; ++segment) {
        pass(segment);
      }
    });
  }

  /// @brief Calls pass(begin, end, &sums) for each part and adds up the sums of
  ///        each segment in the order of its parts, so that the result does not
  ///        depend on the number of threads.
  template <typename Sums, typename Pass>
  void Reduce(const Pass& pass, Sums* totals) const {
    std::vector<Sums> several(parts_ > 1 ? Parts() : 0);
    Sums* const sums = parts_ > 1 ? several.data() : totals;
    ForParts([&](int part, int begin, int end) {
      sums[part] = SumsOf<Sums>(pass, begin, end);
    });
    if (parts_ > 1) {
      for (int segment = 0; segment < segments_; ++segment) {
        AddUp(sums + segment * parts_, parts_, totals + segment);
      }
    }
  }
  /// @brief The same for all segments together.
  template <typename Sums, typename Pass>
  void ReduceAll(const Pass& pass, Sums* total) const {
    const int each = parts_ > 1 ? 1 : together_;
    std::vector<Sums> sums(Runs(Parts(), each));
    ForRuns([&](int first, int last) {
      sums[first / each] = SumsOf<Sums>(pass, Begin(first), End(last - 1));
    });
    AddUp(sums.data(), sums.size(), total);
  }

 private:
  template <typename Pass>
  static void InRuns(int count, int each, const Pass& pass) {
    ParallelFor(Runs(count, each), [&](int run) {
      const int first = run * each;
      pass(first, first + std::min(each, count - first));
    });
  }
  static int Runs(int count, int each) {
    return count / each + (count % each > 0);
  }
  /// Sums in a local variable: other threads write the neighbouring totals.
  template <typename Sums, typename Pass>
  static Sums SumsOf(const Pass& pass, int begin, int end) {
    Sums sums;
    sums.Clear();
    pass(begin, end, &sums);
    return sums;
  }
  template <typename Sums>
  static void AddUp(const Sums* sums, int count, Sums* total) {
    total->Clear();
    for (int i = 0; i < count; ++i) {
      total->Add(sums[i]);
    }
  }

  int segments_, size_, parts_, together_;
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOOPS_PIECES_HPP_
