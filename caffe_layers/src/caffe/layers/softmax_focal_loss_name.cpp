#include "caffe/layer_factory.hpp"
#include "caffe/layers/softmax_focal_ce_loss_layer.hpp"

namespace caffe {

// The common name of SoftmaxFocalCELoss. Some forks have their own layer of
// this name; the patch tool does not copy this file there.
template <typename Dtype>
shared_ptr<Layer<Dtype> > CreateSoftmaxFocalLossLayer(
    const LayerParameter& param) {
  return shared_ptr<Layer<Dtype> >(
      new SoftmaxFocalCELossLayer<Dtype>(param));
}

REGISTER_LAYER_CREATOR(SoftmaxFocalLoss, CreateSoftmaxFocalLossLayer);

}  // namespace caffe
