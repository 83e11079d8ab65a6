#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/onednn_softmax_layer.hpp"

namespace caffe {

namespace onednn = randrop::onednn;

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

template <typename Dtype>
void OnednnSoftmaxLayer<Dtype>::Prepare(const onednn::Layout& layout,
    int axis) {
  if (layout_ == layout) {
    return;
  }
  layout_ = layout;
  const dnnl::prop_kind training = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::algorithm softmax = dnnl::algorithm::softmax_accurate;
  forward_ = onednn::Describe<dnnl::softmax_forward>(training, softmax, layout,
      layout, axis);
  backward_ = onednn::DescribeBackward<dnnl::softmax_backward>(forward_,
      softmax, layout, layout, layout, axis);
#else
  forward_ = onednn::Describe<dnnl::softmax_forward>(training, layout, axis);
  backward_ = onednn::DescribeBackward<dnnl::softmax_backward>(forward_, layout,
      layout, axis);
#endif
}

template <typename Dtype>
void OnednnSoftmaxLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  if (!Suits(*bottom[0])) {
    SoftmaxLayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  onednn::Arguments arguments;
  arguments[DNNL_ARG_SRC] = onednn::Read(*AsFloat(bottom[0]), DATA);
  Prepare(arguments[DNNL_ARG_SRC].get_desc(), Axis(*bottom[0]));
  onednn::Output out(AsFloat(top[0]), DATA, layout_);
  arguments[DNNL_ARG_DST] = out.memory();
  onednn::Execute(dnnl::softmax_forward(forward_), arguments);
  out.Done();
}

template <typename Dtype>
void OnednnSoftmaxLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!Suits(*bottom[0])) {
    SoftmaxLayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  onednn::Arguments arguments;
  arguments[DNNL_ARG_DST] = onednn::Read(*AsFloat(top[0]), DATA);
  Prepare(arguments[DNNL_ARG_DST].get_desc(), Axis(*bottom[0]));
  arguments[DNNL_ARG_DIFF_DST] =
      onednn::ReadAs(*AsFloat(top[0]), DIFF, layout_);
  onednn::Output out(AsFloat(bottom[0]), DIFF, layout_);
  arguments[DNNL_ARG_DIFF_SRC] = out.memory();
  onednn::Execute(dnnl::softmax_backward(backward_), arguments);
  out.Done();
}

INSTANTIATE_CLASS(OnednnSoftmaxLayer);

}  // namespace caffe

#endif  // USE_ONEDNN
