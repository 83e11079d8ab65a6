#include <vector>

#include "caffe/layers/exp_log_loss_layer.hpp"
#include "caffe/util/pixel_loops.cuh"

namespace caffe {

template <typename Dtype>
void ExpLogLossLayer<Dtype>::Forward_gpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  ForwardOn<OnGpu>(bottom, top);
}

template <typename Dtype>
void ExpLogLossLayer<Dtype>::Backward_gpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  BackwardOn<OnGpu>(top, propagate_down, bottom);
}

INSTANTIATE_LAYER_GPU_FUNCS(ExpLogLossLayer);

}  // namespace caffe
