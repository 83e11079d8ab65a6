#ifndef CAFFE_RANDROP_SIMD_LANE_SUMS_HPP_
#define CAFFE_RANDROP_SIMD_LANE_SUMS_HPP_

#include <cfloat>

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/losses/exp_log.hpp"
#include "caffe/randrop/losses/overlap.hpp"
#include "caffe/randrop/losses/sums.hpp"
#include "caffe/randrop/losses/top_k.hpp"
#include "caffe/randrop/simd/vector.hpp"

// The sums of the losses, kept for each lane of a vector.
namespace caffe {
namespace randrop {
namespace {

/// A double sum of short float sums, which stay close in size to their terms if
/// settled after kSettleAfter of them.
class LongSum {
 public:
  LongSum() : part_(Floats()), total_(0) {}
  inline void Add(Floats values) { part_ += values; }
  inline void Settle() {
    total_ += SumOf(part_);
    part_ = Floats();
  }
  inline double Total() const { return total_ + SumOf(part_); }
  /// Whether single precision was enough; NaN is what it should be.
  inline bool Fits() const { return !(Total() > DBL_MAX); }

 private:
  Floats part_;
  double total_;
};

const int kSettleAfter = 64;

/// Counts the lanes of masks.
class LaneCount {
 public:
  LaneCount() : count_(Ints()) {}
  inline void Add(Ints mask) { count_ -= mask; }
  inline int Total() const { return static_cast<int>(SumOf(count_)); }

 private:
  Ints count_;
};

/**
 * @brief Sums of type Sums, of vectors of elements: Add(part, inside) adds the
 *        elements inside a mask, AddTo(sums) the lanes. AnyBad() tells whether
 *        a label was invalid, Fits() whether single precision was enough.
 *        Settle() is for LongSum.
 */
template <typename Sums>
class LaneSums;

/// LaneSums that settle by themselves.
template <typename Sums>
class SettlingSums {
 public:
  SettlingSums() : added_(0) {}
  template <typename Part>
  inline void Add(const Part& part, Ints inside) {
    lanes_.Add(part, inside);
    if (++added_ == kSettleAfter) {
      lanes_.Settle();
      added_ = 0;
    }
  }
  inline const LaneSums<Sums>& lanes() const { return lanes_; }

 private:
  LaneSums<Sums> lanes_;
  int added_;
};

template <>
class LaneSums<PixelSums> {
 public:
  LaneSums() : bad_(Ints()) {}
  inline void Add(const PixelPart<Floats>& part, Ints inside) {
    loss_.Add(Where(inside, part.loss));
    taking_part_.Add(inside & part.taking_part);
    bad_ |= inside & part.bad;
  }
  inline void Settle() {
    loss_.Settle();
  }
  inline bool Fits() const { return loss_.Fits(); }
  inline void AddTo(PixelSums* sums) const {
    sums->loss += loss_.Total();
    sums->taking_part += taking_part_.Total();
  }
  inline bool AnyBad() const { return Any(bad_); }

 private:
  LongSum loss_;
  LaneCount taking_part_;
  Ints bad_;
};

template <>
class LaneSums<GroupSums> {
 public:
  LaneSums() : bad_(Ints()) {}
  inline void Add(const GroupPart<Floats>& part, Ints inside) {
    positive_loss_.Add(Where(inside, part.positive_loss));
    negative_loss_.Add(Where(inside, part.negative_loss));
    positives_.Add(inside & part.positive);
    negatives_.Add(inside & part.negative);
    ignored_.Add(inside & part.ignored);
    bad_ |= inside & part.bad;
  }
  inline void Settle() {
    positive_loss_.Settle();
    negative_loss_.Settle();
  }
  inline bool Fits() const {
    return positive_loss_.Fits() && negative_loss_.Fits();
  }
  inline void AddTo(GroupSums* sums) const {
    sums->positive_loss += positive_loss_.Total();
    sums->negative_loss += negative_loss_.Total();
    sums->positives += positives_.Total();
    sums->negatives += negatives_.Total();
    sums->ignored += ignored_.Total();
  }
  inline bool AnyBad() const { return Any(bad_); }

