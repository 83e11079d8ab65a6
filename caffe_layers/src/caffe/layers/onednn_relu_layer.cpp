#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/onednn_relu_layer.hpp"
#include "caffe/randrop/engine/channel_rows.hpp"
#include "caffe/randrop/engine/deferred.hpp"

namespace caffe {

namespace onednn = randrop::onednn;

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

namespace {

/// Number of floats in a layout, padding included.
size_t CountOf(const dnnl::memory& memory) {
  return memory.get_desc().get_size() / sizeof(float);
}

}  // namespace

template <typename Dtype>
void OnednnReLULayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (!AsFloat(bottom[0]) || bottom[0]->count() == 0) {
    ReLULayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  const float slope = this->layer_param_.relu_param().negative_slope();
  const shared_ptr<onednn::DeferredNorm> norm = bottom[0] == top[0] ?
      onednn::DueIn<onednn::DeferredNorm>(*AsFloat(bottom[0]), DATA) :
      shared_ptr<onednn::DeferredNorm>();
  on_norm_ = norm != NULL;
  if (norm) {
    onednn::Output out(AsFloat(top[0]), DATA, norm->buffer->memory.get_desc());
    norm->WriteRelu(slope, onednn::Values(out.memory()));
    out.Done();
    return;
  }
  const dnnl::memory x = onednn::Read(*AsFloat(bottom[0]), DATA);
  onednn::Output out(AsFloat(top[0]), DATA, x.get_desc());
  randrop::Rectify(CountOf(x), onednn::Values(x), onednn::Values(x), slope,
      onednn::Values(out.memory()));
  out.Done();
}

template <typename Dtype>
void OnednnReLULayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!AsFloat(bottom[0]) || bottom[0]->count() == 0) {
    ReLULayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  if (!propagate_down[0]) {
    return;
  }
  const float slope = this->layer_param_.relu_param().negative_slope();
  // In place, this is the output, which has the same sign, as in Caffe.
  const dnnl::memory x = onednn::Read(*AsFloat(bottom[0]), DATA);
  if (on_norm_ && bottom[0] == top[0] &&
      onednn::MayDefer(*AsFloat(bottom[0]), DIFF, x.get_desc())) {
    onednn::ReadAs(*AsFloat(top[0]), DIFF, x.get_desc());
    shared_ptr<onednn::DeferredDiff> diff(
        new onednn::DeferredDiff(bottom[0]->shape()));
    diff->y = boost::dynamic_pointer_cast<onednn::OtherData>(
        bottom[0]->data()->other_layout());
    diff->slope = slope;
    diff->buffer = boost::dynamic_pointer_cast<onednn::OtherData>(
        bottom[0]->diff()->other_layout());
    onednn::Defer(diff, DIFF, AsFloat(bottom[0]));
    return;
  }
  const dnnl::memory dy =
      onednn::ReadAs(*AsFloat(top[0]), DIFF, x.get_desc());
  onednn::Output out(AsFloat(bottom[0]), DIFF, x.get_desc());
  randrop::Rectify(CountOf(x), onednn::Values(dy), onednn::Values(x), slope,
      onednn::Values(out.memory()));
  out.Done();
}

INSTANTIATE_CLASS(OnednnReLULayer);

}  // namespace caffe

#endif  // USE_ONEDNN
