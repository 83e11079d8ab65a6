#include <vector>

#include "caffe/layers/sigmoid_focal_ce_loss_layer.hpp"
#include "caffe/util/pixel_loops.cuh"

namespace caffe {

template <typename Dtype>
void SigmoidFocalCELossLayer<Dtype>::Forward_gpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  ForwardOn<OnGpu>(bottom, top);
}

template <typename Dtype>
void SigmoidFocalCELossLayer<Dtype>::Backward_gpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  BackwardOn<OnGpu>(top, propagate_down, bottom);
}

INSTANTIATE_LAYER_GPU_FUNCS(SigmoidFocalCELossLayer);

}  // namespace caffe
