#ifndef CAFFE_RANDROP_SIMD_CLASS_TILES_HPP_
#define CAFFE_RANDROP_SIMD_CLASS_TILES_HPP_

#include "caffe/randrop/math/softmax.hpp"
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
      Ints selected, Floats extra) {
    for (int c = 0; c < classes; ++c) {
      probability_[c * room_ + vectors_] = pixel.Probability(c);
    }
    complement_[vectors_] = pixel.Complement();
    own_[vectors_] = own;
    selected_[vectors_] = selected;
    extra_[vectors_] = extra;
    ++vectors_;
  }
  inline Floats P(int c, int v) const { return probability_[c * room_ + v]; }
  /// 1 - p of the true class
  inline Floats Complement(int v) const { return complement_[v]; }
  inline Ints Own(int v) const { return own_[v]; }
  inline Ints Selected(int v) const { return selected_[v]; }
  inline Floats Extra(int v) const { return extra_[v]; }

 private:
  // Sizes in vectors, of probabilities and of pixels; both fit the L1 cache.
  static const int kRoom = 4096 / RANDROP_LANES;
  static const int kVectors = 512 / RANDROP_LANES;

  int vectors_, room_;
  Floats probability_[kRoom], complement_[kVectors], extra_[kVectors];
  Ints own_[kVectors], selected_[kVectors];
};

/// Adds pixels begin to end - 1 of an image to the sums of its classes:
/// add_pixels(input, j, pixel, own, &tile) adds a vector to a tile;
/// add_class(tile, c, &sums) then adds the tile's pixels to the sums of class
/// c. Counts the labels.
template <typename AddPixels, typename AddClass, typename Sums>
inline bool OverClasses(const LossInput<float>& input, int begin, int end,
    Sums* sums, LabelCount* count, const AddPixels& add_pixels,
    const AddClass& add_class) {
  ClassTile tile(input.classes);
  if (!tile.IsUsable()) {
    return false;
  }
  const auto flush = [&]() {
    for (int c = 0; c < input.classes; ++c) {
      add_class(tile, c, sums + c);
    }
    tile.Clear();
  };
  const bool done = OverPixels(input, begin, end,
      [&](const LossInput<float>& in, const PixelsAt& at) {
    const Ints own = Classes(in, at.j);
    count->Add(at.inside & (own >= 0),
        own > static_cast<int>(PixelClass::BAD));
    add_pixels(in, at.j, SoftmaxPixel<Floats>::At(in, at.first, own),
        at.inside ? own : Ints() + static_cast<int>(PixelClass::IGNORED),
        &tile);
    if (tile.IsFull()) {
      flush();
    }
  });
  if (done) {
    flush();
    if (count->AnyBad()) {
      FindBadClass(input, begin, end, sums);
    }
  }
  return done;
}

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_CLASS_TILES_HPP_
