#ifdef USE_ONEDNN

#include <algorithm>
#include <vector>

#include "caffe/layers/onednn_batch_norm_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

using onednn::AsFloat;
using onednn::DATA;
using onednn::DIFF;

template <typename Dtype>
void OnednnBatchNormLayer<Dtype>::Prepare(const onednn::Layout& layout) {
  if (layout_ == layout) {
    return;
  }
  layout_ = layout;
  typedef dnnl::batch_normalization_forward Forward;
  typedef dnnl::batch_normalization_backward Backward;
  const dnnl::normalization_flags flags = this->use_global_stats_ ?
      dnnl::normalization_flags::use_global_stats :
      dnnl::normalization_flags::none;
  const float eps = this->eps_;
  const dnnl::prop_kind training = dnnl::prop_kind::forward_training;
  const dnnl::prop_kind data = dnnl::prop_kind::backward_data;
#if DNNL_VERSION_MAJOR >= 3
  forward_ = onednn::Describe<Forward>(training, layout, layout, eps, flags);
  backward_ = onednn::DescribeBackward<Backward>(forward_, data, layout, layout,
      layout, eps, flags);
#else
  forward_ = onednn::Describe<Forward>(training, layout, eps, flags);
  backward_ = onednn::DescribeBackward<Backward>(forward_, data, layout, layout,
      eps, flags);
#endif
}

template <typename Dtype>
dnnl::memory OnednnBatchNormLayer<Dtype>::Statistics(
    const Blob<Dtype>& blob) const {
  return onednn::View(onednn::Plain(onednn::Dims(1, this->channels_)),
      AsFloat(const_cast<Blob<Dtype>*>(&blob))->cpu_data());
}

template <typename Dtype>
void OnednnBatchNormLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  if (!AsFloat(bottom[0]) || bottom[0]->count() == 0 ||
      bottom[0]->num_axes() < 2 || bottom[0]->num_axes() > 5) {
    BatchNormLayer<Dtype>::Forward_cpu(bottom, top);
    return;
  }
  onednn::Arguments arguments;
  arguments[DNNL_ARG_SRC] = bottom[0] == top[0] ?
      keeper_.Keep(AsFloat(bottom[0])) :
      onednn::Read(*AsFloat(bottom[0]), DATA);
  Prepare(arguments[DNNL_ARG_SRC].get_desc());
  Dtype* mean = this->mean_.mutable_cpu_data();
  Dtype* variance = this->variance_.mutable_cpu_data();
  if (this->use_global_stats_) {
    const Dtype weight = this->blobs_[2]->cpu_data()[0];
    const Dtype scale = weight == 0 ? 0 : 1 / weight;
    caffe_cpu_scale(this->channels_, scale, this->blobs_[0]->cpu_data(), mean);
    caffe_cpu_scale(this->channels_, scale, this->blobs_[1]->cpu_data(),
        variance);
  }
  arguments[DNNL_ARG_MEAN] = Statistics(this->mean_);
  arguments[DNNL_ARG_VARIANCE] = Statistics(this->variance_);
  onednn::Output out(AsFloat(top[0]), DATA, layout_);
  arguments[DNNL_ARG_DST] = out.memory();
  onednn::Execute(dnnl::batch_normalization_forward(forward_), arguments);
  out.Done();
  if (!this->use_global_stats_) {
    const Dtype fraction = this->moving_average_fraction_;
    this->blobs_[2]->mutable_cpu_data()[0] *= fraction;
    this->blobs_[2]->mutable_cpu_data()[0] += 1;
    caffe_cpu_axpby(this->channels_, Dtype(1), mean, fraction,
        this->blobs_[0]->mutable_cpu_data());
    const int count = bottom[0]->count() / this->channels_;
    caffe_cpu_axpby(this->channels_,
        count > 1 ? Dtype(count) / (count - 1) : Dtype(1), variance, fraction,
        this->blobs_[1]->mutable_cpu_data());
  }
}

template <typename Dtype>
void OnednnBatchNormLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!AsFloat(bottom[0]) || bottom[0]->count() == 0 ||
      bottom[0]->num_axes() < 2 || bottom[0]->num_axes() > 5) {
    BatchNormLayer<Dtype>::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  onednn::Arguments arguments;
  arguments[DNNL_ARG_SRC] = bottom[0] == top[0] ? keeper_.memory() :
      onednn::ReadAs(*AsFloat(bottom[0]), DATA, layout_);
  arguments[DNNL_ARG_MEAN] = Statistics(this->mean_);
  arguments[DNNL_ARG_VARIANCE] = Statistics(this->variance_);
  arguments[DNNL_ARG_DIFF_DST] =
      onednn::ReadAs(*AsFloat(top[0]), DIFF, layout_);
  onednn::Output out(AsFloat(bottom[0]), DIFF, layout_);
  arguments[DNNL_ARG_DIFF_SRC] = out.memory();
  onednn::Execute(dnnl::batch_normalization_backward(backward_), arguments);
  out.Done();
}

INSTANTIATE_CLASS(OnednnBatchNormLayer);

}  // namespace caffe

#endif  // USE_ONEDNN
