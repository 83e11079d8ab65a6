#ifndef CAFFE_RANDROP_ENGINE_CHANNEL_ROWS_HPP_
#define CAFFE_RANDROP_ENGINE_CHANNEL_ROWS_HPP_

#include <vector>

#include "caffe/common.hpp"

namespace caffe {
namespace randrop {

/**
 * @brief Data of (images x channels x area) as rows: a row is the area of one
 *        channel, or of `block` neighbouring channels, interleaved at each
 *        pixel.
 */
struct ChannelRows {
  int images, channels, area;
  int block;  // 1, 8 or 16
  /// All rows of an image are interleaved, too: a pixel has all its channels,
  /// a multiple of 16, side by side. The block is 16.
  bool channels_last;

  int RowsAnImage() const { return (channels + block - 1) / block; }
  int Length() const { return area * block; }
};

// All give the same result for any number of threads. A per-channel parameter
// is an array of `channels` numbers.

/// @brief y = factor (x - mean) + offset for each channel; NULL: 1 and 0. Works
///        in place.
void ScaleChannels(const ChannelRows& rows, const float* x, const float* mean,
    const float* factor, const float* offset, float* y);

/// @brief Adds sum dy x and sum dy to each channel's sums; NULL: not wanted.
void SumChannels(const ChannelRows& rows, const float* x, const float* dy,
    float* sum_product, float* sum);

/// @brief Mean and (biased) variance of each channel. The variance is taken
///        about the mean, not as a difference of squares.
void ChannelMoments(const ChannelRows& rows, const float* x, float* mean,
    float* variance);

/// @brief Scale and ReLU after a batch normalisation with output u:
///        v = scale u + offset; y = v where v is positive, else slope v.
struct AfterNorm {
  const float* scale;   // NULL: no Scale
  const float* offset;
  bool relu;
  float slope;
};

/// @brief Computes y from x, with u = factor (x - mean), in one pass over
///        memory. Bitwise equal to a separate pass for each step.
void NormaliseChannels(const ChannelRows& rows, const float* x,
    const float* mean, const float* factor, const AfterNorm& after, float* y);

/// @brief The diff of u, given that of y: dv = dy where y is positive, else
///        slope dy; du = scale dv. Without y and scale, du = dy.
struct NormDiff {
  const float* dy;
  const float* y;      // NULL: no ReLU
  float slope;
  const float* scale;  // NULL: no Scale
};

/// @brief Writes du, or dv if diff has no scale; du may be dy.
void WriteNormDiff(const ChannelRows& rows, const NormDiff& diff, float* du);

/// @brief Sums over each channel of dv u, dv, du (x - mean) and du.
struct NormSums {
  std::vector<double> dv_u, dv, du_x, du;
};
void SumNormDiff(const ChannelRows& rows, const float* x, const float* mean,
    const float* factor, const NormDiff& diff, NormSums* sums);

/// @brief z = a du + b (x - mean) + c for each channel; z may be x or dy.
void CombineChannels(const ChannelRows& rows, const float* x,
    const NormDiff& diff, const float* mean, const float* a, const float* b,
    const float* c, float* z);

/// @brief dx = dy where x is positive, else slope dy, in any layout; a ReLU if
///        dy = x. NaN stays NaN, whereas oneDNN's own ReLU turns it into 0.
void Rectify(size_t count, const float* dy, const float* x, float slope,
    float* dx);

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_ENGINE_CHANNEL_ROWS_HPP_
