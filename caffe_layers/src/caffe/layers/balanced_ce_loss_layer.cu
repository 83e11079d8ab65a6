#include <vector>

#include "caffe/layers/balanced_ce_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace caffe {

using randrop::OnGpu;

template <typename Dtype>
void BalancedCELossLayer<Dtype>::Backward_gpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  BackwardOn<OnGpu>(top, propagate_down, bottom);
}

INSTANTIATE_LAYER_GPU_BACKWARD(BalancedCELossLayer);

}  // namespace caffe
