#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "caffe/layers/pixel_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void PixelLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LossLayer<Dtype>::LayerSetUp(bottom, top);
  // Caffe wants one weight a top; those beyond the loss are there to look at.
  while (this->layer_param_.loss_weight_size() < top.size()) {
    this->layer_param_.add_loss_weight(Dtype(0));
  }
  const LossParameter& param = this->layer_param_.loss_param();
  has_ignore_label_ = param.has_ignore_label();
  ignore_label_ = has_ignore_label_ ? param.ignore_label() : 0;
  normalization_ = param.has_normalization() ? param.normalization() :
      LossParameter_NormalizationMode_BATCH_SIZE;
  if (!param.has_normalization() && param.has_normalize()) {
    normalization_ = param.normalize() ?
        LossParameter_NormalizationMode_VALID :
        LossParameter_NormalizationMode_BATCH_SIZE;
  }
}

template <typename Dtype>
void PixelLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  CHECK_GE(bottom[0]->num_axes(), 2) << Title() << ": logits have shape "
      << bottom[0]->shape_string() << ", expected N x C x spatial.";
  CHECK(bottom[0]->shape() == bottom[1]->shape()) << Title()
      << ": logits have shape " << bottom[0]->shape_string()
      << " and label " << bottom[1]->shape_string()
      << "; a sigmoid loss wants one label for each logit.";
  LossLayer<Dtype>::Reshape(bottom, top);
}

template <typename Dtype>
Dtype PixelLossLayer<Dtype>::Normalizer(const Blob<Dtype>& logits,
    int ignored) const {
  int divisor = 1;
  switch (normalization_) {
  case LossParameter_NormalizationMode_FULL:
    divisor = logits.count();
    break;
  case LossParameter_NormalizationMode_VALID:
    divisor = logits.count() - ignored;
    break;
  case LossParameter_NormalizationMode_BATCH_SIZE:
    divisor = logits.shape(0);
    break;
  case LossParameter_NormalizationMode_NONE:
    break;
  default:
    LOG(FATAL) << Title() << ": unknown loss_param.normalization "
        << normalization_;
  }
  return std::max(1, divisor);
}

template <typename Dtype>
void PixelLossLayer<Dtype>::CheckLabel(const Blob<Dtype>& label,
    int index) const {
  if (index < 0) {
    return;
  }
  const Dtype value = label.cpu_data()[index];
  std::ostringstream place;
  const char* names[] = {"z", "y", "x"};
  for (int axis = 0; axis < label.num_axes(); ++axis) {
    const int position = index / label.count(axis + 1) % label.shape(axis);
    const int from_last = label.num_axes() - axis;
    if (axis < 2) {
      place << (axis == 0 ? "n = " : ", c = ");
    } else if (from_last <= 3) {
      place << ", " << names[3 - from_last] << " = ";
    } else {
      place << ", axis " << axis << " = ";
    }
    place << position;
  }
  std::ostringstream allowed;
  if (has_ignore_label_) {
    allowed << "0, 1 and " << ignore_label_ << " (ignore)";
  } else {
    allowed << "0 and 1";
  }
  LOG(FATAL) << Title() << ": label " << value << " at " << place.str()
      << "; allowed are " << allowed.str() << ". Likely: " << (value == 255 ?
      "an 8-bit mask of 0/255 that was not divided by 255?" :
      "set loss_param { ignore_label } if this value marks pixels to leave "
      "out");
}

template <typename Dtype>
void PixelLossLayer<Dtype>::CheckPropagateDown(
    const vector<bool>& propagate_down) const {
  if (propagate_down[1]) {
    LOG(FATAL) << this->type()
               << " Layer cannot backpropagate to label inputs.";
  }
}

template <typename Dtype>
string PixelLossLayer<Dtype>::Title() const {
  return string(this->type()) + " layer '" + this->layer_param_.name() + "'";
}

INSTANTIATE_CLASS(PixelLossLayer);

}  // namespace caffe
