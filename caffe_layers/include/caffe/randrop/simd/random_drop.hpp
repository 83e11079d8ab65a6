#ifndef CAFFE_RANDROP_SIMD_RANDOM_DROP_HPP_
#define CAFFE_RANDROP_SIMD_RANDOM_DROP_HPP_

#include "caffe/randrop/losses/random_drop.hpp"
#include "caffe/randrop/math/philox.hpp"
#include "caffe/randrop/simd/kernels.hpp"
#include "caffe/randrop/simd/lane_sums.hpp"
#include "caffe/randrop/simd/vector.hpp"

// Random drop's own loop: the random numbers come in tiles that begin anywhere
// in a group. Included like simd/loops.hpp.
namespace caffe {
namespace randrop {
namespace {

/// Loads elements from `first` on; 0 for those outside [begin, end).
inline Floats LoadPart(const float* values, int first, int begin, int end) {
  Floats result = Floats();
  for (int lane = 0; lane < RANDROP_LANES; ++lane) {
    if (first + lane >= begin && first + lane < end) {
      result[lane] = values[first + lane];
    }
  }
  return result;
}

inline void StorePart(Ints result, unsigned char* values, int first, int begin,
    int end) {
  for (int lane = 0; lane < RANDROP_LANES; ++lane) {
    if (first + lane >= begin && first + lane < end) {
      values[first + lane] = result[lane];
    }
  }
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
    Words word[] = {(Words)Numbers() + static_cast<uint32_t>(block),
        Words() + static_cast<uint32_t>(block >> 32),
        Words() + static_cast<uint32_t>(forward),
        Words() + static_cast<uint32_t>(forward >> 32)};
    PhiloxRounds(key, word);
    const int parts = kPhiloxLanes / RANDROP_LANES;
    for (int w = 0; w < kPhiloxWords; ++w) {
      uniform[w * parts + part] = Uniforms(word[w]);
    }
  }
}

/// Selects a vector of elements from i on, of which only those from begin to
/// end - 1 exist, unless it is whole.
template <int schedule, bool whole>
inline void RandomDropVector(const RandomDropPass<float>& pass, float constant,
    int i, int begin, int end, Floats uniform, LaneSums<GroupSums>* sums) {
  GroupPart<Floats> part;
  if (whole) {
    StoreBytes(pass.Select(schedule, constant, LoadAs<Floats>(pass.logits + i),
        LoadAs<Floats>(pass.label + i), uniform, &part), pass.selection + i);
    sums->Add(part, Ints() - 1);
  } else {
    StorePart(pass.Select(schedule, constant,
        LoadPart(pass.logits, i, begin, end),
        LoadPart(pass.label, i, begin, end), uniform, &part), pass.selection,
        i, begin, end);
    const Ints index = Numbers() + i;
    sums->Add(part, (index >= begin) & (index < end));
  }
}

template <int schedule>
inline bool RandomDrop(const RandomDropPass<float>& pass, int begin, int end,
    GroupSums* sums) {
  LaneSums<GroupSums> lanes;
  // All of them are of one group.
  const float constant =
      schedule == DropSchedule::CONSTANT ? pass.DropOfGroup(begin) : 0;
  for (int tile = begin / kPhiloxTile; tile * kPhiloxTile < end; ++tile) {
    Floats uniform[kPhiloxTile / RANDROP_LANES];
    if (schedule != DropSchedule::NONE) {
      UniformTile(pass.seed, pass.first_tile + tile, pass.forward, uniform);
    }
    for (int part = 0; part < kPhiloxTile / RANDROP_LANES; ++part) {
      const int i = tile * kPhiloxTile + part * RANDROP_LANES;
      if (i >= begin && i + RANDROP_LANES <= end) {
        RandomDropVector<schedule, true>(pass, constant, i, begin, end,
            uniform[part], &lanes);
      } else if (i + RANDROP_LANES > begin && i < end) {
        RandomDropVector<schedule, false>(pass, constant, i, begin, end,
            uniform[part], &lanes);
      }
    }
    if (tile % (kSettleAfter * RANDROP_LANES / kPhiloxTile) == 0) {
      lanes.Settle();
    }
  }
  if (!lanes.Fits()) {
    return false;
  }
  lanes.AddTo(sums);
  for (int i = begin; lanes.AnyBad() && i < end; ++i) {
    const BinaryLabel<float> label(pass.label[i], pass.has_ignore_label,
        pass.ignore_label);
    if (label.Bad()) {
      sums->bad_label = FirstIndex(sums->bad_label, i);
      break;
    }
  }
  return true;
}

inline bool RandomDropOf(const RandomDropPass<float>& pass, int begin, int end,
    GroupSums* sums) {
  switch (pass.schedule) {
  case DropSchedule::LINEAR:
    return RandomDrop<DropSchedule::LINEAR>(pass, begin, end, sums);
  case DropSchedule::SQU:
    return RandomDrop<DropSchedule::SQU>(pass, begin, end, sums);
  case DropSchedule::LOG:
    return RandomDrop<DropSchedule::LOG>(pass, begin, end, sums);
  case DropSchedule::CONSTANT:
    return RandomDrop<DropSchedule::CONSTANT>(pass, begin, end, sums);
  default:
    return RandomDrop<DropSchedule::NONE>(pass, begin, end, sums);
  }
}

}  // namespace
}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_RANDOM_DROP_HPP_
