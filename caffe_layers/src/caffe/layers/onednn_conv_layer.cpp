#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/onednn_conv_layer.hpp"

namespace caffe {

namespace onednn = randrop::onednn;

using onednn::AsFloat;

template <typename Dtype, typename Base, typename Primitives>
bool OnednnBaseConvolutionLayer<Dtype, Base, Primitives>::Prepare(
    const Blob<Dtype>& bottom, const Blob<Dtype>& top) {
  if (sizeof(Dtype) != sizeof(float) || this->channel_axis_ != 1) {
    return false;
  }
  const int axes = this->num_spatial_axes_;
  const int* stride = this->stride_.cpu_data();
  const int* pad = this->pad_.cpu_data();
  const int* dilation = this->dilation_.cpu_data();
  onednn::ConvolutionShape shape;
  shape.bottom = bottom.shape();
  shape.top = top.shape();
  shape.weights = this->blobs_[0]->shape();
  shape.stride.assign(stride, stride + axes);
  shape.pad.assign(pad, pad + axes);
  shape.dilation.assign(dilation, dilation + axes);
  shape.group = this->group_;
  shape.has_bias = this->bias_term_;
  return convolver_.Prepare(shape);
}

template <typename Dtype, typename Base, typename Primitives>
void OnednnBaseConvolutionLayer<Dtype, Base, Primitives>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  if (!Prepare(*bottom[0], *top[0])) {
    Base::Forward_cpu(bottom, top);
    return;
  }
  const Blob<float>* bias =
      this->bias_term_ ? AsFloat(this->blobs_[1].get()) : NULL;
  for (int i = 0; i < bottom.size(); ++i) {
    convolver_.Forward(*AsFloat(bottom[i]), *AsFloat(this->blobs_[0].get()),
        bias, AsFloat(top[i]));
  }
}

template <typename Dtype, typename Base, typename Primitives>
void OnednnBaseConvolutionLayer<Dtype, Base, Primitives>::Backward_cpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!Prepare(*bottom[0], *top[0])) {
    Base::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  Blob<float>* weights = AsFloat(this->blobs_[0].get());
  Blob<float>* learnt =
      this->param_propagate_down_[0] ? weights : NULL;
  Blob<float>* bias = this->bias_term_ && this->param_propagate_down_[1] ?
      AsFloat(this->blobs_[1].get()) : NULL;
  for (int i = 0; i < top.size(); ++i) {
    convolver_.Backward(*AsFloat(bottom[i]), *AsFloat(top[i]), *weights, learnt,
        bias, propagate_down[i] ? AsFloat(bottom[i]) : NULL);
  }
}

#define INSTANTIATE(Dtype) \
  template class OnednnBaseConvolutionLayer<Dtype, ConvolutionLayer<Dtype>, \
      onednn::ConvolutionPrimitives>; \
  template class OnednnBaseConvolutionLayer<Dtype, DeconvolutionLayer<Dtype>, \
      onednn::DeconvolutionPrimitives>; \
  template class OnednnConvolutionLayer<Dtype>; \
  template class OnednnDeconvolutionLayer<Dtype>

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe

#endif  // USE_ONEDNN
