#ifndef CAFFE_RANDROP_LOSSES_OVERLAP_SUMS_HPP_
#define CAFFE_RANDROP_LOSSES_OVERLAP_SUMS_HPP_

#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/math/host_device.hpp"
#include "caffe/randrop/math/label.hpp"
#include "caffe/randrop/math/number.hpp"

namespace caffe {
namespace randrop {

/// @brief What an element adds to the sums of a class of which it has
///        probability p; the complement is 1 - p, kept accurate where the class
///        is its own.
template <typename Real>
struct OverlapPart {
  typedef typename IndexOf<Real>::Type Index;
  Real p, complement;
  Real weight;   // its weight in the sums
  Real cross;    // its cross-entropy, if with_cross
  Index truth;   // whether the class is its own
  Index part;    // whether the loss looks at it
  Index member;  // whether it is not ignored
  Index bad;
  bool squared, with_cross;

  /// |p - y|
  RANDROP_HOST_DEVICE inline Real Wrong() const {
    return truth ? complement : p;
  }
};

/**
 * @brief The sums of an overlap loss, of weighted elements. With E = false_positives +
 *        false_negatives, Dice is D = (2 overlap + s) / (size + s), and
 *        1 - D = E / (size + s): no cancellation at either end.
 */
struct OverlapSums {
  // Sums of p (1 - y) and (1 - p) y; with squares, of (p - y)^2 and nothing.
  double false_positives, false_negatives;
  double size;     // sum p^2 + y^2; without squares sum p + y
  double overlap;  // sum p y
  double cross;    // of cross-entropies, without weights
  int members;     // elements that are not ignored
  int bad_label;   // index of the first invalid label; -1: none

  RANDROP_HOST_DEVICE inline void Clear() {
    false_positives = false_negatives = size = overlap = cross = 0;
    members = 0;
    bad_label = -1;
  }
  RANDROP_HOST_DEVICE inline void Add(const OverlapSums& other) {
    false_positives += other.false_positives;
    false_negatives += other.false_negatives;
    size += other.size;
    overlap += other.overlap;
    cross += other.cross;
    members += other.members;
    bad_label = FirstIndex(bad_label, other.bad_label);
  }
  /// Adds element i.
  template <typename Real>
  RANDROP_HOST_DEVICE inline void AddPart(const OverlapPart<Real>& part,
      int i) {
    members += part.member;
    bad_label = part.bad ? FirstIndex(bad_label, i) : bad_label;
    if (part.part) {
      const double p = part.p, wrong = part.Wrong(), weight = part.weight;
      if (part.squared) {
        false_positives += weight * wrong * wrong;
      } else {
        (part.truth ? false_negatives : false_positives) += weight * wrong;
      }
      size += weight * ((part.squared ? p * p : p) + part.truth);
      overlap += part.truth ? weight * p : 0;
      cross += part.with_cross ? part.cross : 0;
    }
  }
};

/// @brief The groups of an overlap loss, one class of one image each; with
///        batch, each image uses the class's sums over all images. If they are
///        split into cells, group number g * most + k is cell k of group g; the
///        loss of a group, with batch that of a class, is the mean over its
///        cells.
struct ClassGroups {
  const OverlapSums* sums;
  int images, classes;
  bool batch;
  int first_class;   // first class in the mean
  int most;          // cells of a group; 0: they are not split
  const int* cells;  // of each group, those in the mean

  RANDROP_HOST_DEVICE inline int Class(int group) const {
    return (most > 0 ? group / most : group) % classes;
  }
  RANDROP_HOST_DEVICE inline OverlapSums Whole(int group) const {
    if (!batch || most > 0) {
      return sums[group];
    }
    OverlapSums whole;
    whole.Clear();
    for (int n = 0; n < images; ++n) {
      whole.Add(sums[n * classes + group % classes]);
    }
    return whole;
  }
  /// Whether a group with these sums is in the mean: a group whose pixels are
  /// all ignored is not.
  RANDROP_HOST_DEVICE inline bool Counts(int group, const OverlapSums& whole)
      const {
    return Class(group) >= first_class && whole.members > 0;
  }
  /// Whether another group with the same sums adds the loss.
  RANDROP_HOST_DEVICE inline bool IsRepeated(int group) const {
    return batch && most == 0 && group >= classes;
  }
  /// The cells in the mean that weigh the same as those of group g, which is
  /// not a cell.
  RANDROP_HOST_DEVICE inline int Together(int g) const {
    if (!batch) {
      return cells[g];
    }
    int all = 0;
    for (int n = 0; n < images; ++n) {
      all += cells[n * classes + g % classes];
    }
    return all;
  }
  /// The weight of a group that counts.
  RANDROP_HOST_DEVICE inline double Share(int group, const GroupTally& tally)
      const {
    return most > 0 ? 1. / tally.groups / Together(group / most) :
        1. / tally.groups;
  }
};

/// @brief Counts the cells in the mean of each group.
struct CountCells {
  ClassGroups groups;
  int* cells;

  RANDROP_HOST_DEVICE inline void operator()(int g) const {
    cells[g] = 0;
    for (int k = g * groups.most; k < (g + 1) * groups.most; ++k) {
      cells[g] += groups.Counts(k, groups.sums[k]);
    }
  }
};

/// @brief Counts the groups in the mean.
struct CountClassGroups {
  ClassGroups groups;

  RANDROP_HOST_DEVICE inline void operator()(
      int group, GroupTally* tally) const {
    if (groups.most > 0) {
      tally->groups += !(groups.batch && group >= groups.classes) &&
          groups.Together(group) > 0;
      return;
    }
    tally->groups += !groups.IsRepeated(group) &&
        groups.Counts(group, groups.Whole(group));
  }
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_OVERLAP_SUMS_HPP_
