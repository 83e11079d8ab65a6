#include "caffe/layer_factory.hpp"
#include "caffe/layers/softmax_focal_ce_loss_layer.hpp"

namespace caffe {

// The common name of SoftmaxFocalCELoss. Some forks have a layer of their own
// by this name: the patch tool leaves this file out there.
template <typename Dtype>
shared_ptr<Layer<Dtype> > CreateSoftmaxFocalLossLayer(
    const LayerParameter& param) {
  return shared_ptr<Layer<Dtype> >(
      new SoftmaxFocalCELossLayer<Dtype>(param));
}

REGISTER_LAYER_CREATOR(SoftmaxFocalLoss, CreateSoftmaxFocalLossLayer);

}  // namespace caffe
