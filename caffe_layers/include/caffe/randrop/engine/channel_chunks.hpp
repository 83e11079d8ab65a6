#ifndef CAFFE_RANDROP_ENGINE_CHANNEL_CHUNKS_HPP_
#define CAFFE_RANDROP_ENGINE_CHANNEL_CHUNKS_HPP_

namespace caffe {
namespace randrop {

// The inner loops of channel_rows.hpp: over some elements of one row, 16 of
// which belong to 16 lanes. A per-channel parameter has a number for each lane.

const int kLanes = 16;

/// @brief Elements in groups of kLanes that begin `step` apart: kLanes where
///        they are dense, more where other channels lie between them. The last
///        group may have fewer than kLanes.
template <typename T>
struct Strided {
  Strided(T* data, int step) : data(data), step(step) {}
  template <typename U>
  Strided(const Strided<U>& other)  // NOLINT(runtime/explicit)
      : data(other.data), step(other.step) {}

  T* data;
  int step;
};

typedef Strided<const float> ChunkIn;
typedef Strided<float> ChunkOut;

/// @brief How many of `count` elements lie in the lane.
inline int CountOf(int lane, int count) {
  return (count - lane + kLanes - 1) / kLanes;
}

/// @brief y = factor (x - mean) + offset.
void ScaleChunk(int count, ChunkIn x, const float* mean, const float* factor,
    const float* offset, ChunkOut y);

/// @brief Sums of dy (x - mean) and of dy for each lane.
void SumChunk(int count, ChunkIn x, ChunkIn dy, const float* mean,
    float* sums);

/// @brief Mean of each lane and sum of squares about it.
void MomentsOfChunk(int count, ChunkIn x, float* moments);

/// @brief z = a y + (b (x - mean) + c).
void CombineChunk(int count, ChunkIn x, ChunkIn y, const float* mean,
    const float* a, const float* b, const float* c, ChunkOut z);

/// @brief dv = dy where y is positive, else slope dy; a ReLU if y = dy.
void MaskChunk(int count, ChunkIn dy, ChunkIn y, float slope, ChunkOut dv);

void CopyChunk(int count, ChunkIn from, ChunkOut to);

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_ENGINE_CHANNEL_CHUNKS_HPP_
