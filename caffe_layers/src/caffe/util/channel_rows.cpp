#include "caffe/util/channel_rows.hpp"

#include <algorithm>
#include <vector>

#include "caffe/util/parallel.hpp"
#include "caffe/util/vector_clones.hpp"

namespace caffe {

namespace {

const int kLanes = 16;
/// What is summed in floats before it is added up in double: a multiple of the
/// lanes, and small enough to be in the cache when it is read again.
const int kChunk = 4096;
/// What a thread takes at a time, or more.
const int kGrain = 1 << 15;

int Chunks(const ChannelRows& rows) {
  return (rows.Length() + kChunk - 1) / kChunk;
}

int AllChunks(const ChannelRows& rows) {
  return rows.images * rows.RowsAnImage() * Chunks(rows);
}

/// Of a row, a chunk or less.
struct Part {
  int number;
  size_t at;
  int count;
  int channel;  // of its first lane
};

/// Calls body(part) for all parts of the rows, in any order.
template <typename Body>
void OverParts(const ChannelRows& rows, const Body& body) {
  const int chunks = Chunks(rows), all = AllChunks(rows);
  const int together =
      std::max(1, kGrain / std::max(1, std::min(kChunk, rows.Length())));
  ParallelFor((all + together - 1) / together, [&](int task) {
    const int last = std::min(all, (task + 1) * together);
    for (int number = task * together; number < last; ++number) {
      const int row = number / chunks, begin = number % chunks * kChunk;
      const Part part = {number,
          static_cast<size_t>(row) * rows.Length() + begin,
          std::min(kChunk, rows.Length() - begin),
          row % rows.RowsAnImage() * rows.block};
      body(part);
    }
  });
}

/// A parameter of the channels of a part, one for each lane.
struct Spread {
  Spread(const ChannelRows& rows, const Part& part, const float* parameter,
      float otherwise) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const int channel = part.channel + lane % rows.block;
      // Channels that only fill a block up stay 0.
      lanes[lane] = !parameter ? otherwise :
          channel < rows.channels ? parameter[channel] : 0;
    }
  }
  float lanes[kLanes];
};

/// Two sums of each lane of each part, and of these those of the channels.
class LaneSums {
 public:
  explicit LaneSums(const ChannelRows& rows)
      : rows_(rows),
        sums_(static_cast<size_t>(AllChunks(rows)) * 2 * kLanes) {}
  float* Of(int number) {
    return &sums_[static_cast<size_t>(number) * 2 * kLanes];
  }
  /// Calls add(channel, lane, first, second, part) in the order of the parts.
  template <typename Add>
  void ForEach(const Add& add) {
    const int chunks = Chunks(rows_), all = AllChunks(rows_);
    for (int number = 0; number < all; ++number) {
      const int channel = number / chunks % rows_.RowsAnImage() * rows_.block;
      const float* mine = Of(number);
      for (int lane = 0; lane < kLanes; ++lane) {
        const int own = channel + lane % rows_.block;
        if (own < rows_.channels) {
          const int count = std::min(kChunk,
              rows_.Length() - number % chunks * kChunk);
          add(own, mine[lane], mine[kLanes + lane],
              (count - lane + kLanes - 1) / kLanes);
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

CAFFE_VECTOR_CLONES
void ScaleChunk(int count, const float* x, const float* mean,
    const float* factor, const float* offset, float* y) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      y[i + lane] = (x[i + lane] - mean[lane]) * factor[lane] + offset[lane];
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    y[i] = (x[i] - mean[lane]) * factor[lane] + offset[lane];
  }
}

/// Sums of dy (x - mean) and of dy.
CAFFE_VECTOR_CLONES
void SumChunk(int count, const float* x, const float* dy, const float* mean,
    float* sums) {
  float products[kLanes] = {0}, plain[kLanes] = {0};
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      products[lane] += dy[i + lane] * (x[i + lane] - mean[lane]);
      plain[lane] += dy[i + lane];
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    products[lane] += dy[i] * (x[i] - mean[lane]);
    plain[lane] += dy[i];
  }
  std::copy(products, products + kLanes, sums);
  std::copy(plain, plain + kLanes, sums + kLanes);
}

/// Mean of each lane, and the sum of squares about it.
CAFFE_VECTOR_CLONES
void MomentsOfChunk(int count, const float* x, float* moments) {
  float mean[kLanes] = {0}, squares[kLanes] = {0};
  const int whole = count / kLanes * kLanes;
  for (int i = 0; i < whole; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      mean[lane] += x[i + lane];
    }
  }
  for (int i = whole; i < count; ++i) {
    mean[i - whole] += x[i];
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    const int own = (count - lane + kLanes - 1) / kLanes;
    mean[lane] /= own > 0 ? own : 1;
  }
  for (int i = 0; i < whole; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float off = x[i + lane] - mean[lane];
      squares[lane] += off * off;
    }
  }
  for (int i = whole; i < count; ++i) {
    const float off = x[i] - mean[i - whole];
    squares[i - whole] += off * off;
  }
  std::copy(mean, mean + kLanes, moments);
  std::copy(squares, squares + kLanes, moments + kLanes);
}

