#ifndef CAFFE_UTIL_CHANNEL_ROWS_HPP_
#define CAFFE_UTIL_CHANNEL_ROWS_HPP_

#include <vector>

#include "caffe/common.hpp"

namespace caffe {

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

/// @brief Sums of dy (x - mean) and of dy over each channel.
void CentredSums(const ChannelRows& rows, const float* x, const float* dy,
    const float* mean, double* sum_product, double* sum);

/// @brief z = a y + b (x - mean) + c of each channel; z may be x or y.
void CombineChannels(const ChannelRows& rows, const float* x, const float* y,
    const float* mean, const float* a, const float* b, const float* c,
    float* z);

}  // namespace caffe

#endif  // CAFFE_UTIL_CHANNEL_ROWS_HPP_
