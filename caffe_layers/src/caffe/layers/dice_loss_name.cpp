#include "caffe/layer_factory.hpp"
#include "caffe/layers/soft_dice_loss_layer.hpp"

namespace caffe {

// The common name of SoftDiceLoss. Some forks have a layer of their own by this
// name: the patch tool leaves this file out there.
template <typename Dtype>
shared_ptr<Layer<Dtype> > CreateDiceLossLayer(const LayerParameter& param) {
  return shared_ptr<Layer<Dtype> >(new SoftDiceLossLayer<Dtype>(param));
}

REGISTER_LAYER_CREATOR(DiceLoss, CreateDiceLossLayer);

}  // namespace caffe
