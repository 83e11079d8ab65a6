#ifdef USE_ONEDNN

#include <cmath>
#include <vector>

#include "caffe/layers/onednn_batch_norm_layer.hpp"
#include "caffe/randrop/engine/channel_rows.hpp"
#include "caffe/randrop/engine/deferred.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

namespace onednn = randrop::onednn;
using randrop::ChannelMoments;
using randrop::ChannelRows;
using randrop::CombineChannels;
using randrop::NormDiff;
using randrop::NormSums;
using randrop::ScaleChannels;
using randrop::SumNormDiff;

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

template <typename Dtype>
bool OnednnBatchNormLayer<Dtype>::Suits(const Blob<Dtype>& bottom) const {
  return AsFloat(const_cast<Blob<Dtype>*>(&bottom)) && bottom.count() > 0 &&
      bottom.num_axes() >= 2;
}

template <typename Dtype>
vector<float> OnednnBatchNormLayer<Dtype>::Factors() const {
  vector<float> factors(this->channels_);
  const Dtype* variance = this->variance_.cpu_data();
  for (int c = 0; c < this->channels_; ++c) {
    factors[c] = 1 / std::sqrt(static_cast<double>(variance[c]) + this->eps_);
  }
  return factors;
}

template <typename Dtype>
void OnednnBatchNormLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  if (!Suits(*bottom[0])) {
    BatchNormLayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  Blob<float>* from = AsFloat(bottom[0]);
  const onednn::Layout& layout = layout_.For(*from, DATA);
  const dnnl::memory x = this->use_global_stats_ ?
      onednn::ReadAs(*from, DATA, layout) :
      keeper_.Keep(from, layout, bottom[0] == top[0]);
  const ChannelRows rows = onednn::RowsIn(x, from->shape());
  float* mean = AsFloat(&this->mean_)->mutable_cpu_data();
  float* variance = AsFloat(&this->variance_)->mutable_cpu_data();
  if (this->use_global_stats_) {
    const float weight = this->blobs_[2]->cpu_data()[0];
    const float scale = weight == 0 ? 0 : 1 / weight;
    caffe_cpu_scale(this->channels_, scale,
        AsFloat(this->blobs_[0].get())->cpu_data(), mean);
    caffe_cpu_scale(this->channels_, scale,
        AsFloat(this->blobs_[1].get())->cpu_data(), variance);
  } else {
    ChannelMoments(rows, onednn::Values(x), mean, variance);
    KeepAverages(from->count() / this->channels_);
  }
  Blob<float>* to = AsFloat(top[0]);
  if (!this->use_global_stats_ && onednn::MayDefer(*to, DATA, layout)) {
    shared_ptr<onednn::DeferredNorm> norm(
        new onednn::DeferredNorm(to->shape()));
    norm->x = keeper_.data();
    norm->mean.assign(mean, mean + this->channels_);
    norm->factor = Factors();
    norm->buffer = onednn::BufferOf(to->data().get(), layout);
    onednn::Defer(norm, DATA, to);
    return;
  }
  onednn::Output out(to, DATA, layout);
  ScaleChannels(rows, onednn::Values(x), mean, &Factors()[0], NULL,
      onednn::Values(out.memory()));
  out.Done();
}

template <typename Dtype>
void OnednnBatchNormLayer<Dtype>::KeepAverages(int count) {
  const Dtype fraction = this->moving_average_fraction_;
  this->blobs_[2]->mutable_cpu_data()[0] *= fraction;
  this->blobs_[2]->mutable_cpu_data()[0] += 1;
  caffe_cpu_axpby(this->channels_, Dtype(1), this->mean_.cpu_data(), fraction,
      this->blobs_[0]->mutable_cpu_data());
  caffe_cpu_axpby(this->channels_,
      count > 1 ? Dtype(count) / (count - 1) : Dtype(1),
      this->variance_.cpu_data(), fraction,
      this->blobs_[1]->mutable_cpu_data());
}

// With means over a channel, f = 1 / sqrt(variance + eps) and the normalised
// y = f (x - mean):
//
//   dx = f (dy - mean(dy) - y mean(y dy))
//      = f dy - f^3 mean((x - mean) dy) (x - mean) - f mean(dy).
template <typename Dtype>
void OnednnBatchNormLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0]) {
    return;
  }
  // Without a forward pass of this shape, Caffe's code has no valid data
  // either, but does not abort.
  if (!Suits(*bottom[0]) || (!this->use_global_stats_ &&
      !keeper_.HasOf(*AsFloat(bottom[0])))) {
    BatchNormLayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  Blob<float>* to = AsFloat(bottom[0]);
  const vector<float> factors = Factors();
  if (this->use_global_stats_) {
    const onednn::Layout& layout = layout_.For(*AsFloat(top[0]), DIFF);
    const dnnl::memory dy = onednn::ReadAs(*AsFloat(top[0]), DIFF, layout);
    onednn::Output out(to, DIFF, layout);
    ScaleChannels(onednn::RowsIn(dy, to->shape()), onednn::Values(dy), NULL,
        &factors[0], NULL, onednn::Values(out.memory()));
    out.Done();
    return;
  }
  const dnnl::memory x = keeper_.memory();
  const onednn::Layout layout = x.get_desc();
  const ChannelRows rows = onednn::RowsIn(x, to->shape());
  const float* mean = AsFloat(&this->mean_)->cpu_data();
  // The steps that a ReLU and a Scale on top left pending, or the plain diff.
  const shared_ptr<onednn::DeferredDiff> due =
      onednn::DueIn<onednn::DeferredDiff>(*AsFloat(top[0]), DIFF);
  NormDiff diff = {NULL, NULL, 0, NULL};
  if (due && due->buffer->memory.get_desc() == layout) {
    diff = due->Diff();
  } else {
    diff.dy = onednn::Values(onednn::ReadAs(*AsFloat(top[0]), DIFF, layout));
  }
  NormSums added;
  const NormSums* sums = &added;
  if (diff.y && due->summed_x == keeper_.data()) {
    sums = &due->sums;
  } else {
    SumNormDiff(rows, onednn::Values(x), mean, &factors[0], diff, &added);
  }
  const int channels = this->channels_;
  vector<float> of_x(channels), offsets(channels);
  const double count = to->count() / channels;
  for (int c = 0; c < channels; ++c) {
    const double f = factors[c];
    of_x[c] = -f * f * f * sums->du_x[c] / count;
    offsets[c] = -f * sums->du[c] / count;
  }
  onednn::Output out(to, DIFF, layout);
  CombineChannels(rows, onednn::Values(x), diff, mean, &factors[0], &of_x[0],
      &offsets[0], onednn::Values(out.memory()));
  out.Done();
}

INSTANTIATE_CLASS(OnednnBatchNormLayer);

}  // namespace caffe

#endif  // USE_ONEDNN
