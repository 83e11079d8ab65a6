#include "caffe/layers/softmax_focal_ce_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace caffe {

RANDROP_GPU_PASSES(SoftmaxFocalCELossLayer);

}  // namespace caffe
