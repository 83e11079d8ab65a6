#ifdef USE_ONEDNN

#include <algorithm>
#include <vector>

#include "caffe/layers/onednn_pooling_layer.hpp"

namespace caffe {

namespace onednn = randrop::onednn;

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

template <typename Dtype>
void OnednnPoolingLayer<Dtype>::HowFarOver(int* over_h, int* over_w) const {
  *over_h = (this->pooled_height_ - 1) * this->stride_h_ + this->kernel_h_ -
      this->height_ - 2 * this->pad_h_;
  *over_w = (this->pooled_width_ - 1) * this->stride_w_ + this->kernel_w_ -
      this->width_ - 2 * this->pad_w_;
}

template <typename Dtype>
bool OnednnPoolingLayer<Dtype>::Suits(const Blob<Dtype>& bottom,
    const vector<Blob<Dtype>*>& top) const {
  if (sizeof(Dtype) != sizeof(float) || bottom.count() == 0 || top.size() > 1) {
    return false;
  }
  int over_h, over_w;
  HowFarOver(&over_h, &over_w);
  switch (this->layer_param_.pooling_param().pool()) {
  case PoolingParameter_PoolMethod_MAX:
    return true;
  case PoolingParameter_PoolMethod_AVE:
    // Caffe divides windows that reach beyond the padding by less.
    return over_h <= 0 && over_w <= 0;
  default:
    return false;
  }
}

template <typename Dtype>
void OnednnPoolingLayer<Dtype>::Prepare(const onednn::Layout& layout,
    const vector<int>& bottom_shape, const vector<int>& top_shape) {
  if (layout_ == layout && bottom_shape_ == bottom_shape &&
      top_shape_ == top_shape) {
    return;
  }
  layout_ = layout;
  bottom_shape_ = bottom_shape;
  top_shape_ = top_shape;
  const bool max = this->layer_param_.pooling_param().pool() ==
      PoolingParameter_PoolMethod_MAX;
  int over_h, over_w;
  HowFarOver(&over_h, &over_w);
  const dnnl::algorithm algorithm = max ? dnnl::algorithm::pooling_max :
      dnnl::algorithm::pooling_avg_include_padding;
  const onednn::Dims stride = {this->stride_h_, this->stride_w_};
  const onednn::Dims kernel = {this->kernel_h_, this->kernel_w_};
  const onednn::Dims left = {this->pad_h_, this->pad_w_};
  const onednn::Dims right = {std::max(0, this->pad_h_ + over_h),
      std::max(0, this->pad_w_ + over_w)};
  const onednn::Layout out = onednn::AnyLayout(onednn::DimsOf(top_shape));
  const dnnl::prop_kind training = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
  const onednn::Dims dilation = {0, 0};
  forward_ = onednn::Describe<dnnl::pooling_forward>(training, algorithm,
      layout, out, stride, kernel, dilation, left, right);
  backward_ = onednn::DescribeBackward<dnnl::pooling_backward>(forward_,
      algorithm, layout, onednn::Layout(forward_.dst_desc()), stride, kernel,
      dilation, left, right);
#else
  forward_ = onednn::Describe<dnnl::pooling_forward>(training, algorithm,
      layout, out, stride, kernel, left, right);
  backward_ = onednn::DescribeBackward<dnnl::pooling_backward>(forward_,
      algorithm, layout, onednn::Layout(forward_.dst_desc()), stride, kernel,
      left, right);
#endif
  workspace_ = max ? dnnl::memory(forward_.workspace_desc(), onednn::Engine()) :
      dnnl::memory();
}

template <typename Dtype>
void OnednnPoolingLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  ours_ = Suits(*bottom[0], top);
  if (!ours_) {
    PoolingLayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  onednn::Arguments arguments;
  const dnnl::memory x = onednn::Read(*AsFloat(bottom[0]), DATA);
  Prepare(x.get_desc(), bottom[0]->shape(), top[0]->shape());
  arguments[DNNL_ARG_SRC] = x;
  onednn::Output out(AsFloat(top[0]), DATA, forward_.dst_desc());
  arguments[DNNL_ARG_DST] = out.memory();
  if (workspace_) {
    arguments[DNNL_ARG_WORKSPACE] = workspace_;
  }
  onednn::Execute(dnnl::pooling_forward(forward_), arguments);
  out.Done();
}

template <typename Dtype>
void OnednnPoolingLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0]) {
    return;
  }
  // The positions of the maxima are stored in the data's layout at the forward
  // pass, whatever their layout is now.
  if (!ours_ || bottom_shape_ != bottom[0]->shape() ||
      top_shape_ != top[0]->shape()) {
    PoolingLayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  onednn::Arguments arguments;
  arguments[DNNL_ARG_DIFF_DST] = onednn::ReadAs(*AsFloat(top[0]), DIFF,
      backward_.diff_dst_desc());
  onednn::Output out(AsFloat(bottom[0]), DIFF, backward_.diff_src_desc());
  arguments[DNNL_ARG_DIFF_SRC] = out.memory();
  if (workspace_) {
    arguments[DNNL_ARG_WORKSPACE] = workspace_;
  }
  onednn::Execute(dnnl::pooling_backward(backward_), arguments);
  out.Done();
}

INSTANTIATE_CLASS(OnednnPoolingLayer);

}  // namespace caffe

#endif  // USE_ONEDNN
