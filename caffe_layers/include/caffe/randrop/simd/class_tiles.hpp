#ifndef CAFFE_RANDROP_SIMD_CLASS_TILES_HPP_
#define CAFFE_RANDROP_SIMD_CLASS_TILES_HPP_

#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/softmax.hpp"
#include "caffe/randrop/simd/lane_sums.hpp"
#include "caffe/randrop/simd/loops.hpp"
#include "caffe/randrop/simd/vector.hpp"

namespace caffe {
namespace randrop {
namespace {

/// The softmax of some neighbouring pixels, to be processed class by class.
class ClassTile {
 public:
  explicit ClassTile(int classes) : vectors_(0),
      room_(classes * kVectors <= kRoom ? kVectors : kRoom / classes) {}

  /// Whether a vector of pixels of that many classes fits.
  bool IsUsable() const { return room_ > 0; }
  bool IsFull() const { return vectors_ == room_; }
  int vectors() const { return vectors_; }
  void Clear() { vectors_ = 0; }

  /// Adds a vector of pixels; own is negative where a pixel takes no part.
  inline void Add(const SoftmaxPixel<Floats>& pixel, int classes, Ints own,
      Ints selected, Floats of_pixel) {
    for (int c = 0; c < classes; ++c) {
      probability_[c * room_ + vectors_] = pixel.Probability(c);
    }
    complement_[vectors_] = pixel.Complement();
    own_[vectors_] = own;
    selected_[vectors_] = selected;
    of_pixel_[vectors_] = of_pixel;
    ++vectors_;
  }
  inline Floats P(int c, int v) const { return probability_[c * room_ + v]; }
  /// 1 - p of the true class
  inline Floats Complement(int v) const { return complement_[v]; }
  inline Ints Own(int v) const { return own_[v]; }
  inline Ints Selected(int v) const { return selected_[v]; }
  inline Floats OfPixel(int v) const { return of_pixel_[v]; }

 private:
  // Sizes in vectors, of probabilities and of pixels; both fit the L1 cache.
  static const int kRoom = 4096 / RANDROP_LANES;
  static const int kVectors = 512 / RANDROP_LANES;

  int vectors_, room_;
  Floats probability_[kRoom], complement_[kVectors], of_pixel_[kVectors];
  Ints own_[kVectors], selected_[kVectors];
};

/// Adds pixels begin to end - 1 of an image to the sums of its classes, like
/// AddPixelToClasses: softmax by softmax into a tile, then class by class.
/// False if single precision is too short for the sums, which are then
/// arbitrary.
template <typename Operation, typename Sums>
inline bool OverClasses(const Operation& op, int begin, int end, Sums* sums) {
  const LossInput<float>& input = op.Input();
  ClassTile tile(input.classes);
  if (!tile.IsUsable()) {
    return false;
  }
  bool fits = true;
  const auto flush = [&]() {
    for (int c = 0; c < input.classes; ++c) {
      SettlingSums<Sums> sum;
      for (int v = 0; v < tile.vectors(); ++v) {
        sum.Add(op.template OfClass<Floats>(tile.P(c, v), tile.Complement(v),
            tile.Own(v) == c, tile.Selected(v), tile.OfPixel(v)),
            tile.Own(v) >= 0);
      }
      sum.lanes().AddTo(sums + c);
      fits = fits && sum.lanes().Fits();
    }
    tile.Clear();
  };
  Ints bad = Ints();
  const bool done = OverPixels(input, begin, end,
      [&](const LossInput<float>& in, const PixelAt& at, Ints inside) {
    const Ints own = in.Class<Floats>(at.j);
    bad |= inside & (own == static_cast<int>(PixelClass::BAD));
    const SoftmaxPixel<Floats> pixel(in, at.first, own);
    tile.Add(pixel, in.classes,
        inside ? own : Ints() + static_cast<int>(PixelClass::IGNORED),
        op.template Selected<Ints>(at.j), op.template OfPixel<Floats>(pixel));
    if (tile.IsFull()) {
      flush();
    }
  });
  if (done) {
    flush();
  }
  if (!fits) {
    return false;
  }
  for (int j = begin; done && Any(bad) && j < end; ++j) {
    if (input.Class<float>(j) == PixelClass::BAD) {
      sums[0].bad_label = FirstIndex(sums[0].bad_label, j);
      break;
    }
  }
  return done;
}

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_CLASS_TILES_HPP_
