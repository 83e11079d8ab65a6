#include "caffe/randrop/engine/channel_rows.hpp"

#include <algorithm>
#include <vector>

#include "caffe/randrop/loops/parallel.hpp"
#include "caffe/randrop/simd/clones.hpp"

namespace caffe {
namespace randrop {

namespace {

const int kLanes = 16;
/// Elements summed in float before the sum is added up in double, and taken
/// through all consecutive steps before the next chunk: few enough for the
/// cache; a multiple of the lanes.
const int kChunk = 2048;
/// Least number of elements that a thread takes at a time.
const int kGrain = 1 << 15;

/// A part of a row, at most a chunk.
struct Part {
  int number;
  size_t at;
  int count;
  int row;  // within its image
};

int Chunks(const ChannelRows& rows) {
  return (rows.Length() + kChunk - 1) / kChunk;
}

int AllParts(const ChannelRows& rows) {
  return rows.images * rows.RowsAnImage() * Chunks(rows);
}

Part PartOf(const ChannelRows& rows, int number) {
  const int chunks = Chunks(rows);
  const int row = number / chunks, begin = number % chunks * kChunk;
  const Part part = {number, static_cast<size_t>(row) * rows.Length() + begin,
      std::min(kChunk, rows.Length() - begin), row % rows.RowsAnImage()};
  return part;
}

/// Calls body(part) for all parts of the rows, in any order.
template <typename Body>
void OverParts(const ChannelRows& rows, const Body& body) {
  const int all = AllParts(rows);
  const int together =
      std::max(1, kGrain / std::max(1, std::min(kChunk, rows.Length())));
  ParallelFor((all + together - 1) / together, [&](int task) {
    const int last = std::min(all, (task + 1) * together);
    for (int number = task * together; number < last; ++number) {
      body(PartOf(rows, number));
    }
  });
}

/// A per-channel parameter, spread over the lanes of each row.
class Spread {
 public:
  Spread(const ChannelRows& rows, const float* parameter, float otherwise)
      : lanes_(static_cast<size_t>(rows.RowsAnImage()) * kLanes,
            parameter ? 0 : otherwise) {
    for (size_t i = 0; parameter && i < lanes_.size(); ++i) {
      const int channel = i / kLanes * rows.block + i % kLanes % rows.block;
      // Padding channels stay 0.
      if (channel < rows.channels) {
        lanes_[i] = parameter[channel];
      }
    }
  }
  const float* Of(const Part& part) const {
    return &lanes_[static_cast<size_t>(part.row) * kLanes];
  }

 private:
  std::vector<float> lanes_;
};

/// How many elements of a part lie in the lane.
inline int CountOf(int lane, int count) {
  return (count - lane + kLanes - 1) / kLanes;
}

/// Two sums for each lane of each part, and from them for each channel.
class LaneSums {
 public:
  explicit LaneSums(const ChannelRows& rows)
      : rows_(rows), sums_(static_cast<size_t>(AllParts(rows)) * 2 * kLanes) {}
  float* Of(const Part& part) {
    return &sums_[static_cast<size_t>(part.number) * 2 * kLanes];
  }
  /// Calls add(channel, first, second, count) for each lane of each part, in
  /// order.
  template <typename Add>
  void ForEach(const Add& add) {
    const int all = AllParts(rows_);
    for (int number = 0; number < all; ++number) {
      const Part part = PartOf(rows_, number);
      const float* mine = Of(part);
      for (int lane = 0; lane < kLanes; ++lane) {
        const int channel = part.row * rows_.block + lane % rows_.block;
        if (channel < rows_.channels) {
          add(channel, mine[lane], mine[kLanes + lane],
              CountOf(lane, part.count));
        }
      }
    }
  }
  /// The sums of each channel.
  void AddUp(std::vector<double>* first, std::vector<double>* second) {
    first->assign(rows_.channels, 0);
    second->assign(rows_.channels, 0);
    ForEach([&](int channel, float one, float other, int) {
      (*first)[channel] += one;
      (*second)[channel] += other;
    });
  }

