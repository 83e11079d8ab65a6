#ifndef CAFFE_RANDROP_SIMD_RANDOM_DROP_INL_HPP_
#define CAFFE_RANDROP_SIMD_RANDOM_DROP_INL_HPP_

#include "caffe/randrop/losses/random_drop.hpp"
#include "caffe/randrop/math/philox.hpp"
#include "caffe/randrop/simd/kernels.hpp"
#include "caffe/randrop/simd/loops.hpp"
#include "caffe/randrop/simd/vector.hpp"

// The kernels for the instruction set that RANDROP_LANES stands for. Each file
// that includes this has its own copy: hence the unnamed namespace.
namespace caffe {
namespace randrop {
namespace {

/// A float can add up this many ones and still count exactly.
const int kFlushAfter = 4096;

/// Loads elements from `first` on; those outside [begin, end) get `filling`.
inline Floats LoadPart(const float* values, int first, int begin, int end,
    float filling) {
  Floats result = Floats() + filling;
  for (int lane = 0; lane < RANDROP_LANES; ++lane) {
    if (first + lane >= begin && first + lane < end) {
      result[lane] = values[first + lane];
    }
  }
  return result;
}

inline Ints LoadPart(const unsigned char* values, int first, int begin,
    int end, int filling) {
  Ints result = Ints() + filling;
  for (int lane = 0; lane < RANDROP_LANES; ++lane) {
    if (first + lane >= begin && first + lane < end) {
      result[lane] = values[first + lane];
    }
  }
  return result;
}

template <typename Values, typename Number>
inline void StorePart(Values result, Number* values, int first, int begin,
    int end) {
  for (int lane = 0; lane < RANDROP_LANES; ++lane) {
    if (first + lane >= begin && first + lane < end) {
      values[first + lane] = result[lane];
    }
  }
}

/// The products of the low halves, a single processor instruction.
inline LongWords LowProduct(LongWords a, uint32_t by) {
  const Words b = Words() + by;
#if RANDROP_LANES == 16
  return (LongWords)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif RANDROP_LANES == 8
  return (LongWords)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (LongWords)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & (LongWords() + 0xFFFFFFFFu)) * (LongWords() + by);
#endif
}

/// High and low halves of the products with a constant.
inline void Multiply(Words a, uint32_t by, Words* high, Words* low) {
  const LongWords kLow = LongWords() + 0xFFFFFFFFu;
  const LongWords even = LowProduct((LongWords)a, by);
  const LongWords odd = LowProduct((LongWords)a >> 32, by);
  *low = (Words)((even & kLow) | (odd << 32));
  *high = (Words)((even >> 32) | (odd & ~kLow));
}

inline Floats Uniforms(Words words) {
  return __builtin_convertvector((Ints)(words >> 8), Floats) *
      (1.0f / 16777216.0f);
}

/// PhiloxUniformTile, vectorised.
inline void UniformTile(uint64_t key, uint64_t tile, uint64_t forward,
    Floats uniform[kPhiloxTile / RANDROP_LANES]) {
  for (int part = 0; part < kPhiloxLanes / RANDROP_LANES; ++part) {
    const uint64_t block = tile * kPhiloxLanes + part * RANDROP_LANES;
    // A tile's blocks share a high word: they start at 16 times its number.
    Words c0 = (Words)Numbers() + static_cast<uint32_t>(block);
    Words c1 = Words() + static_cast<uint32_t>(block >> 32);
    Words c2 = Words() + static_cast<uint32_t>(forward);
    Words c3 = Words() + static_cast<uint32_t>(forward >> 32);
    uint32_t key0 = static_cast<uint32_t>(key);
    uint32_t key1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      Words high0, low0, high1, low1;
      Multiply(c0, 0xD2511F53u, &high0, &low0);
      Multiply(c2, 0xCD9E8D57u, &high1, &low1);
      c0 = high1 ^ c1 ^ key0;
      c1 = low1;
      c2 = high0 ^ c3 ^ key1;
      c3 = low0;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    const int parts = kPhiloxLanes / RANDROP_LANES;
    uniform[part] = Uniforms(c0);
    uniform[parts + part] = Uniforms(c1);
    uniform[2 * parts + part] = Uniforms(c2);
    uniform[3 * parts + part] = Uniforms(c3);
  }
}

/// GroupSums of each lane.
struct LaneSums {
  Floats positive_loss, negative_loss;
  Ints positives, negatives, ignored, bad;
};

inline void Flush(const LaneSums& lanes, GroupSums* sums) {
  sums->positive_loss += SumOf(lanes.positive_loss);
  sums->negative_loss += SumOf(lanes.negative_loss);
  sums->positives += SumOf(lanes.positives);
  sums->negatives += SumOf(lanes.negatives);
  sums->ignored += SumOf(lanes.ignored);
}

template <int schedule, bool whole>
inline void RandomDropVector(const RandomDropPass<float>& pass, int i,
    int begin, int end, Floats uniform, LaneSums* sums) {
  Floats label, logits;
  Ints inside = Ints() - 1;
  if (whole) {
    label = LoadAs<Floats>(pass.label + i);
    logits = LoadAs<Floats>(pass.logits + i);
  } else {
    label = LoadPart(pass.label, i, begin, end, 0);
    logits = LoadPart(pass.logits, i, begin, end, 0);
    const Ints index = Numbers() + i;
    inside = (index >= begin) & (index < end);
  }
  const Ints ignored = pass.has_ignore_label ?
      inside & (label == static_cast<float>(pass.ignore_label)) : Ints();
  const Ints positive = inside & ~ignored & (label == 1);
  const Ints negative = inside & ~ignored & (label == 0);
  const SigmoidPixel<Floats> pixel = SigmoidPixel<Floats>::Shown(logits);
  const Ints kept = schedule == DropSchedule::NONE ? negative :
      negative & ~(uniform < DropProbability(schedule, pixel));
  sums->positive_loss += positive ? pixel.PositiveLoss() : Floats();
  sums->negative_loss += kept ? pixel.NegativeLoss() : Floats();
  sums->positives -= positive;
  sums->negatives -= kept;
  sums->ignored -= ignored;
  sums->bad |= inside & ~(ignored | positive | negative);
  const Ints selection = (positive & static_cast<int>(Role::POSITIVE)) |
      (kept & static_cast<int>(Role::NEGATIVE)) |
      (ignored & static_cast<int>(Role::IGNORED));
  if (whole) {
    Store(selection, pass.selection + i);
  } else {
    StorePart(selection, pass.selection, i, begin, end);
  }
}

template <int schedule>
void RandomDrop(const RandomDropPass<float>& pass, int begin, int end,
    GroupSums* sums) {
  LaneSums lanes = LaneSums();
  Ints bad = Ints();
  for (int tile = begin / kPhiloxTile; tile * kPhiloxTile < end; ++tile) {
    Floats uniform[kPhiloxTile / RANDROP_LANES];
    if (schedule != DropSchedule::NONE) {
      UniformTile(pass.seed, tile, pass.forward, uniform);
    }
    for (int part = 0; part < kPhiloxTile / RANDROP_LANES; ++part) {
      const int i = tile * kPhiloxTile + part * RANDROP_LANES;
      if (i >= begin && i + RANDROP_LANES <= end) {
        RandomDropVector<schedule, true>(pass, i, begin, end, uniform[part],
            &lanes);
      } else if (i + RANDROP_LANES > begin && i < end) {
        RandomDropVector<schedule, false>(pass, i, begin, end, uniform[part],
            &lanes);
      }
    }
    if (tile % (kFlushAfter / kPhiloxTile) == 0) {
      Flush(lanes, sums);
      bad |= lanes.bad;
      lanes = LaneSums();
    }
  }
  Flush(lanes, sums);
  if (SumOf(bad | lanes.bad) != 0) {
    FindBadBinary(pass.label, pass.has_ignore_label, pass.ignore_label, begin,
        end, sums);
  }
}

void RandomDropKernel(const RandomDropPass<float>& pass, int begin, int end,
    GroupSums* sums) {
  switch (pass.schedule) {
  case DropSchedule::LINEAR:
    return RandomDrop<DropSchedule::LINEAR>(pass, begin, end, sums);
  case DropSchedule::SQU:
    return RandomDrop<DropSchedule::SQU>(pass, begin, end, sums);
  case DropSchedule::LOG:
    return RandomDrop<DropSchedule::LOG>(pass, begin, end, sums);
  default:
    return RandomDrop<DropSchedule::NONE>(pass, begin, end, sums);
  }
}

/// WeightedDiff, vectorised.
inline Floats BalancedDiffVector(Floats logits, Ints selection,
    const float weight[2]) {
  const Ints positive = selection == static_cast<int>(Role::POSITIVE);
  const Ints kept = selection == static_cast<int>(Role::NEGATIVE);
  const Floats factor = positive ? Floats() - weight[0] :
      kept ? Floats() + weight[1] : Floats();
  const SigmoidPixel<Floats> pixel(positive ? -logits : logits);
  // An element that takes no part has gradient 0, whatever its logit.
  return factor == 0 ? Floats() : factor * pixel.P();
}

void BalancedDiffKernel(const BalancedDiffPass<float>& pass, int begin, int end,
    const float weight[2]) {
  int i = begin;
  for (; i + RANDROP_LANES <= end; i += RANDROP_LANES) {
    Store(BalancedDiffVector(LoadAs<Floats>(pass.logits + i),
        Load(pass.selection + i), weight), pass.diff + i);
  }
  if (i < end) {
    StorePart(BalancedDiffVector(LoadPart(pass.logits, i, begin, end, 0),
        LoadPart(pass.selection, i, begin, end, Role::LEFT_OUT), weight),
        pass.diff, i, begin, end);
  }
}

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_RANDOM_DROP_INL_HPP_
