#ifndef CAFFE_RANDROP_LOSSES_CROSS_ENTROPY_HPP_
#define CAFFE_RANDROP_LOSSES_CROSS_ENTROPY_HPP_

#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/losses/visits.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/sigmoid.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {
namespace randrop {

/// @brief Writes sigmoid elements' cross-entropy and whether they take part.
template <typename Dtype>
struct SigmoidCrossEntropy {
  typedef ByElement Visits;
  LossInput<Dtype> input;
  Dtype* cross_entropy;
  unsigned char* selection;

  template <typename Real>
  RANDROP_HOST_DEVICE inline PixelPart<Real> At(int i) const {
    typedef typename IndexOf<Real>::Type Index;
    const BinaryLabel<Real> own(LoadAs<Real>(input.label + i),
        input.has_ignore_label, input.ignore_label);
    const Real x = LoadAs<Real>(input.logits + i);
    const SigmoidPixel<Real> pixel =
        SigmoidPixel<Real>::Shown(own.positive ? -x : x);
    StoreAs(Where(own.Valid(), pixel.NegativeLoss()), cross_entropy + i);
    StoreBytes(own.Valid() ? Index() + static_cast<int>(Role::SELECTED) :
        Index() + static_cast<int>(Role::IGNORED), selection + i);
    // Invalid labels are found elsewhere.
    const PixelPart<Real> part = {Real(), own.Valid(), Index()};
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int i, PixelSums* sums) const {
    sums->AddPart(At<Dtype>(i), i);
  }
};

/// @brief Writes pixels' cross-entropy and whether they may be selected.
template <typename Dtype>
struct SoftmaxCrossEntropy {
  typedef ByPixel Visits;
  LossInput<Dtype> input;
  Dtype* cross_entropy;
  unsigned char* selection;

  RANDROP_HOST_DEVICE inline const LossInput<Dtype>& Input() const {
    return input;
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline PixelPart<Real> At(const LossInput<Dtype>& in,
      const PixelAt& at) const {
    typedef typename IndexOf<Real>::Type Index;
    const Index own = in.template Class<Real>(at.j);
    const Index valid = own >= 0;
    const SoftmaxPixel<Real> pixel(in, at.first, own);
    StoreAs(Where(valid, pixel.CrossEntropy()), cross_entropy + at.j);
    StoreBytes(valid ? Index() + static_cast<int>(Role::LEFT_OUT) :
        Index() + static_cast<int>(Role::IGNORED), selection + at.j);
    const PixelPart<Real> part = {Real(), valid,
        Is(own, static_cast<int>(PixelClass::BAD))};
    return part;
  }
  RANDROP_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    sums->AddPart(At<Dtype>(input, input.At(j)), j);
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_CROSS_ENTROPY_HPP_
