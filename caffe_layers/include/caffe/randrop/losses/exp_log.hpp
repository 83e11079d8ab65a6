#ifndef CAFFE_RANDROP_LOSSES_EXP_LOG_HPP_
#define CAFFE_RANDROP_LOSSES_EXP_LOG_HPP_

#include <cmath>

#include "caffe/randrop/losses/classes.hpp"
#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/losses/visits.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {
namespace randrop {

/// @brief Lower bound on -ln when the exponent is below 1: the derivative of
///        the power is unbounded towards 0.
const double kLeastLog = 1e-7;

/// @brief value^gamma of a value such as -ln p.
template <typename Real>
RANDROP_HOST_DEVICE inline Real ExpLogPower(Real value,
    typename ScalarOf<Real>::Type gamma) {
  const typename ScalarOf<Real>::Type least = kLeastLog;
  return PowOf(gamma < 1 ? (value < least ? Real() + least : value) : value,
      gamma);
}

/// @brief Its derivative; 0 where the value is clamped.
template <typename Real>
RANDROP_HOST_DEVICE inline Real ExpLogPowerDiff(Real value,
    typename ScalarOf<Real>::Type gamma) {
  const typename ScalarOf<Real>::Type least = kLeastLog;
  const Real slope = gamma * PowOf(value, gamma - 1);
  return gamma < 1 ? (value < least ? Real() : slope) : slope;
}

/// @brief What a pixel adds to ExpLogSums.
template <typename Real>
struct ExpLogPart {
  Real p, complement;
  typename IndexOf<Real>::Type truth;  // whether the class is its own
  typename WideOf<Real>::Type power;   // (-ln p)^gamma of its own class
};

/**
 * @brief The sums of one class of one image for D = (2 overlap + epsilon) /
 *        (2 overlap + error + epsilon): -ln D = log1p(error / (2 overlap +
 *        epsilon)) stays accurate where D is near 1.
 */
struct ExpLogSums {
  double overlap;  // sum of p over the class's own pixels
  double error;    // sum of 1 - p over them and of p over the others
  double cross;    // sum of (-ln p)^gamma over the class's own pixels
  int own;         // number of the class's own pixels
  int bad_label;   // index of the first invalid label; -1: none

  RANDROP_HOST_DEVICE inline void Clear() {
    overlap = error = cross = 0;
    own = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const ExpLogSums& other) {
    overlap += other.overlap;
    error += other.error;
    cross += other.cross;
    own += other.own;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  /// Adds a pixel.
  template <typename Real>
  RANDROP_HOST_DEVICE inline void AddPart(const ExpLogPart<Real>& part, int) {
    if (part.truth) {
      ++own;
      overlap += part.p;
      error += part.complement;
      cross += part.power;
    } else {
      error += part.p;
    }
  }
};

/// @brief Adds pixels to the sums of their classes.
template <typename Dtype>
struct SumExpLog {
  typedef Dtype Number;
  LossInput<Dtype> input;
  double gamma_cross;

