#ifndef CAFFE_UTIL_DICE_HPP_
#define CAFFE_UTIL_DICE_HPP_

#include "caffe/util/class_balance.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/logistic.hpp"
#include "caffe/util/softmax_pixel.hpp"

namespace caffe {

/// @brief Writes the probabilities of a softmax pixel, its cross-entropy if
///        asked for, and whether it takes part.
template <typename Dtype>
struct SoftmaxProbabilities {
  SoftmaxInput<Dtype> input;
  Dtype* probability;    // N x C x area
  Dtype* cross_entropy;  // of each label, or NULL
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline void operator()(int j, PixelSums* sums) const {
    const int own = input.Class(j);
    selection[j] = IGNORED;
    if (!sums->Count(own, j)) {
      ClearPixel(input, j, probability);
      if (cross_entropy) {
        cross_entropy[j] = 0;
      }
      return;
    }
    selection[j] = POSITIVE;
    const SoftmaxPixel<Dtype> pixel(input, j, own);
    for (int c = 0, i = input.Offset(j); c < input.classes;
         ++c, i += input.area) {
      probability[i] = pixel.Probability(c);
    }
    if (cross_entropy) {
      cross_entropy[j] = pixel.CrossEntropy();
    }
  }
};

/// @brief The same for elements of a sigmoid.
template <typename Dtype>
struct SigmoidProbabilities {
  SoftmaxInput<Dtype> input;
  Dtype* probability;
  Dtype* cross_entropy;
  unsigned char* selection;

  CAFFE_HOST_DEVICE inline void operator()(int i, PixelSums* sums) const {
    const int own = LabelClass(input.label[i], input.has_ignore_label,
        input.ignore_label);
    selection[i] = IGNORED;
    probability[i] = 0;
    if (cross_entropy) {
      cross_entropy[i] = 0;
    }
    if (own == POSITIVE || own == NEGATIVE) {
      ++sums->taking_part;
      selection[i] = POSITIVE;
      probability[i] = Logistic(input.logits[i]);
      if (cross_entropy) {
        cross_entropy[i] = SelectedLoss(own, input.logits[i]);
      }
    } else if (own != IGNORED) {
      sums->bad_label = FirstIndex(sums->bad_label, i);
    }
  }
};

/**
 * @brief The sums of Dice's D = (2 overlap + s) / (size + s), with which 1 - D =
 *        error / (size + s): no difference of large numbers at either end.
 */
struct DiceSums {
  double error;    // sum (p - y)^2; without squares sum |p - y|
  double size;     // sum p^2 + y^2; without squares sum p + y
  double overlap;  // sum p y

  CAFFE_HOST_DEVICE inline void Clear() { error = size = overlap = 0; }
  CAFFE_HOST_DEVICE inline void Add(const DiceSums& other) {
    error += other.error;
    size += other.size;
    overlap += other.overlap;
  }
};

/// @brief What a group, one class of one image or of the batch, adds: to the
///        loss, and to the gradient by the slopes of its sums.
struct DiceTerm {
  double loss;
  double by_error, by_size;
  double by_both;  // their sum, which is near 0 where D is

  CAFFE_HOST_DEVICE inline void Clear() {
    loss = by_error = by_size = by_both = 0;
  }
  CAFFE_HOST_DEVICE inline void Add(const DiceTerm& other) {
    loss += other.loss;
  }
};

/// @brief Probabilities, truth, and the elements that the sums run over.
template <typename Dtype>
struct DiceInput {
  SoftmaxInput<Dtype> input;
  bool softmax;
  bool squared;
  /// Elements of a class that were not selected still count for the others.
  bool foreground;
  const Dtype* probability;
  const unsigned char* selection;

