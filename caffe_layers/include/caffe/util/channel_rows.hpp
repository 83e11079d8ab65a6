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

/// @brief y = factor x + offset of each channel; NULL: 1 and 0. In place too.
void ScaleChannels(const ChannelRows& rows, const float* x, const float* factor,
    const float* offset, float* y);

/// @brief Adds to each channel's sums those of dy x and of dy; NULL: not
///        wanted. The same for any number of threads.
void SumChannels(const ChannelRows& rows, const float* x, const float* dy,
    float* sum_product, float* sum);

}  // namespace caffe

#endif  // CAFFE_UTIL_CHANNEL_ROWS_HPP_
