#include "caffe/layers/tversky_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace caffe {

RANDROP_GPU_PASSES(TverskyLossLayer);

}  // namespace caffe