 private:
  const ChannelRows rows_;
  std::vector<float> sums_;
};

/// A vector that fits a register; several cover all lanes. Compilers spill
/// vectors longer than a register to memory.
typedef float Vector __attribute__((vector_size(32), aligned(4), may_alias));
const int kWidth = sizeof(Vector) / sizeof(float);

inline const Vector& At(const float* data) {
  return *reinterpret_cast<const Vector*>(data);
}
inline Vector& At(float* data) { return *reinterpret_cast<Vector*>(data); }

RANDROP_VECTOR_CLONES
void ScaleChunk(int count, const float* x, const float* mean,
    const float* factor, const float* offset, float* y) {
  const Vector m0 = At(mean), m1 = At(mean + kWidth);
  const Vector f0 = At(factor), f1 = At(factor + kWidth);
  const Vector o0 = At(offset), o1 = At(offset + kWidth);
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    At(y + i) = (At(x + i) - m0) * f0 + o0;
    At(y + i + kWidth) = (At(x + i + kWidth) - m1) * f1 + o1;
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    y[i] = (x[i] - mean[lane]) * factor[lane] + offset[lane];
  }
}

/// Sums of dy (x - mean) and of dy.
RANDROP_VECTOR_CLONES
void SumChunk(int count, const float* x, const float* dy, const float* mean,
    float* sums) {
  const Vector m0 = At(mean), m1 = At(mean + kWidth);
  Vector products0 = {0}, products1 = {0}, plain0 = {0}, plain1 = {0};
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vector d0 = At(dy + i), d1 = At(dy + i + kWidth);
    products0 += d0 * (At(x + i) - m0);
    products1 += d1 * (At(x + i + kWidth) - m1);
    plain0 += d0;
    plain1 += d1;
  }
  At(sums) = products0;
  At(sums + kWidth) = products1;
  At(sums + kLanes) = plain0;
  At(sums + kLanes + kWidth) = plain1;
  for (int lane = 0; i < count; ++i, ++lane) {
    sums[lane] += dy[i] * (x[i] - mean[lane]);
    sums[kLanes + lane] += dy[i];
  }
}

/// Mean of each lane and sum of squares about it.
RANDROP_VECTOR_CLONES
void MomentsOfChunk(int count, const float* x, float* moments) {
  const int whole = count / kLanes * kLanes;
  float* mean = moments;
  float* squares = moments + kLanes;
  Vector sum0 = {0}, sum1 = {0};
  for (int i = 0; i < whole; i += kLanes) {
    sum0 += At(x + i);
    sum1 += At(x + i + kWidth);
  }
  At(mean) = sum0;
  At(mean + kWidth) = sum1;
  for (int i = whole; i < count; ++i) {
    mean[i - whole] += x[i];
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    mean[lane] /= std::max(1, CountOf(lane, count));
  }
  const Vector m0 = At(mean), m1 = At(mean + kWidth);
  sum0 = sum1 = Vector();
  for (int i = 0; i < whole; i += kLanes) {
    const Vector off0 = At(x + i) - m0, off1 = At(x + i + kWidth) - m1;
    sum0 += off0 * off0;
    sum1 += off1 * off1;
  }
  At(squares) = sum0;
  At(squares + kWidth) = sum1;
  for (int i = whole; i < count; ++i) {
    const float off = x[i] - mean[i - whole];
    squares[i - whole] += off * off;
  }
}

RANDROP_VECTOR_CLONES
void CombineChunk(int count, const float* x, const float* y, const float* mean,
    const float* a, const float* b, const float* c, float* z) {
  const Vector m0 = At(mean), m1 = At(mean + kWidth);
  const Vector a0 = At(a), a1 = At(a + kWidth);
  const Vector b0 = At(b), b1 = At(b + kWidth);
  const Vector c0 = At(c), c1 = At(c + kWidth);
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const int j = i + kWidth;
    At(z + i) = a0 * At(y + i) + (b0 * (At(x + i) - m0) + c0);
    At(z + j) = a1 * At(y + j) + (b1 * (At(x + j) - m1) + c1);
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    z[i] = a[lane] * y[i] + (b[lane] * (x[i] - mean[lane]) + c[lane]);
  }
}

/// dy where y is positive, else slope dy; a ReLU if y = dy.
RANDROP_VECTOR_CLONES
void MaskChunk(int count, const float* dy, const float* y, float slope,
    float* dv) {
  int i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const Vector d = At(dy + i);
    At(dv + i) = At(y + i) > 0 ? d : d * slope;
  }
  for (; i < count; ++i) {
    dv[i] = y[i] > 0 ? dy[i] : dy[i] * slope;
  }
}

/// The diffs of a part (NormDiff), written to `room` or where they already are.
class DiffParts {
 public:
  DiffParts(const ChannelRows& rows, const NormDiff& diff)
      : diff_(diff), none_(rows, NULL, 0), scales_(rows, diff.scale, 1) {}
  const float* Dv(const Part& part, float* room) const {
    const float* dy = diff_.dy + part.at;
    if (!diff_.y) {
      return dy;
    }
    MaskChunk(part.count, dy, diff_.y + part.at, diff_.slope, room);
    return room;
  }
  const float* Du(const Part& part, const float* dv, float* room) const {
    if (!diff_.scale) {
      return dv;
    }
    ScaleChunk(part.count, dv, none_.Of(part), scales_.Of(part),
        none_.Of(part), room);
    return room;
  }

 private:
  const NormDiff diff_;
  const Spread none_, scales_;
};

}  // namespace

void ScaleChannels(const ChannelRows& rows, const float* x, const float* mean,
    const float* factor, const float* offset, float* y) {
  const Spread means(rows, mean, 0), factors(rows, factor, 1),
      offsets(rows, offset, 0);
  OverParts(rows, [&](const Part& part) {
    ScaleChunk(part.count, x + part.at, means.Of(part), factors.Of(part),
        offsets.Of(part), y + part.at);
  });
}

