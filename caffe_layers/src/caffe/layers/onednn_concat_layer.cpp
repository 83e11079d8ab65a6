#ifdef USE_ONEDNN

#include <algorithm>
#include <vector>

#include "caffe/layers/onednn_concat_layer.hpp"
#include "caffe/randrop/loops/parallel.hpp"
#include "caffe/randrop/loops/pieces.hpp"

namespace caffe {

namespace onednn = randrop::onednn;
using randrop::ChannelRows;
using randrop::ParallelFor;
using randrop::Pieces;

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

template <typename Dtype>
bool OnednnConcatLayer<Dtype>::Suits(const vector<Blob<Dtype>*>& bottom) const {
  for (int i = 0; i < bottom.size(); ++i) {
    if (!AsFloat(bottom[i]) || bottom[i]->count() == 0 ||
        bottom[i]->num_axes() > 6) {
      return false;
    }
  }
  return bottom.size() > 1;
}

template <typename Dtype>
bool OnednnConcatLayer<Dtype>::WholeBlocks(
    const vector<Blob<Dtype>*>& bottom, ChannelRows* rows) const {
  if (this->concat_axis_ != 1) {
    return false;
  }
  for (int i = 0; i < bottom.size(); ++i) {
    ChannelRows mine;
    if (!onednn::RowsOf(onednn::Read(*AsFloat(bottom[i]), DATA).get_desc(),
            bottom[i]->shape(), &mine) ||
        mine.channels % mine.block != 0 ||
        (i > 0 && (mine.block != rows->block ||
         mine.channels_last != rows->channels_last))) {
      return false;
    }
    *rows = mine;
  }
  return true;
}

namespace {

/// Least number of elements that a thread takes at a time.
const int kGrain = 1 << 15;

/// The layout of these rows for another number of channels.
onednn::Layout LayoutOf(const ChannelRows& rows, const vector<int>& shape) {
  return rows.channels_last ? onednn::ChannelsLast(shape) :
      onednn::InBlocks(shape, rows.block);
}

/// Copies to or from the part of each image that starts at channel `offset`.
void CopyChannels(const ChannelRows& rows, int channels, int offset,
    int all_channels, float* part, float* whole, bool to_whole) {
  if (rows.channels_last) {
    const int pixels = rows.images * rows.area;
    const int together = std::max(1, kGrain / channels);
    ParallelFor((pixels + together - 1) / together, [&](int task) {
      const int end = std::min(pixels, (task + 1) * together);
      for (int pixel = task * together; pixel < end; ++pixel) {
        float* mine = part + static_cast<size_t>(pixel) * channels;
        float* its = whole + static_cast<size_t>(pixel) * all_channels + offset;
        std::copy(to_whole ? mine : its, (to_whole ? mine : its) + channels,
            to_whole ? its : mine);
      }
    });
    return;
  }
  const int count = channels * rows.area;
  const Pieces pieces(rows.images, count);
  pieces.ForParts([&](int piece, int first, int last) {
    const int n = piece / pieces.PartsOfSegment();
    float* mine = part + first;
    // Images are further apart in `whole`.
    float* its = whole + first +
        (static_cast<size_t>(n) * (all_channels - channels) + offset) *
        rows.area;
    std::copy(to_whole ? mine : its, (to_whole ? mine : its) + (last - first),
        to_whole ? its : mine);
  });
}

}  // namespace

template <typename Dtype>
void OnednnConcatLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (!Suits(bottom)) {
    ConcatLayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  ChannelRows rows;
  if (WholeBlocks(bottom, &rows)) {
    onednn::Output out(AsFloat(top[0]), DATA,
        LayoutOf(rows, top[0]->shape()));
    int offset = 0;
    for (int i = 0; i < bottom.size(); ++i) {
      CopyChannels(rows, bottom[i]->shape(1), offset, top[0]->shape(1),
          onednn::Values(onednn::Read(*AsFloat(bottom[i]), DATA)),
          onednn::Values(out.memory()), true);
      offset += bottom[i]->shape(1);
    }
    out.Done();
    return;
  }
  onednn::Arguments arguments;
  std::vector<onednn::Layout> layouts;
  for (int i = 0; i < bottom.size(); ++i) {
    const dnnl::memory memory = onednn::Read(*AsFloat(bottom[i]), DATA);
    layouts.push_back(memory.get_desc());
    arguments[DNNL_ARG_MULTIPLE_SRC + i] = memory;
  }
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::concat::primitive_desc description(onednn::Engine(),
      this->concat_axis_, layouts);
#else
  const dnnl::concat::primitive_desc description(this->concat_axis_, layouts,
      onednn::Engine());
#endif
  onednn::Output out(AsFloat(top[0]), DATA, description.dst_desc());
  arguments[DNNL_ARG_DST] = out.memory();
  onednn::Execute(dnnl::concat(description), arguments);
  out.Done();
}

template <typename Dtype>
void OnednnConcatLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!Suits(bottom)) {
    ConcatLayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  ChannelRows rows;
  const bool in_blocks = WholeBlocks(bottom, &rows);
  onednn::Dims offset(top[0]->num_axes(), 0);
  for (int i = 0; i < bottom.size(); ++i) {
    const onednn::Dims dims = onednn::DimsOf(bottom[i]->shape());
    if (propagate_down[i]) {
      // In the layout of the data, which the preceding layer uses.
      onednn::Output out(AsFloat(bottom[i]), DIFF,
          onednn::Read(*AsFloat(bottom[i]), DATA).get_desc());
      if (in_blocks) {
        CopyChannels(rows, dims[1], offset[1], top[0]->shape(1),
            onednn::Values(out.memory()),
            onednn::Values(onednn::ReadAs(*AsFloat(top[0]), DIFF,
                LayoutOf(rows, top[0]->shape()))), false);
      } else {
        onednn::Reorder(onednn::SliceOf(*AsFloat(top[0]), DIFF, dims, offset),
            out.memory());
      }
      out.Done();
    }
    offset[this->concat_axis_] += dims[this->concat_axis_];
  }
}

INSTANTIATE_CLASS(OnednnConcatLayer);

}  // namespace caffe

#endif  // USE_ONEDNN
