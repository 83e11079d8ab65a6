#include "caffe/layers/top_k_dice_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace caffe {

RANDROP_GPU_PASSES(TopKDiceLossLayer);

}  // namespace caffe
