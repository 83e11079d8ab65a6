// Caffe's own layers that our tests name, without the full layer factory.

#include "caffe/layer.hpp"
#include "caffe/layer_factory.hpp"
#include "caffe/layers/sigmoid_layer.hpp"
#include "caffe/layers/softmax_layer.hpp"

namespace caffe {

#ifdef USE_CUDNN
#error "the emulation has no cuDNN"
#endif

template <typename Dtype>
shared_ptr<Layer<Dtype> > NewSigmoid(const LayerParameter& param) {
  return shared_ptr<Layer<Dtype> >(new SigmoidLayer<Dtype>(param));
}
REGISTER_LAYER_CREATOR(Sigmoid, NewSigmoid);

template <typename Dtype>
shared_ptr<Layer<Dtype> > NewSoftmax(const LayerParameter& param) {
  return shared_ptr<Layer<Dtype> >(new SoftmaxLayer<Dtype>(param));
}
REGISTER_LAYER_CREATOR(Softmax, NewSoftmax);

}  // namespace caffe
