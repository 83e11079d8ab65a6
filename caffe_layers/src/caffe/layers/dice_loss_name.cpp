#include "caffe/layer_factory.hpp"
#include "caffe/layers/soft_dice_loss_layer.hpp"

namespace caffe {

// The common name of SoftDiceLoss. Some forks have their own layer of this
// name; the patch tool does not copy this file there.
template <typename Dtype>
shared_ptr<Layer<Dtype> > CreateDiceLossLayer(const LayerParameter& param) {
  return shared_ptr<Layer<Dtype> >(new SoftDiceLossLayer<Dtype>(param));
}

REGISTER_LAYER_CREATOR(DiceLoss, CreateDiceLossLayer);

}  // namespace caffe
