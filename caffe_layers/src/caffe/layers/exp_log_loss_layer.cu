#include "caffe/layers/exp_log_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace caffe {

RANDROP_GPU_PASSES(ExpLogLossLayer);

}  // namespace caffe
