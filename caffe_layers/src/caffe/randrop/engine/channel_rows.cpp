#include "caffe/randrop/engine/channel_rows.hpp"

#include <algorithm>
#include <vector>

#include "caffe/randrop/engine/channel_chunks.hpp"
#include "caffe/randrop/loops/parallel.hpp"

namespace caffe {
namespace randrop {

namespace {

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
  int count, step;
  int row;  // within its image

  ChunkIn In(const float* data) const {
    return ChunkIn(data + at, step);
  }
  ChunkOut In(float* data) const {
    return ChunkOut(data + at, step);
  }
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
  const int own = row % rows.RowsAnImage();
  size_t at = static_cast<size_t>(row) * rows.Length() + begin;
  if (rows.channels_last) {
    const size_t image = row / rows.RowsAnImage();
    at = (image * rows.area + begin / kLanes) * rows.channels + own * kLanes;
  }
  const Part part = {number, at, std::min(kChunk, rows.Length() - begin),
      rows.channels_last ? rows.channels : kLanes, own};
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

/// The diffs of a part (NormDiff), written to `room` or where they already are.
class DiffParts {
 public:
  DiffParts(const ChannelRows& rows, const NormDiff& diff)
      : diff_(diff), none_(rows, NULL, 0), scales_(rows, diff.scale, 1) {}
  ChunkIn Dv(const Part& part, ChunkOut room) const {
    const ChunkIn dy = part.In(diff_.dy);
    if (!diff_.y) {
      return dy;
    }
    MaskChunk(part.count, dy, part.In(diff_.y), diff_.slope, room);
    return room;
  }
  ChunkIn Du(const Part& part, ChunkIn dv,
      ChunkOut room) const {
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
    ScaleChunk(part.count, part.In(x), means.Of(part), factors.Of(part),
        offsets.Of(part), part.In(y));
  });
}

void SumChannels(const ChannelRows& rows, const float* x, const float* dy,
    float* sum_product, float* sum) {
  LaneSums lanes(rows);
  const Spread none(rows, NULL, 0);
  OverParts(rows, [&](const Part& part) {
    SumChunk(part.count, part.In(x), part.In(dy), none.Of(part),
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
    MomentsOfChunk(part.count, part.In(x), moments.Of(part));
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
    const ChunkOut mine = part.In(y);
    ScaleChunk(part.count, part.In(x), means.Of(part), factors.Of(part),
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
    const ChunkOut mine = part.In(du);
    const ChunkIn found =
        parts.Du(part, parts.Dv(part, mine), mine);
    if (found.data != mine.data) {
      CopyChunk(part.count, found, mine);
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
    float place[kChunk], its_u[kChunk];
    const ChunkOut room(place, kLanes), u(its_u, kLanes);
    const ChunkIn dv = parts.Dv(part, room);
    ScaleChunk(part.count, part.In(x), means.Of(part), factors.Of(part),
        none.Of(part), u);
    SumChunk(part.count, u, dv, none.Of(part), of_dv.Of(part));
    SumChunk(part.count, part.In(x), parts.Du(part, dv, room), means.Of(part),
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
    float place[kChunk];
    const ChunkOut room(place, kLanes);
    const ChunkIn du =
        parts.Du(part, parts.Dv(part, room), room);
    CombineChunk(part.count, part.In(x), du, means.Of(part), as.Of(part),
        bs.Of(part), cs.Of(part), part.In(z));
  });
}

void Rectify(size_t count, const float* dy, const float* x, float slope,
    float* dx) {
  const size_t grain = kGrain;
  ParallelFor((count + grain - 1) / grain, [&](int task) {
    const size_t begin = task * grain;
    MaskChunk(std::min(grain, count - begin),
        ChunkIn(dy + begin, kLanes),
        ChunkIn(x + begin, kLanes), slope,
        ChunkOut(dx + begin, kLanes));
  });
}

}  // namespace randrop
}  // namespace caffe
