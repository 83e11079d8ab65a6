#ifndef CAFFE_RANDROP_SIMD_LOOPS_HPP_
#define CAFFE_RANDROP_SIMD_LOOPS_HPP_

#include "caffe/randrop/math/softmax.hpp"
#include "caffe/randrop/simd/vector.hpp"

// Loops over vectors. Each file that includes this has its own copy, for its
// instruction set: hence the unnamed namespace.
namespace caffe {
namespace randrop {
namespace {

/// Whether elements begin to end - 1 fill a vector in each area that they
/// touch, so that no vector reaches beyond them: other threads may own the
/// neighbours.
inline bool FillVectors(int area, int begin, int end) {
  const int next = (begin / area + 1) * area;
  const int last = (end - 1) / area * area;
  return area >= RANDROP_LANES && begin < end &&
      (end < next ? end : next) - begin >= RANDROP_LANES &&
      end - (last > begin ? last : begin) >= RANDROP_LANES;
}

/// Calls body(number, first, inside) for vectors of elements begin to end - 1.
/// No vector crosses a multiple of area; the multiple before it is number *
/// area. The last vector of an area may overlap the one before: `inside` marks
/// its new elements, and the others are rewritten with the same values. Returns
/// false and does nothing if some area has no full vector; loops/pieces.hpp
/// ensures that each has one.
template <typename Body>
inline bool OverAreas(int area, int begin, int end, const Body& body) {
  if (!FillVectors(area, begin, end)) {
    return false;
  }
  while (begin < end) {
    const int number = begin / area, start = number * area;
    const int last = end - start < area ? end : start + area;
    // A single call, so that the compiler inlines the body.
    for (int i = begin; i < last; i += RANDROP_LANES) {
      int first = i;
      Ints inside = Ints() - 1;
      if (i + RANDROP_LANES > last) {
        first = last - RANDROP_LANES;
        const Ints index = Numbers() + first;
        inside = (index >= i) & (index < last);
      }
      body(number, first, inside);
    }
    begin = last;
  }
  return true;
}

/// The same for elements without area borders.
template <typename Body>
inline bool OverElements(int begin, int end, const Body& body) {
  if (end - begin < RANDROP_LANES) {
    return false;
  }
  for (int i = begin; i < end; i += RANDROP_LANES) {
    const int first = i + RANDROP_LANES <= end ? i : end - RANDROP_LANES;
    body(first, Numbers() + first >= i);
  }
  return true;
}

/// Calls body(input, at, inside) for vectors of softmax pixels, like OverAreas.
/// It is compiled separately for each usual number of classes, to keep the
/// values of the classes in registers.
template <typename Body>
inline bool OverPixels(LossInput<float> input, int begin, int end,
    const Body& body) {
#define RANDROP_OVER_PIXELS \
  OverAreas(input.area, begin, end, [&](int image, int j, Ints inside) { \
    const PixelAt at = \
        {image, j, j + image * (input.classes - 1) * input.area}; \
    body(input, at, inside); \
  })
#define RANDROP_CASE(number) \
  case number: \
    input.classes = number; \
    return RANDROP_OVER_PIXELS
  switch (input.classes) {
  RANDROP_CASE(2);
  RANDROP_CASE(3);
  RANDROP_CASE(4);
  RANDROP_CASE(5);
  default:
    return RANDROP_OVER_PIXELS;
  }
#undef RANDROP_CASE
#undef RANDROP_OVER_PIXELS
}

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_LOOPS_HPP_
