#ifndef CAFFE_RANDROP_LOSSES_CLASSES_HPP_
#define CAFFE_RANDROP_LOSSES_CLASSES_HPP_

#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {
namespace randrop {

/**
 * @brief Adds pixel j of a softmax to the sums of its classes: those from
 *        `first` on, at most `most` of them. simd/class_tiles.hpp does the same
 *        for vectors.
 *
 * @param op op.Input(): logits and labels;
 *     op.Selected<Index>(j): a pixel's role, if the loss selects;
 *     op.OfPixel<Real>(pixel): a value of the pixel that each class gets;
 *     op.OfClass<Real>(p, complement, truth, selected, of_pixel): what the
 *     pixel adds to the sums of a class of which it has probability p. The
 *     complement is 1 - p of the true class.
 */
template <int most, typename Operation, typename Sums>
RANDROP_HOST_DEVICE inline void AddPixelToClasses(const Operation& op, int j,
    int first, Sums* sums) {
  typedef typename Operation::Number Number;
  typedef typename WideOf<Number>::Type Wide;
  const LossInput<Number>& in = op.Input();
  const int own = in.template Class<Number>(j);
  if (own == PixelClass::BAD) {
    sums[0].bad_label = FirstIndex(sums[0].bad_label, j);
  }
  if (own < 0) {
    return;
  }
  const SoftmaxPixel<Number> pixel(in, in.At(j).first, own);
  const int selected = op.template Selected<int>(j);
  const Wide of_pixel = op.template OfPixel<Number>(pixel);
  for (int k = 0; k < most; ++k) {
    const int c = first + k;
    if (c < in.classes) {
      sums[k].AddPart(op.template OfClass<Number>(pixel.Probability(c),
          pixel.Complement(), c == own, selected, of_pixel), j);
    }
  }
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_CLASSES_HPP_
