#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/onednn_scale_layer.hpp"
#include "caffe/randrop/engine/channel_rows.hpp"
#include "caffe/randrop/engine/deferred.hpp"

namespace caffe {

namespace onednn = randrop::onednn;
using randrop::ChannelRows;
using randrop::NormDiff;
using randrop::NormSums;
using randrop::ScaleChannels;
using randrop::SumChannels;
using randrop::SumNormDiff;
using randrop::WriteNormDiff;

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

template <typename Dtype>
bool OnednnScaleLayer<Dtype>::Suits(const vector<Blob<Dtype>*>& bottom) const {
  return AsFloat(bottom[0]) && bottom.size() == 1 &&
      bottom[0]->num_axes() >= 2 && bottom[0]->count() > 0 &&
      this->axis_ == 1 && this->blobs_[0]->num_axes() == 1;
}

template <typename Dtype>
void OnednnScaleLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (!Suits(bottom)) {
    ScaleLayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  norm_.reset();
  const shared_ptr<onednn::DeferredNorm> norm = bottom[0] == top[0] ?
      onednn::DueIn<onednn::DeferredNorm>(*AsFloat(bottom[0]), DATA) :
      shared_ptr<onednn::DeferredNorm>();
  if (norm && norm->scale.empty()) {
    const Dtype* scale = this->blobs_[0]->cpu_data();
    norm->scale.assign(scale, scale + this->blobs_[0]->count());
    norm->offset.assign(norm->scale.size(), 0);
    if (this->bias_layer_) {
      const Dtype* offset = this->blobs_[this->bias_param_id_]->cpu_data();
      norm->offset.assign(offset, offset + norm->scale.size());
    }
    norm_.reset(new onednn::DeferredNorm(*norm));
    norm_->buffer.reset();  // only the blob keeps it
    layout_.SetFirst(bottom[0]->shape(), norm_->x->memory.get_desc());
    return;
  }
  const onednn::Layout& layout = layout_.For(*AsFloat(bottom[0]), DATA);
  const dnnl::memory x = bottom[0] == top[0] && this->param_propagate_down_[0] ?
      keeper_.Keep(AsFloat(bottom[0]), layout, true) :
      onednn::ReadAs(*AsFloat(bottom[0]), DATA, layout);
  onednn::Output out(AsFloat(top[0]), DATA, layout);
  const Blob<float>* offset = this->bias_layer_ ?
      AsFloat(this->blobs_[this->bias_param_id_].get()) : NULL;
  ScaleChannels(onednn::RowsIn(x, bottom[0]->shape()), onednn::Values(x), NULL,
      AsFloat(this->blobs_[0].get())->cpu_data(),
      offset ? offset->cpu_data() : NULL, onednn::Values(out.memory()));
  out.Done();
}

template <typename Dtype>
void OnednnScaleLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  const bool in_place = bottom[0] == top[0];
  // With a second bottom there are no parameters.
  const bool learns = bottom.size() == 1 && this->param_propagate_down_[0];
  // Without a forward pass of this shape, Caffe's code has no valid data
  // either, but does not abort.
  if (!Suits(bottom) ||
      (norm_ ? norm_->shape() != bottom[0]->shape() :
       learns && in_place && !keeper_.HasOf(*AsFloat(bottom[0])))) {
    ScaleLayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  Blob<float>* factor = AsFloat(this->blobs_[0].get());
  Blob<float>* offset = this->bias_layer_ &&
      this->param_propagate_down_[this->bias_param_id_] ?
      AsFloat(this->blobs_[this->bias_param_id_].get()) : NULL;
  if (norm_) {
    BackwardOfNorm(AsFloat(top[0]), learns ? factor : NULL, offset);
    return;
  }
  // One layout for all: that of the data, usually that of the diff too.
  dnnl::memory x;
  if (learns && in_place) {
    x = keeper_.memory();
  } else if (learns) {
    x = onednn::ReadAs(*AsFloat(bottom[0]), DATA,
        layout_.For(*AsFloat(bottom[0]), DATA));
  }
  const onednn::Layout layout =
      learns ? x.get_desc() : layout_.For(*AsFloat(top[0]), DIFF);
  const dnnl::memory dy = onednn::ReadAs(*AsFloat(top[0]), DIFF, layout);
  const ChannelRows rows = onednn::RowsIn(dy, top[0]->shape());
  if (learns || offset) {
    SumChannels(rows, onednn::Values(learns ? x : dy), onednn::Values(dy),
        learns ? factor->mutable_cpu_diff() : NULL,
        offset ? offset->mutable_cpu_diff() : NULL);
  }
  if (propagate_down[0]) {
    onednn::Output out(AsFloat(bottom[0]), DIFF, layout);
    ScaleChannels(rows, onednn::Values(dy), NULL, factor->cpu_data(), NULL,
        onednn::Values(out.memory()));
    out.Done();
  }
}

// In place on a batch normalisation whose output u was never written:
// recomputes u from x.
template <typename Dtype>
void OnednnScaleLayer<Dtype>::BackwardOfNorm(Blob<float>* blob,
    Blob<float>* factor, Blob<float>* offset) {
  const dnnl::memory& x = norm_->x->memory;
  const ChannelRows rows = onednn::RowsIn(x, blob->shape());
  shared_ptr<onednn::DeferredDiff> due =
      onednn::DueIn<onednn::DeferredDiff>(*blob, DIFF);
  NormSums added;
  NormDiff diff = {NULL, NULL, 0, &norm_->scale[0]};
  if (due && due->scale.empty() &&
      due->buffer->memory.get_desc() == x.get_desc()) {
    due->scale = norm_->scale;
    diff = due->Diff();
  } else {
    due.reset();
    diff.dy = onednn::Values(onednn::ReadAs(*blob, DIFF, x.get_desc()));
  }
  NormSums* sums = due ? &due->sums : &added;
  SumNormDiff(rows, onednn::Values(x), &norm_->mean[0], &norm_->factor[0], diff,
      sums);
  for (int c = 0; c < rows.channels; ++c) {
    if (factor) {
      factor->mutable_cpu_diff()[c] += sums->dv_u[c];
    }
    if (offset) {
      offset->mutable_cpu_diff()[c] += sums->dv[c];
    }
  }
  if (due) {
    due->summed_x = norm_->x;
    return;
  }
  onednn::Output out(blob, DIFF, x.get_desc());
  WriteNormDiff(rows, diff, onednn::Values(out.memory()));
  out.Done();
}

INSTANTIATE_CLASS(OnednnScaleLayer);

}  // namespace caffe

#endif  // USE_ONEDNN