CAFFE_VECTOR_CLONES
void CombineChunk(int count, const float* x, const float* y, const float* mean,
    const float* a, const float* b, const float* c, float* z) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      z[i + lane] = a[lane] * y[i + lane] +
          (b[lane] * (x[i + lane] - mean[lane]) + c[lane]);
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    z[i] = a[lane] * y[i] + (b[lane] * (x[i] - mean[lane]) + c[lane]);
  }
}

CAFFE_VECTOR_CLONES
void ReluChunk(int count, float slope, float* y) {
  for (int i = 0; i < count; ++i) {
    y[i] = y[i] > 0 ? y[i] : y[i] * slope;
  }
}

CAFFE_VECTOR_CLONES
void MaskChunk(int count, const float* dy, const float* y, float slope,
    float* dv) {
  for (int i = 0; i < count; ++i) {
    dv[i] = y[i] > 0 ? dy[i] : dy[i] * slope;
  }
}

/// dv of a part: written to room, or where it is already.
const float* DvOf(const Part& part, const NormDiff& diff, float* room) {
  const float* dy = diff.dy + part.at;
  if (!diff.y) {
    return dy;
  }
  MaskChunk(part.count, dy, diff.y + part.at, diff.slope, room);
  return room;
}

/// du of a part of which dv is known.
const float* DuOf(const ChannelRows& rows, const Part& part,
    const NormDiff& diff, const float* dv, float* room) {
  if (!diff.scale) {
    return dv;
  }
  const Spread none(rows, part, NULL, 0), scales(rows, part, diff.scale, 0);
  ScaleChunk(part.count, dv, none.lanes, scales.lanes, none.lanes, room);
  return room;
}

}  // namespace

void ScaleChannels(const ChannelRows& rows, const float* x, const float* mean,
    const float* factor, const float* offset, float* y) {
  OverParts(rows, [&](const Part& part) {
    const Spread means(rows, part, mean, 0), factors(rows, part, factor, 1),
        offsets(rows, part, offset, 0);
    ScaleChunk(part.count, x + part.at, means.lanes, factors.lanes,
        offsets.lanes, y + part.at);
  });
}

void SumChannels(const ChannelRows& rows, const float* x, const float* dy,
    float* sum_product, float* sum) {
  LaneSums lanes(rows);
  OverParts(rows, [&](const Part& part) {
    const Spread none(rows, part, NULL, 0);
    SumChunk(part.count, x + part.at, dy + part.at, none.lanes,
        lanes.Of(part.number));
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
    MomentsOfChunk(part.count, x + part.at, moments.Of(part.number));
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
  OverParts(rows, [&](const Part& part) {
    const Spread means(rows, part, mean, 0), factors(rows, part, factor, 1),
        none(rows, part, NULL, 0);
    float* mine = y + part.at;
    ScaleChunk(part.count, x + part.at, means.lanes, factors.lanes, none.lanes,
        mine);
    if (after.scale) {
      const Spread scales(rows, part, after.scale, 1),
          offsets(rows, part, after.offset, 0);
      ScaleChunk(part.count, mine, none.lanes, scales.lanes, offsets.lanes,
          mine);
    }
    if (after.relu) {
      ReluChunk(part.count, after.slope, mine);
    }
  });
}

void WriteNormDiff(const ChannelRows& rows, const NormDiff& diff, float* du) {
  OverParts(rows, [&](const Part& part) {
    float room[kChunk];
    const float* found = DuOf(rows, part, diff, DvOf(part, diff, room), room);
    if (found != du + part.at) {
      std::copy(found, found + part.count, du + part.at);
    }
  });
}

void SumNormDiff(const ChannelRows& rows, const float* x, const float* mean,
    const float* factor, const NormDiff& diff, NormSums* sums) {
  LaneSums of_dv(rows), of_du(rows);
  OverParts(rows, [&](const Part& part) {
    float room[kChunk], u[kChunk];
    const Spread means(rows, part, mean, 0), factors(rows, part, factor, 1),
        none(rows, part, NULL, 0);
    const float* dv = DvOf(part, diff, room);
    ScaleChunk(part.count, x + part.at, means.lanes, factors.lanes, none.lanes,
        u);
    SumChunk(part.count, u, dv, none.lanes, of_dv.Of(part.number));
    SumChunk(part.count, x + part.at, DuOf(rows, part, diff, dv, room),
        means.lanes, of_du.Of(part.number));
  });
  of_dv.AddUp(&sums->dv_u, &sums->dv);
  of_du.AddUp(&sums->du_x, &sums->du);
}

void CombineChannels(const ChannelRows& rows, const float* x,
    const NormDiff& diff, const float* mean, const float* a, const float* b,
    const float* c, float* z) {
  OverParts(rows, [&](const Part& part) {
    float room[kChunk];
    const Spread means(rows, part, mean, 0), as(rows, part, a, 0),
        bs(rows, part, b, 0), cs(rows, part, c, 0);
    const float* du = DuOf(rows, part, diff, DvOf(part, diff, room), room);
    CombineChunk(part.count, x + part.at, du, means.lanes, as.lanes, bs.lanes,
        cs.lanes, z + part.at);
  });
}

}  // namespace caffe
