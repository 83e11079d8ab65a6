#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/onednn_split_layer.hpp"

namespace caffe {

namespace onednn = randrop::onednn;

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

template <typename Dtype>
void OnednnSplitLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  SplitLayer<Dtype>::Forward_cpu(bottom, top);
}

template <typename Dtype>
void OnednnSplitLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!AsFloat(bottom[0]) || bottom[0]->count() == 0 ||
      bottom[0]->num_axes() == 0) {
    SplitLayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  if (propagate_down[0]) {
    onednn::Sum(onednn::Blobs(top), DIFF, std::vector<float>(top.size(), 1),
        AsFloat(bottom[0]));
  }
}

INSTANTIATE_CLASS(OnednnSplitLayer);

}  // namespace caffe

#endif  // USE_ONEDNN
