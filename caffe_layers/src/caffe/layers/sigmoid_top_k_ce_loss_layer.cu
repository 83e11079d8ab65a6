#include <vector>

#include "caffe/layers/sigmoid_top_k_ce_loss_layer.hpp"
#include "caffe/randrop/loops/gpu.cuh"

namespace caffe {

using randrop::OnGpu;

template <typename Dtype>
void SigmoidTopKCELossLayer<Dtype>::Forward_gpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  ForwardOn<OnGpu>(bottom, top);
}

INSTANTIATE_LAYER_GPU_FORWARD(SigmoidTopKCELossLayer);

}  // namespace caffe