  /// The label of element i of N x C x area.
  CAFFE_HOST_DEVICE inline int Label(int i) const {
    return !softmax ? i :
        i / (input.classes * input.area) * input.area + i % input.area;
  }
  CAFFE_HOST_DEVICE inline bool Truth(int i, int j) const {
    return input.label[j] == (softmax ? i / input.area % input.classes : 1);
  }
  CAFFE_HOST_DEVICE inline bool TakesPart(int j, bool truth) const {
    return selection[j] == POSITIVE ||
        (foreground && selection[j] == LEFT_OUT && !truth);
  }
  /// The derivative of a group's loss by the probability of element i.
  CAFFE_HOST_DEVICE inline double Slope(int i, int j, const DiceTerm* terms)
      const {
    const bool truth = Truth(i, j);
    if (!TakesPart(j, truth)) {
      return 0;
    }
    const DiceTerm& term = terms[i / input.area];
    const double p = probability[i];
    return squared ? 2 * (p * term.by_both - truth * term.by_error) :
        truth ? term.by_size - term.by_error : term.by_both;
  }
};

/// @brief Adds up the sums of a group.
template <typename Dtype>
struct SumDice {
  DiceInput<Dtype> dice;

  CAFFE_HOST_DEVICE inline void operator()(int i, DiceSums* sums) const {
    const int j = dice.Label(i);
    const bool truth = dice.Truth(i, j);
    if (dice.TakesPart(j, truth)) {
      const double p = dice.probability[i];
      const double error = truth ? 1 - p : p;
      sums->error += dice.squared ? error * error : error;
      sums->size += (dice.squared ? p * p : p) + truth;
      sums->overlap += truth ? p : 0;
    }
  }
};

/// @brief Writes the term of a group, one class of one image; with batch, the
///        class's sums over all images are in each of them.
struct WriteDiceTerm {
  const DiceSums* sums;
  int images, classes;
  bool batch;
  int first_class;  // that is in the mean
  double smooth;
  DiceTerm* terms;

  CAFFE_HOST_DEVICE inline void operator()(int group) const {
    DiceTerm term;
    term.Clear();
    if (group % classes >= first_class) {
      DiceSums whole = sums[group];
      if (batch) {
        whole.Clear();
        for (int n = 0; n < images; ++n) {
          whole.Add(sums[n * classes + group % classes]);
        }
      }
      const double size = whole.size + smooth;
      const double share =
          1. / (classes - first_class) / (batch ? 1 : images);
      // Neither there nor predicted, and no smoothing: right. NaN shows.
      if (!(size == 0)) {
        const double error = whole.error / size;
        term.loss = batch && group >= classes ? 0 : share * error;
        term.by_error = share / size;
        term.by_size = -share * error / size;
        term.by_both = share * (2 * whole.overlap + smooth) / size / size;
      }
    }
    terms[group] = term;
  }
};

/// @brief Adds the terms of the groups up.
struct SumDiceTerms {
  const DiceTerm* terms;

  CAFFE_HOST_DEVICE inline void operator()(int group, DiceTerm* total) const {
    total->Add(terms[group]);
  }
};

/// @brief The slopes of the classes of pixel j.
template <typename Dtype>
struct DiceSlopes {
  const DiceInput<Dtype>& dice;
  const DiceTerm* terms;
  int j;

  CAFFE_HOST_DEVICE inline double operator()(int i, int) const {
    return dice.Slope(i, j, terms);
  }
};

/// @brief Writes the gradient by the logits: of label j's pixel for a softmax,
///        of one element for a sigmoid.
template <typename Dtype>
struct WriteDiceDiff {
  DiceInput<Dtype> dice;
  const DiceTerm* terms;
  Dtype scale;
  Dtype* diff;

  CAFFE_HOST_DEVICE inline void operator()(int j) const {
    const bool ignored = dice.selection[j] == IGNORED;
    if (!dice.softmax) {
      const Dtype x = dice.input.logits[j];
      diff[j] = ignored ? Dtype(0) : Dtype(scale *
          dice.Slope(j, j, terms) * Logistic(x) * Logistic(-x));
    } else if (ignored) {
      ClearPixel(dice.input, j, diff);
    } else {
      const DiceSlopes<Dtype> slopes = {dice, terms, j};
      WriteSoftmaxDiff(dice.input, j, dice.probability, slopes, scale, diff);
    }
  }
};

}  // namespace caffe

#endif  // CAFFE_UTIL_DICE_HPP_