  RANDROP_HOST_DEVICE inline const LossInput<Dtype>& Input() const {
    return input;
  }
  template <typename Index>
  RANDROP_HOST_DEVICE inline Index Selected(int) const {
    return All<Index>();
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline typename WideOf<Real>::Type OfPixel(
      const SoftmaxPixel<Real>& pixel) const {
    return ExpLogPower<typename WideOf<Real>::Type>(pixel.CrossEntropy(),
        gamma_cross);
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline ExpLogPart<Real> OfClass(Real p, Real complement,
      typename IndexOf<Real>::Type truth, typename IndexOf<Real>::Type,
      typename WideOf<Real>::Type power) const {
    const ExpLogPart<Real> part = {p, complement, truth, power};
    return part;
  }
  template <int most>
  RANDROP_HOST_DEVICE inline void AddClasses(int j, int first, ExpLogSums* sums)
      const {
    AddPixelToClasses<most>(*this, j, first, sums);
  }
};

/// @brief The contribution of a class of an image to the Dice term, and its
///        slopes with respect to p for the class's own pixels and for others.
template <typename Number>
struct ExpLogTerm {
  double loss;
  Number by_own, by_others;
};

/// @brief Counts the images that are not entirely ignored.
struct CountExpLogImages {
  const ExpLogSums* sums;
  int classes;

  RANDROP_HOST_DEVICE inline void operator()(
      int image, GroupTally* tally) const {
    bool any = false;
    for (int c = 0; c < classes; ++c) {
      any |= sums[image * classes + c].own > 0;
    }
    tally->groups += any;
  }
};

/// @brief Writes the terms; with batch, sums run over all images.
template <typename Dtype>
struct WriteExpLogTerm {
  const ExpLogSums* sums;
  const GroupTally* tally;  // counts images
  int images, classes;
  bool batch;
  double epsilon, gamma, weight;
  ExpLogTerm<Dtype>* terms;

  RANDROP_HOST_DEVICE inline void operator()(int group) const {
    ExpLogSums whole;
    whole.Clear();
    int pixels = 0;
    for (int n = batch ? 0 : group / classes;
         n < (batch ? images : group / classes + 1); ++n) {
      whole.Add(sums[n * classes + group % classes]);
      for (int c = 0; c < classes; ++c) {
        pixels += sums[n * classes + c].own;
      }
    }
    ExpLogTerm<Dtype> term = {0, 0, 0};
    // An entirely ignored image has no loss and is not in the mean.
    if (pixels > 0) {
      const double overlap = 2 * whole.overlap + epsilon;
      const double value = log1p(whole.error / overlap);
      const double share = weight / classes / (batch ? 1 : tally->groups);
      term.loss = batch && group >= classes ? 0 :
          share * ExpLogPower(value, gamma);
      const double slope = share * ExpLogPowerDiff(value, gamma);
      const double by_others = slope / (overlap + whole.error);
      term.by_others = by_others;
      term.by_own = by_others - slope * 2 / overlap;
    }
    terms[group] = term;
  }
};

/// @brief Writes the weight of a class, (sum f / f_l)^0.5, from the given
///        frequencies or from the counts.
template <typename Dtype>
struct WriteClassWeight {
  const double* frequency;  // or NULL
  const ExpLogSums* sums;
  int images, classes;
  Dtype* weights;

  RANDROP_HOST_DEVICE inline double Frequency(int c) const {
    if (frequency) {
      return frequency[c];
    }
    double own = 0;
    for (int n = 0; n < images; ++n) {
      own += sums[n * classes + c].own;
    }
    return own;
  }
  RANDROP_HOST_DEVICE inline void operator()(int own) const {
    using std::sqrt;
    double all = 0;
    for (int c = 0; c < classes; ++c) {
      all += Frequency(c);
    }
    const double f = Frequency(own);
    weights[own] = f > 0 ? sqrt(all / f) : 0;
  }
};

/// @brief The totals over the groups.
struct ExpLogTotal {
  double dice, cross;
  int pixels;
  int bad_label;  // as in ExpLogSums

  RANDROP_HOST_DEVICE inline void Clear() {
    dice = cross = 0;
    pixels = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const ExpLogTotal& other) {
    dice += other.dice;
    cross += other.cross;
    pixels += other.pixels;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
};

/// @brief Adds the groups up.
template <typename Dtype>
struct SumExpLogTerms {
  const ExpLogSums* sums;
  const ExpLogTerm<Dtype>* terms;
  const Dtype* weights;
  int classes;

  RANDROP_HOST_DEVICE inline void operator()(int group, ExpLogTotal* total)
      const {
    total->dice += terms[group].loss;
    total->cross += weights[group % classes] *
        AtMostFinite<double>(sums[group].cross);
    total->pixels += sums[group].own;
    total->bad_label = FirstIndex(total->bad_label, sums[group].bad_label);
  }
};

/// @brief The slopes of the Dice term with respect to a pixel's probabilities.
template <typename Real>
struct ExpLogSlopes {
  const ExpLogTerm<typename ScalarOf<Real>::Type>* terms;  // of its image
  typename IndexOf<Real>::Type own;

  RANDROP_HOST_DEVICE inline Real operator()(int c) const {
    return own == c ? Real() + terms[c].by_own : Real() + terms[c].by_others;
  }
};

/// @brief Writes the gradient of both terms.
template <typename Dtype>
struct WriteExpLogDiff {
  typedef ByPixel Visits;
  LossInput<Dtype> input;
  const ExpLogTerm<Dtype>* terms;
  const Dtype* weights;
  double gamma_cross;
  double cross;  // weight of the cross term / number of pixels
  Dtype scale;
  Dtype* diff;

  RANDROP_HOST_DEVICE inline const LossInput<Dtype>& Input() const {
    return input;
  }
  template <typename Real>
  RANDROP_HOST_DEVICE inline void At(const LossInput<Dtype>& in,
      const PixelAt& at) const {
    typedef typename IndexOf<Real>::Type Index;
    typedef typename WideOf<Real>::Type Wide;
    const Index own = in.template Class<Real>(at.j);
    const SoftmaxPixel<Real> pixel(in, at.first, own);
    const ExpLogSlopes<Real> slope = {terms + at.image * in.classes, own};
    const SoftmaxSlopes<Real> slopes(pixel, in.classes, slope);
    const typename ScalarOf<Wide>::Type each = cross;
    const Real factor = AtMostFinite<Real>(
        each * OfOwnClass<Real>(weights, in.classes, own) *
        AtMostFinite<Wide>(
            ExpLogPowerDiff<Wide>(pixel.CrossEntropy(), gamma_cross)));
    for (int c = 0, i = at.first; c < in.classes; ++c, i += in.area) {
      StoreAs(Where(own >= 0, scale * (slopes.Diff(pixel, c, slope(c)) +
          factor * pixel.CrossEntropyDiff(c))), diff + i);
    }
  }
  RANDROP_HOST_DEVICE inline void operator()(int j) const {
    At<Dtype>(input, input.At(j));
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_EXP_LOG_HPP_