void SumChannels(const ChannelRows& rows, const float* x, const float* dy,
    float* sum_product, float* sum) {
  LaneSums lanes(rows);
  const Spread none(rows, NULL, 0);
  OverParts(rows, [&](const Part& part) {
    SumChunk(part.count, x + part.at, dy + part.at, none.Of(part),
        lanes.Of(part));
  });
  std::vector<double> products, sums;
  lanes.AddUp(&products, &sums);
  for (int channel = 0; channel < rows.channels; ++channel) {
    if (sum_product) {
      sum_product[channel] += products[channel];
    }
    if (sum) {
      sum[channel] += sums[channel];
    }
  }
}

void ChannelMoments(const ChannelRows& rows, const float* x, float* mean,
    float* variance) {
  LaneSums moments(rows);
  OverParts(rows, [&](const Part& part) {
    MomentsOfChunk(part.count, x + part.at, moments.Of(part));
  });
  // Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for
  // computing sample variances, 1979.
  struct Moments { double count, mean, squares; };
  std::vector<Moments> all(rows.channels);
  moments.ForEach([&](int channel, float its_mean, float squares, int count) {
    if (count > 0) {
      Moments& mine = all[channel];
      const double off = its_mean - mine.mean, before = mine.count;
      mine.count += count;
      mine.mean += off * count / mine.count;
      mine.squares += squares + off * off * before * count / mine.count;
    }
  });
  for (int channel = 0; channel < rows.channels; ++channel) {
    mean[channel] = all[channel].mean;
    variance[channel] = all[channel].squares / all[channel].count;
  }
}

void NormaliseChannels(const ChannelRows& rows, const float* x,
    const float* mean, const float* factor, const AfterNorm& after, float* y) {
  const Spread means(rows, mean, 0), factors(rows, factor, 1),
      none(rows, NULL, 0), scales(rows, after.scale, 1),
      offsets(rows, after.offset, 0);
  OverParts(rows, [&](const Part& part) {
    float* mine = y + part.at;
    ScaleChunk(part.count, x + part.at, means.Of(part), factors.Of(part),
        none.Of(part), mine);
    if (after.scale) {
      ScaleChunk(part.count, mine, none.Of(part), scales.Of(part),
          offsets.Of(part), mine);
    }
    if (after.relu) {
      MaskChunk(part.count, mine, mine, after.slope, mine);
    }
  });
}

void WriteNormDiff(const ChannelRows& rows, const NormDiff& diff, float* du) {
  const DiffParts parts(rows, diff);
  OverParts(rows, [&](const Part& part) {
    float* mine = du + part.at;
    const float* found = parts.Du(part, parts.Dv(part, mine), mine);
    if (found != mine) {
      std::copy(found, found + part.count, mine);
    }
  });
}

void SumNormDiff(const ChannelRows& rows, const float* x, const float* mean,
    const float* factor, const NormDiff& diff, NormSums* sums) {
  LaneSums of_dv(rows), of_du(rows);
  const DiffParts parts(rows, diff);
  const Spread means(rows, mean, 0), factors(rows, factor, 1),
      none(rows, NULL, 0);
  OverParts(rows, [&](const Part& part) {
    float room[kChunk], u[kChunk];
    const float* dv = parts.Dv(part, room);
    ScaleChunk(part.count, x + part.at, means.Of(part), factors.Of(part),
        none.Of(part), u);
    SumChunk(part.count, u, dv, none.Of(part), of_dv.Of(part));
    SumChunk(part.count, x + part.at, parts.Du(part, dv, room), means.Of(part),
        of_du.Of(part));
  });
  of_dv.AddUp(&sums->dv_u, &sums->dv);
  of_du.AddUp(&sums->du_x, &sums->du);
}

void CombineChannels(const ChannelRows& rows, const float* x,
    const NormDiff& diff, const float* mean, const float* a, const float* b,
    const float* c, float* z) {
  const DiffParts parts(rows, diff);
  const Spread means(rows, mean, 0), as(rows, a, 0), bs(rows, b, 0),
      cs(rows, c, 0);
  OverParts(rows, [&](const Part& part) {
    float room[kChunk];
    const float* du = parts.Du(part, parts.Dv(part, room), room);
    CombineChunk(part.count, x + part.at, du, means.Of(part), as.Of(part),
        bs.Of(part), cs.Of(part), z + part.at);
  });
}

void Rectify(size_t count, const float* dy, const float* x, float slope,
    float* dx) {
  const size_t grain = kGrain;
  ParallelFor((count + grain - 1) / grain, [&](int task) {
    const size_t begin = task * grain;
    MaskChunk(std::min(grain, count - begin), dy + begin, x + begin, slope,
        dx + begin);
  });
}

}  // namespace randrop
}  // namespace caffe
