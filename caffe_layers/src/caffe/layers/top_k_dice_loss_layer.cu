#include <vector>

#include "caffe/layers/top_k_dice_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace caffe {

using randrop::OnGpu;

template <typename Dtype>
void TopKDiceLossLayer<Dtype>::Forward_gpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  SoftDiceLossLayer<Dtype>::Forward_gpu(bottom, top);
  WriteMaskOn<OnGpu>(top);
}

INSTANTIATE_LAYER_GPU_FORWARD(TopKDiceLossLayer);

}  // namespace caffe
