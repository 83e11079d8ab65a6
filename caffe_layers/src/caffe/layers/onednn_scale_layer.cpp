#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/onednn_scale_layer.hpp"
#include "caffe/util/channel_rows.hpp"

namespace caffe {

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

namespace {

/// The data in one of the layouts that rows are made of: its own if it is one.
dnnl::memory AsRows(const Blob<float>& blob, onednn::Part part,
    ChannelRows* rows) {
  const dnnl::memory memory = onednn::Read(blob, part);
  if (onednn::RowsOf(memory.get_desc(), blob.shape(), rows)) {
    return memory;
  }
  const onednn::Layout plain = onednn::Plain(onednn::DimsOf(blob.shape()));
  onednn::RowsOf(plain, blob.shape(), rows);
  return onednn::ReadAs(blob, part, plain);
}

}  // namespace

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
  ChannelRows rows;
  dnnl::memory x = AsRows(*AsFloat(bottom[0]), DATA, &rows);
  if (bottom[0] == top[0] && this->param_propagate_down_[0]) {
    x = keeper_.Keep(AsFloat(bottom[0]));
  }
  onednn::Output out(AsFloat(top[0]), DATA, x.get_desc());
  const Blob<float>* offset = this->bias_layer_ ?
      AsFloat(this->blobs_[this->bias_param_id_].get()) : NULL;
  ScaleChannels(rows, onednn::Values(x),
      AsFloat(this->blobs_[0].get())->cpu_data(),
      offset ? offset->cpu_data() : NULL, onednn::Values(out.memory()));
  out.Done();
}

template <typename Dtype>
void OnednnScaleLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!Suits(bottom)) {
    ScaleLayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  Blob<float>* factor = AsFloat(this->blobs_[0].get());
  Blob<float>* offset = this->bias_layer_ &&
      this->param_propagate_down_[this->bias_param_id_] ?
      AsFloat(this->blobs_[this->bias_param_id_].get()) : NULL;
  const bool learns = this->param_propagate_down_[0];
  ChannelRows rows;
  dnnl::memory dy = AsRows(*AsFloat(top[0]), DIFF, &rows);
  if (learns || offset) {
    dnnl::memory x = dy;
    if (learns) {
      // The layout of the data is that of the diff, as a rule.
      x = bottom[0] == top[0] ? keeper_.memory() :
          onednn::ReadAs(*AsFloat(bottom[0]), DATA, dy.get_desc());
      if (x.get_desc() != dy.get_desc()) {
        dy = onednn::ReadAs(*AsFloat(top[0]), DIFF, x.get_desc());
        AsRows(*AsFloat(top[0]), DIFF, &rows);
      }
    }
    SumChannels(rows, onednn::Values(x), onednn::Values(dy),
        learns ? factor->mutable_cpu_diff() : NULL,
        offset ? offset->mutable_cpu_diff() : NULL);
  }
  if (propagate_down[0]) {
    onednn::Output out(AsFloat(bottom[0]), DIFF, dy.get_desc());
    ScaleChannels(rows, onednn::Values(dy), factor->cpu_data(), NULL,
        onednn::Values(out.memory()));
    out.Done();
  }
}

INSTANTIATE_CLASS(OnednnScaleLayer);

}  // namespace caffe

#endif  // USE_ONEDNN
