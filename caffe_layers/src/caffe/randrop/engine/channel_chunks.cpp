#include "caffe/randrop/engine/channel_chunks.hpp"

#include <algorithm>
#include <cstddef>

#include "caffe/randrop/simd/clones.hpp"

namespace caffe {
namespace randrop {

namespace {

/// A vector that fits a register; several cover all lanes. Compilers spill
/// vectors longer than a register to memory.
typedef float Vector __attribute__((vector_size(32), aligned(4), may_alias));
const int kWidth = sizeof(Vector) / sizeof(float);

inline const Vector& At(const float* data) {
  return *reinterpret_cast<const Vector*>(data);
}
inline Vector& At(float* data) { return *reinterpret_cast<Vector*>(data); }

}  // namespace

RANDROP_VECTOR_CLONES
void ScaleChunk(int count, ChunkIn x, const float* mean, const float* factor,
    const float* offset, ChunkOut y) {
  const Vector m0 = At(mean), m1 = At(mean + kWidth);
  const Vector f0 = At(factor), f1 = At(factor + kWidth);
  const Vector o0 = At(offset), o1 = At(offset + kWidth);
  for (; count >= kLanes; count -= kLanes) {
    At(y.data) = (At(x.data) - m0) * f0 + o0;
    At(y.data + kWidth) = (At(x.data + kWidth) - m1) * f1 + o1;
    x.data += x.step;
    y.data += y.step;
  }
  for (int lane = 0; lane < count; ++lane) {
    y.data[lane] = (x.data[lane] - mean[lane]) * factor[lane] + offset[lane];
  }
}

RANDROP_VECTOR_CLONES
void SumChunk(int count, ChunkIn x, ChunkIn dy, const float* mean,
    float* sums) {
  const Vector m0 = At(mean), m1 = At(mean + kWidth);
  Vector products0 = {0}, products1 = {0}, plain0 = {0}, plain1 = {0};
  for (; count >= kLanes; count -= kLanes) {
    const Vector d0 = At(dy.data), d1 = At(dy.data + kWidth);
    products0 += d0 * (At(x.data) - m0);
    products1 += d1 * (At(x.data + kWidth) - m1);
    plain0 += d0;
    plain1 += d1;
    x.data += x.step;
    dy.data += dy.step;
  }
  At(sums) = products0;
  At(sums + kWidth) = products1;
  At(sums + kLanes) = plain0;
  At(sums + kLanes + kWidth) = plain1;
  for (int lane = 0; lane < count; ++lane) {
    sums[lane] += dy.data[lane] * (x.data[lane] - mean[lane]);
    sums[kLanes + lane] += dy.data[lane];
  }
}

RANDROP_VECTOR_CLONES
void MomentsOfChunk(int count, ChunkIn x, float* moments) {
  const int groups = count / kLanes, rest = count % kLanes;
  const float* last = x.data + static_cast<size_t>(groups) * x.step;
  float* mean = moments;
  float* squares = moments + kLanes;
  Vector sum0 = {0}, sum1 = {0};
  const float* at = x.data;
  for (int i = 0; i < groups; ++i, at += x.step) {
    sum0 += At(at);
    sum1 += At(at + kWidth);
  }
  At(mean) = sum0;
  At(mean + kWidth) = sum1;
  for (int lane = 0; lane < rest; ++lane) {
    mean[lane] += last[lane];
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    mean[lane] /= std::max(1, CountOf(lane, count));
  }
  const Vector m0 = At(mean), m1 = At(mean + kWidth);
  sum0 = sum1 = Vector();
  at = x.data;
  for (int i = 0; i < groups; ++i, at += x.step) {
    const Vector off0 = At(at) - m0, off1 = At(at + kWidth) - m1;
    sum0 += off0 * off0;
    sum1 += off1 * off1;
  }
  At(squares) = sum0;
  At(squares + kWidth) = sum1;
  for (int lane = 0; lane < rest; ++lane) {
    const float off = last[lane] - mean[lane];
    squares[lane] += off * off;
  }
}

RANDROP_VECTOR_CLONES
void CombineChunk(int count, ChunkIn x, ChunkIn y, const float* mean,
    const float* a, const float* b, const float* c, ChunkOut z) {
  const Vector m0 = At(mean), m1 = At(mean + kWidth);
  const Vector a0 = At(a), a1 = At(a + kWidth);
  const Vector b0 = At(b), b1 = At(b + kWidth);
  const Vector c0 = At(c), c1 = At(c + kWidth);
  for (; count >= kLanes; count -= kLanes) {
    const Vector x0 = At(x.data), x1 = At(x.data + kWidth);
    const Vector y0 = At(y.data), y1 = At(y.data + kWidth);
    At(z.data) = a0 * y0 + (b0 * (x0 - m0) + c0);
    At(z.data + kWidth) = a1 * y1 + (b1 * (x1 - m1) + c1);
    x.data += x.step;
    y.data += y.step;
    z.data += z.step;
  }
  for (int lane = 0; lane < count; ++lane) {
    z.data[lane] = a[lane] * y.data[lane] +
        (b[lane] * (x.data[lane] - mean[lane]) + c[lane]);
  }
}

RANDROP_VECTOR_CLONES
void MaskChunk(int count, ChunkIn dy, ChunkIn y, float slope, ChunkOut dv) {
  for (; count >= kLanes; count -= kLanes) {
    const Vector d0 = At(dy.data), d1 = At(dy.data + kWidth);
    const Vector y0 = At(y.data), y1 = At(y.data + kWidth);
    At(dv.data) = y0 > 0 ? d0 : d0 * slope;
    At(dv.data + kWidth) = y1 > 0 ? d1 : d1 * slope;
    dy.data += dy.step;
    y.data += y.step;
    dv.data += dv.step;
  }
  for (int lane = 0; lane < count; ++lane) {
    const float d = dy.data[lane];
    dv.data[lane] = y.data[lane] > 0 ? d : d * slope;
  }
}

void CopyChunk(int count, ChunkIn from, ChunkOut to) {
  for (; count > 0; count -= kLanes) {
    std::copy(from.data, from.data + std::min(count, kLanes), to.data);
    from.data += from.step;
    to.data += to.step;
  }
}

}  // namespace randrop
}  // namespace caffe
