#include "caffe/layers/softmax_top_k_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace caffe {

RANDROP_GPU_PASSES(SoftmaxTopKLossLayer);

}  // namespace caffe
