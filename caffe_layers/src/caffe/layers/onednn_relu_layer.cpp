#ifdef USE_ONEDNN

#include <algorithm>
#include <vector>

#include "caffe/layers/onednn_relu_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

template <typename Dtype>
void OnednnReLULayer<Dtype>::Prepare(const onednn::Layout& layout,
    float slope) {
  if (layout_ == layout) {
    return;
  }
  layout_ = layout;
  const dnnl::algorithm relu = dnnl::algorithm::eltwise_relu;
  const dnnl::prop_kind training = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
  forward_ = onednn::Describe<dnnl::eltwise_forward>(training, relu, layout,
      layout, slope, 0.f);
  backward_ = onednn::DescribeBackward<dnnl::eltwise_backward>(forward_, relu,
      layout, layout, layout, slope, 0.f);
#else
  forward_ = onednn::Describe<dnnl::eltwise_forward>(training, relu, layout,
      slope, 0.f);
  backward_ = onednn::DescribeBackward<dnnl::eltwise_backward>(forward_, relu,
      layout, layout, slope, 0.f);
#endif
}

template <typename Dtype>
void OnednnReLULayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (!AsFloat(bottom[0]) || bottom[0]->count() == 0) {
    ReLULayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  onednn::Arguments arguments;
  arguments[DNNL_ARG_SRC] = onednn::Read(*AsFloat(bottom[0]), DATA);
  Prepare(arguments[DNNL_ARG_SRC].get_desc(),
      this->layer_param_.relu_param().negative_slope());
  onednn::Output out(AsFloat(top[0]), DATA, layout_);
  arguments[DNNL_ARG_DST] = out.memory();
  onednn::Execute(dnnl::eltwise_forward(forward_), arguments);
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
  onednn::Arguments arguments;
  // In place this is the output, which has the same sign, as in Caffe.
  arguments[DNNL_ARG_SRC] = onednn::Read(*AsFloat(bottom[0]), DATA);
  Prepare(arguments[DNNL_ARG_SRC].get_desc(),
      this->layer_param_.relu_param().negative_slope());
  arguments[DNNL_ARG_DIFF_DST] =
      onednn::ReadAs(*AsFloat(top[0]), DIFF, layout_);
  onednn::Output out(AsFloat(bottom[0]), DIFF, layout_);
  arguments[DNNL_ARG_DIFF_SRC] = out.memory();
  onednn::Execute(dnnl::eltwise_backward(backward_), arguments);
  out.Done();
}

INSTANTIATE_CLASS(OnednnReLULayer);

}  // namespace caffe

#endif  // USE_ONEDNN
