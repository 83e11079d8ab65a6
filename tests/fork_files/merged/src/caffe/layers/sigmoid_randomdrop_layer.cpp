#include "caffe/layers/sigmoid_randomdrop_layer.hpp"

namespace caffe {

INSTANTIATE_CLASS(SigmoidRandomDropCELossLayer);
REGISTER_LAYER_CLASS(SigmoidRandomDropCELoss);

}  // namespace caffe