 private:
  LongSum positive_loss_, negative_loss_;
  LaneCount positives_, negatives_, ignored_;
  Ints bad_;
};

template <>
class LaneSums<CandidateSums> {
 public:
  inline void Add(const CandidatePart<Ints>& part, Ints inside) {
    positives_.Add(inside & part.positive);
    negatives_.Add(inside & part.negative);
    for (int b = 0; b < kHardnessBins - 1; ++b) {
      from_bin_[b].Add(inside & part.from_bin[b]);
    }
  }
  inline void Settle() {}
  inline bool Fits() const { return true; }
  inline void AddTo(CandidateSums* sums) const {
    CandidatePart<int> part = {positives_.Total(), negatives_.Total(), {0}};
    for (int b = 0; b < kHardnessBins - 1; ++b) {
      part.from_bin[b] = from_bin_[b].Total();
    }
    sums->AddPart(part, 0);
  }
  inline bool AnyBad() const { return false; }

 private:
  LaneCount positives_, negatives_, from_bin_[kHardnessBins - 1];
};

template <>
class LaneSums<OverlapSums> {
 public:
  LaneSums() : squared_(false), cross_added_(false), predicted_(Ints()),
      bad_(Ints()) {}
  inline void Add(const OverlapPart<Floats>& part, Ints inside) {
    // Squares are scaled by 2^116 to keep those of a small p above 0.
    squared_ = part.squared;
    const float unit = Unit();
    const Ints on = inside & part.part;
    const Ints truth = part.truth;
    const Floats wrong = part.Wrong() * unit, weight = part.weight;
    const Floats own = part.p * unit;
    const Floats one = Where(truth, Floats() + unit * unit);
    if (squared_) {
      false_positives_.Add(Where(on, wrong * wrong * weight));
      size_.Add(Where(on, (own * own + one) * weight));
    } else {
      false_positives_.Add(Where(on & ~truth, wrong * weight));
      false_negatives_.Add(Where(on & truth, wrong * weight));
      size_.Add(Where(on, (own + one) * weight));
    }
    overlap_.Add(Where(on & truth, part.p * weight));
    cross_added_ = part.with_cross;
    if (cross_added_) {
      cross_.Add(Where(on, part.cross));
    }
    predicted_ |= on & (Ints)part.p;
    members_.Add(inside & part.member);
    bad_ |= inside & part.bad;
  }
  inline void Settle() {
    false_positives_.Settle();
    false_negatives_.Settle();
    size_.Settle();
    overlap_.Settle();
    if (cross_added_) {
      cross_.Settle();
    }
  }
  inline bool Fits() const { return cross_.Fits(); }
  inline void AddTo(OverlapSums* sums) const {
    const double units = static_cast<double>(Unit()) * Unit();
    const double size = size_.Total();
    // Squares of numbers below 2^-132 still underflow to 0, but a class is
    // empty only if every p is 0.
    const double hardly =
        squared_ && size == 0 && Any(predicted_ != 0) ? DBL_MIN : 0;
    sums->false_positives += false_positives_.Total() / units + hardly;
    sums->false_negatives += false_negatives_.Total() / units;
    sums->size += size / units + hardly;
    sums->overlap += overlap_.Total();
    sums->cross += cross_added_ ? cross_.Total() : 0;
    sums->members += members_.Total();
  }
  inline bool AnyBad() const { return Any(bad_); }

 private:
  inline float Unit() const {
    return squared_ ? 288230376151711744.0f : 1;  // 2^58
  }

  bool squared_, cross_added_;
  LongSum false_positives_, false_negatives_, size_, overlap_, cross_;
  LaneCount members_;
  Ints predicted_, bad_;  // predicted_: the bits of every p
};

template <>
class LaneSums<ExpLogSums> {
 public:
  inline void Add(const ExpLogPart<Floats>& part, Ints inside) {
    const Ints own = inside & part.truth;
    overlap_.Add(Where(own, part.p));
    error_.Add(Where(inside, part.truth ? part.complement : part.p));
    cross_.Add(Where(own, part.power));
    own_.Add(own);
  }
  inline void Settle() {
    overlap_.Settle();
    error_.Settle();
    cross_.Settle();
  }
  inline bool Fits() const { return cross_.Fits(); }
  inline void AddTo(ExpLogSums* sums) const {
    sums->overlap += overlap_.Total();
    sums->error += error_.Total();
    sums->cross += cross_.Total();
    sums->own += own_.Total();
  }

 private:
  LongSum overlap_, error_, cross_;
  LaneCount own_;
};

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_LANE_SUMS_HPP_
