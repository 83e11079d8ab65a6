#ifndef CAFFE_RANDROP_ENGINE_CHANNEL_ROWS_HPP_
#define CAFFE_RANDROP_ENGINE_CHANNEL_ROWS_HPP_

#include <vector>

#include "caffe/common.hpp"

namespace caffe {
namespace randrop {

/**
 * @brief Data of (images x channels x area) as rows: a row is the area of one
 *        channel, or of `block` neighbouring channels that lie side by side at
 *        each pixel.
 */
struct ChannelRows {
  int images, channels, area;
  int block;  // 1, 8 or 16

  int RowsAnImage() const { return (channels + block - 1) / block; }
  int Length() const { return area * block; }
};

// Each gives the same numbers for any number of threads. A parameter of the
// channels is an array of `channels` numbers.

/// @brief y = factor (x - mean) + offset of each channel; NULL: 1 and 0. In
///        place too.
void ScaleChannels(const ChannelRows& rows, const float* x, const float* mean,
    const float* factor, const float* offset, float* y);

/// @brief Adds to each channel's sums those of dy x and of dy; NULL: not
///        wanted.
void SumChannels(const ChannelRows& rows, const float* x, const float* dy,
    float* sum_product, float* sum);

/// @brief Mean and (biased) variance of each channel, the variance about the
///        mean and not as a difference of squares.
void ChannelMoments(const ChannelRows& rows, const float* x, float* mean,
    float* variance);

/// @brief What Scale and ReLU after a batch normalisation do to its output:
///        v = scale u + offset, y = v where it is positive, else slope v.
struct AfterNorm {
  const float* scale;   // NULL: no Scale
  const float* offset;
  bool relu;
  float slope;
};

/// @brief y of x, with u = factor (x - mean): in one pass over memory, by the
///        same steps and so to the same bits as in one pass each.
void NormaliseChannels(const ChannelRows& rows, const float* x,
    const float* mean, const float* factor, const AfterNorm& after, float* y);

/// @brief The diff of u, of which that of y is known: dv = dy where y is
///        positive, else slope dy; du = scale dv. Without y and scale du = dy.
struct NormDiff {
  const float* dy;
  const float* y;      // NULL: no ReLU
  float slope;
  const float* scale;  // NULL: no Scale
};

/// @brief Writes du, or dv where diff has no scale; in place of dy too.
void WriteNormDiff(const ChannelRows& rows, const NormDiff& diff, float* du);

/// @brief Sums of each channel: of dv u, of dv, of du (x - mean) and of du.
struct NormSums {
  std::vector<double> dv_u, dv, du_x, du;
};
void SumNormDiff(const ChannelRows& rows, const float* x, const float* mean,
    const float* factor, const NormDiff& diff, NormSums* sums);

/// @brief z = a du + b (x - mean) + c of each channel; z may be x or dy.
void CombineChannels(const ChannelRows& rows, const float* x,
    const NormDiff& diff, const float* mean, const float* a, const float* b,
    const float* c, float* z);

/// @brief dx = dy where x is positive, else slope dy, of numbers in any layout;
///        with dy = x a ReLU. NaN stays NaN, which oneDNN's own ReLU makes 0.
void Rectify(size_t count, const float* dy, const float* x, float slope,
    float* dx);

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_ENGINE_CHANNEL_ROWS_HPP_
