#ifndef CAFFE_UTIL_EXP_LOG_HPP_
#define CAFFE_UTIL_EXP_LOG_HPP_

#include <cmath>

#include "caffe/util/class_balance.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/softmax_pixel.hpp"

namespace caffe {

/// @brief The least value of -ln that an exponent below 1 is put on: its
///        derivative grows without bound towards 0.
const double kLeastLog = 1e-7;

/// @brief value^gamma of a value of -ln.
template <typename Real>
CAFFE_HOST_DEVICE inline Real ExpLogPower(Real value,
    typename ScalarOf<Real>::Type gamma) {
  const typename ScalarOf<Real>::Type least = kLeastLog;
  return PowOf(gamma < 1 ? (value < least ? Real() + least : value) : value,
      gamma);
}

/// @brief Its derivative, 0 where the value is held.
template <typename Real>
CAFFE_HOST_DEVICE inline Real ExpLogPowerDiff(Real value,
    typename ScalarOf<Real>::Type gamma) {
  const typename ScalarOf<Real>::Type least = kLeastLog;
  const Real slope = gamma * PowOf(value, gamma - 1);
  return gamma < 1 ? (value < least ? Real() : slope) : slope;
}

/**
 * @brief The sums of one class of one image for D = (2 overlap + epsilon) /
 *        (2 overlap + error + epsilon): -ln D = log1p(error / (2 overlap +
 *        epsilon)) is accurate where D is near 1.
 */
struct ExpLogSums {
  double overlap;  // sum of p over the class's own pixels
  double error;    // sum of 1 - p over those, and of p over the others
  int own;         // how many those are

  CAFFE_HOST_DEVICE inline void Clear() {
    overlap = error = 0;
    own = 0;
  }
  CAFFE_HOST_DEVICE inline void Add(const ExpLogSums& other) {
    overlap += other.overlap;
    error += other.error;
    own += other.own;
  }
};

/// @brief Adds up the sums of a class of an image, element i of N x C x area.
template <typename Dtype>
struct SumExpLog {
  SoftmaxInput<Dtype> input;
  const Dtype* probability;
  const unsigned char* selection;

  CAFFE_HOST_DEVICE inline void operator()(int i, ExpLogSums* sums) const {
    const int j = i / (input.classes * input.area) * input.area +
        i % input.area;
    if (selection[j] == IGNORED) {
      return;
    }
    if (input.label[j] != i / input.area % input.classes) {
      sums->error += probability[i];
      return;
    }
    ++sums->own;
    sums->overlap += probability[i];
    // 1 - p, exactly where p is all but 1
    for (int c = 0, k = input.Offset(j); c < input.classes;
         ++c, k += input.area) {
      sums->error += k == i ? 0 : probability[k];
    }
  }
};

/// @brief What a class of an image adds to the Dice term, and the slopes of
///        that by the probabilities of its own pixels and of the others.
struct ExpLogTerm {
  double loss;
  double by_own, by_others;

  CAFFE_HOST_DEVICE inline void Clear() { loss = by_own = by_others = 0; }
  CAFFE_HOST_DEVICE inline void Add(const ExpLogTerm& other) {
    loss += other.loss;
  }
};

/// @brief Writes the terms; with batch, sums run over all images.
struct WriteExpLogTerm {
  const ExpLogSums* sums;
  int images, classes;
  bool batch;
  double epsilon, gamma, weight;
  ExpLogTerm* terms;

  CAFFE_HOST_DEVICE inline void operator()(int group) const {
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
    ExpLogTerm term;
    term.Clear();
    // Where all is ignored, there is no loss.
    if (pixels > 0) {
      const double overlap = 2 * whole.overlap + epsilon;
      const double value = log1p(whole.error / overlap);
      const double share = weight / classes / (batch ? 1 : images);
      term.loss = batch && group >= classes ? 0 :
          share * ExpLogPower(value, gamma);
      const double slope = share * ExpLogPowerDiff(value, gamma);
      term.by_others = slope / (overlap + whole.error);
      term.by_own = term.by_others - slope * 2 / overlap;
    }
    terms[group] = term;
  }
};

/// @brief Adds the terms up.
struct SumExpLogTerms {
  const ExpLogTerm* terms;

  CAFFE_HOST_DEVICE inline void operator()(int group, ExpLogTerm* total)
      const {
    total->Add(terms[group]);
  }
};

/// @brief Writes the weight of a class, (sum f / f_l)^0.5: of the frequencies
///        that are given, or of the counts.
struct WriteClassWeight {
  const double* frequency;  // or NULL
  const ExpLogSums* sums;
  int images, classes;
  double* weights;

  CAFFE_HOST_DEVICE inline double Frequency(int c) const {
    if (frequency) {
      return frequency[c];
    }
    double own = 0;
    for (int n = 0; n < images; ++n) {
      own += sums[n * classes + c].own;
    }
    return own;
  }
  CAFFE_HOST_DEVICE inline void operator()(int own) const {
    using std::sqrt;
    double all = 0;
    for (int c = 0; c < classes; ++c) {
      all += Frequency(c);
    }
    const double f = Frequency(own);
    weights[own] = f > 0 ? sqrt(all / f) : 0;
  }
};

/// @brief Adds up the cross term.
template <typename Dtype>
struct SumExpLogCross {
  SoftmaxInput<Dtype> input;
  const Dtype* cross_entropy;
  const unsigned char* selection;
  const double* weights;
  double gamma;

  CAFFE_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    if (selection[j] != IGNORED) {
      ++sums->taking_part;
      sums->loss += weights[static_cast<int>(input.label[j])] *
          ExpLogPower<double>(cross_entropy[j], gamma);
    }
  }
};

/// @brief The slopes of the Dice term by the probabilities of a pixel.
struct ExpLogSlopes {
  const ExpLogTerm* terms;
  int area;
  int own;

  CAFFE_HOST_DEVICE inline double operator()(int i, int c) const {
    const ExpLogTerm& term = terms[i / area];
    return c == own ? term.by_own : term.by_others;
  }
};

/// @brief Writes the gradient of both terms for pixel j.
template <typename Dtype>
struct WriteExpLogDiff {
  SoftmaxInput<Dtype> input;
  const Dtype* probability;
  const unsigned char* selection;
  const ExpLogTerm* terms;
  const double* weights;
  double gamma_cross;
  double cross;  // weight of the cross term over the number of pixels
  Dtype scale;
  Dtype* diff;

  CAFFE_HOST_DEVICE inline void operator()(int j) const {
    if (selection[j] == IGNORED) {
      ClearPixel(input, j, diff);
      return;
    }
    const int own = static_cast<int>(input.label[j]);
    const ExpLogSlopes slopes = {terms, input.area, own};
    WriteSoftmaxDiff(input, j, probability, slopes, scale, diff);
    const SoftmaxPixel<Dtype> pixel(input, j, own);
    const Dtype factor = scale * cross * weights[own] *
        ExpLogPowerDiff<double>(pixel.CrossEntropy(), gamma_cross);
    for (int c = 0, i = input.Offset(j); c < input.classes;
         ++c, i += input.area) {
      diff[i] += factor * pixel.CrossEntropyDiff(c);
    }
  }
};

}  // namespace caffe

#endif  // CAFFE_UTIL_EXP_LOG_HPP_
