#include "caffe/layers/soft_dice_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace caffe {

RANDROP_GPU_PASSES(SoftDiceLossLayer);

}  // namespace caffe
