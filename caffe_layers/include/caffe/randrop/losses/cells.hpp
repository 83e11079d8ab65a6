#ifndef CAFFE_RANDROP_LOSSES_CELLS_HPP_
#define CAFFE_RANDROP_LOSSES_CELLS_HPP_

#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"

namespace caffe {
namespace randrop {

/**
 * @brief The cell of each logit: a part of its class in its image, numbered
 *        from 0. Segments of `area` pixels have `classes` maps of their own: a
 *        segment is an image of a softmax, or a channel of a sigmoid, with one.
 */
template <typename Dtype>
struct CellMap {
  const Dtype* cells;
  int classes, area;
  int most;  // cells of a class in a segment

  /// The logit of class c of pixel j.
  RANDROP_HOST_DEVICE inline int Logit(int j, int c) const {
    return j + (j / area * (classes - 1) + c) * area;
  }
  /// The cell of pixel j in class c.
  RANDROP_HOST_DEVICE inline int At(int j, int c) const {
    return static_cast<int>(cells[Logit(j, c)]);
  }
  /// The first pixel after j, at most end, that is in another cell of some
  /// class, or in another segment.
  inline int EndOfRun(int j, int end) const {
    const int border = (j / area + 1) * area;
    int length = (end < border ? end : border) - j;
    for (int c = 0; c < classes; ++c) {
      const Dtype* const own = cells + Logit(j, c);
      int same = 1;
      while (same < length && own[same] == *own) {
        ++same;
      }
      length = same;
    }
    return j + length;
  }
};

/// @brief The largest number of a cell, and the first that is none.
struct CellNumbers {
  int largest;
  int bad;  // index of the first invalid number; -1: none

  RANDROP_HOST_DEVICE inline void Clear() {
    largest = 0;
    bad = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const CellNumbers& other) {
    largest = largest < other.largest ? other.largest : largest;
    bad = FirstIndex(bad, other.bad);
  }
};

/// @brief Finds them: numbers are whole, from 0 to area - 1.
template <typename Dtype>
struct CheckCells {
  const Dtype* cells;
  int area;

  RANDROP_HOST_DEVICE inline void operator()(int i, CellNumbers* numbers)
      const {
    const Dtype value = cells[i];
    const bool in_range = value >= 0 && value < static_cast<Dtype>(area);
    const int whole = in_range ? static_cast<int>(value) : 0;
    const CellNumbers own = {whole,
        in_range && static_cast<Dtype>(whole) == value ? -1 : i};
    numbers->Add(own);
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_CELLS_HPP_
