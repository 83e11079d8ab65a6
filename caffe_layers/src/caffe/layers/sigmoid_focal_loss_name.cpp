#include "caffe/layer_factory.hpp"
#include "caffe/layers/sigmoid_focal_ce_loss_layer.hpp"

namespace caffe {

// The common name of SigmoidFocalCELoss. Some forks have their own layer of
// this name; the patch tool does not copy this file there.
template <typename Dtype>
shared_ptr<Layer<Dtype> > CreateSigmoidFocalLossLayer(
    const LayerParameter& param) {
  return shared_ptr<Layer<Dtype> >(
      new SigmoidFocalCELossLayer<Dtype>(param));
}

REGISTER_LAYER_CREATOR(SigmoidFocalLoss, CreateSigmoidFocalLossLayer);

}  // namespace caffe
