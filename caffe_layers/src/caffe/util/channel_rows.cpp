#include "caffe/util/channel_rows.hpp"

#include <algorithm>
#include <vector>

#include "caffe/util/vector_clones.hpp"

namespace caffe {

namespace {

const int kLanes = 16;
/// Of a row, what a thread takes at a time: a multiple of the lanes.
const int kChunk = 4096;

int Chunks(const ChannelRows& rows) {
  return (rows.Length() + kChunk - 1) / kChunk;
}

/// A parameter of the channels of a row, one for each lane.
void SpreadOver(const ChannelRows& rows, int row, const float* parameter,
    float otherwise, float lanes[kLanes]) {
  const int first = row % rows.RowsAnImage() * rows.block;
  for (int lane = 0; lane < kLanes; ++lane) {
    const int channel = first + lane % rows.block;
    lanes[lane] = !parameter ? otherwise :
        channel < rows.channels ? parameter[channel] : 0;
  }
}

CAFFE_VECTOR_CLONES
void ScaleChunk(int count, const float* x, const float* factor,
    const float* offset, float* y) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      y[i + lane] = x[i + lane] * factor[lane] + offset[lane];
    }
  }
  for (; i < count; ++i) {
    y[i] = x[i] * factor[i % kLanes] + offset[i % kLanes];
  }
}

CAFFE_VECTOR_CLONES
void SumChunk(int count, const float* x, const float* dy, float* sum_product,
    float* sum) {
  float products[kLanes] = {0}, sums[kLanes] = {0};
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      products[lane] += dy[i + lane] * x[i + lane];
      sums[lane] += dy[i + lane];
    }
  }
  for (; i < count; ++i) {
    products[i % kLanes] += dy[i] * x[i];
    sums[i % kLanes] += dy[i];
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    sum_product[lane] = products[lane];
    sum[lane] = sums[lane];
  }
}

}  // namespace

void ScaleChannels(const ChannelRows& rows, const float* x, const float* factor,
    const float* offset, float* y) {
  const int chunks = Chunks(rows);
  const int tasks = rows.images * rows.RowsAnImage() * chunks;
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
  for (int task = 0; task < tasks; ++task) {
    const int row = task / chunks, begin = task % chunks * kChunk;
    float factors[kLanes], offsets[kLanes];
    SpreadOver(rows, row, factor, 1, factors);
    SpreadOver(rows, row, offset, 0, offsets);
    const size_t at = static_cast<size_t>(row) * rows.Length() + begin;
    ScaleChunk(std::min(kChunk, rows.Length() - begin), x + at, factors,
        offsets, y + at);
  }
}

void SumChannels(const ChannelRows& rows, const float* x, const float* dy,
    float* sum_product, float* sum) {
  const int chunks = Chunks(rows);
  const int tasks = rows.images * rows.RowsAnImage() * chunks;
  std::vector<float> partial(static_cast<size_t>(tasks) * 2 * kLanes);
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
  for (int task = 0; task < tasks; ++task) {
    const int row = task / chunks, begin = task % chunks * kChunk;
    const size_t at = static_cast<size_t>(row) * rows.Length() + begin;
    float* mine = &partial[static_cast<size_t>(task) * 2 * kLanes];
    SumChunk(std::min(kChunk, rows.Length() - begin), x + at, dy + at, mine,
        mine + kLanes);
  }
  std::vector<double> totals(2 * rows.channels);
  for (int task = 0; task < tasks; ++task) {
    const int first = task / chunks % rows.RowsAnImage() * rows.block;
    const float* mine = &partial[static_cast<size_t>(task) * 2 * kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const int channel = first + lane % rows.block;
      if (channel < rows.channels) {
        totals[2 * channel] += mine[lane];
        totals[2 * channel + 1] += mine[kLanes + lane];
      }
    }
  }
  for (int channel = 0; channel < rows.channels; ++channel) {
    if (sum_product) {
      sum_product[channel] += totals[2 * channel];
    }
    if (sum) {
      sum[channel] += totals[2 * channel + 1];
    }
  }
}

}  // namespace caffe
