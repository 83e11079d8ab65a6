#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "caffe/layers/pixel_loss_layer.hpp"

namespace caffe {

namespace {

/// Describes the numbers between two bounds in words.
string Allowed(const char* from, double least, double most) {
  std::ostringstream words;
  words << from << least << " and ";
  if (most < FLT_MAX) {
    words << "at most " << most;
  } else {
    words << "finite";
  }
  return words.str();
}

}  // namespace

template <typename Dtype>
void PixelLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LossLayer<Dtype>::LayerSetUp(bottom, top);
  // Caffe wants one weight per top; tops beyond the loss are for inspection.
  while (this->layer_param_.loss_weight_size() < top.size()) {
    this->layer_param_.add_loss_weight(Dtype(0));
  }
  const LossParameter& param = this->layer_param_.loss_param();
  has_ignore_label_ = param.has_ignore_label();
  ignore_label_ = has_ignore_label_ ? param.ignore_label() : 0;
  normalization_ = IsMean() ? LossParameter_NormalizationMode_VALID :
      LossParameter_NormalizationMode_BATCH_SIZE;
  if (param.has_normalization()) {
    normalization_ = param.normalization();
  } else if (param.has_normalize()) {
    normalization_ = param.normalize() ?
        LossParameter_NormalizationMode_VALID :
        LossParameter_NormalizationMode_BATCH_SIZE;
  }
}

template <typename Dtype>
void PixelLossLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  CHECK_GE(bottom[0]->num_axes(), 2) << Title() << ": logits have shape "
      << bottom[0]->shape_string() << "; the loss needs N x C x spatial.";
  if (IsSoftmax()) {
    CheckSoftmaxLabel(*bottom[0], *bottom[1]);
  } else {
    CHECK(bottom[0]->shape() == bottom[1]->shape()) << Title()
        << ": logits have shape " << bottom[0]->shape_string()
        << " and label " << bottom[1]->shape_string()
        << "; a sigmoid loss needs one label for each logit, N x C x spatial.";
  }
  CHECK(bottom[0]->count() > 0 && bottom[1]->count() > 0) << Title()
      << ": logits have shape " << bottom[0]->shape_string()
      << ", without a pixel; every axis must have at least one element.";
  // Not LossLayer::Reshape: before 2016 it takes at most four axes.
  top[0]->Reshape(vector<int>());
  images_ = bottom[0]->shape(0);
  classes_ = bottom[0]->shape(1);
  area_ = bottom[0]->count(2);
  labels_ = bottom[1]->count();
}

template <typename Dtype>
void PixelLossLayer<Dtype>::CheckSoftmaxLabel(const Blob<Dtype>& logits,
    const Blob<Dtype>& label) const {
  vector<int> with_channel = logits.shape();
  with_channel[1] = 1;
  vector<int> without_channel = logits.shape();
  without_channel.erase(without_channel.begin() + 1);
  CHECK(label.shape() == with_channel || label.shape() == without_channel)
      << Title() << ": logits have shape " << logits.shape_string()
      << " and label " << label.shape_string()
      << "; a softmax loss needs one label for each pixel, N x 1 x spatial or"
      << " N x spatial.";
}

template <typename Dtype>
Dtype PixelLossLayer<Dtype>::Normalizer(int valid) const {
  int divisor = 1;
  switch (normalization_) {
  case LossParameter_NormalizationMode_FULL:
    divisor = labels_;
    break;
  case LossParameter_NormalizationMode_VALID:
    divisor = valid;
    break;
  case LossParameter_NormalizationMode_BATCH_SIZE:
    divisor = images_;
    break;
  case LossParameter_NormalizationMode_NONE:
    break;
  default:
    LOG(FATAL) << Title() << ": loss_param.normalization is "
        << normalization_ << "; choose FULL, VALID, BATCH_SIZE or NONE.";
  }
  return std::max(1, divisor);
}

template <typename Dtype>
void PixelLossLayer<Dtype>::WriteLoss(double sum, int valid,
    Blob<Dtype>* loss) {
  normalizer_ = Normalizer(valid);
  loss->mutable_cpu_data()[0] = sum / normalizer_;
}

template <typename Dtype>
void PixelLossLayer<Dtype>::CheckRange(const char* name, double value,
    double least, double most) const {
  CHECK(value >= least && value <= most) << Title() << ": " << name << " is "
      << value << "; it must be " << Allowed("at least ", least, most) << ".";
}

template <typename Dtype>
void PixelLossLayer<Dtype>::CheckAbove(const char* name, double value,
    double bound, double most) const {
  CHECK(value > bound && value <= most) << Title() << ": " << name << " is "
      << value << "; it must be " << Allowed("above ", bound, most) << ".";
}

template <typename Dtype>
void PixelLossLayer<Dtype>::WarnIfIdle(bool given, const char* name,
    const string& when) const {
  if (given) {
    LOG(WARNING) << Title() << ": " << name << " has no effect " << when
        << "; remove it.";
  }
}

template <typename Dtype>
void PixelLossLayer<Dtype>::RefuseNormalization() const {
  const LossParameter& param = this->layer_param_.loss_param();
  CHECK(!param.has_normalization() && !param.has_normalize()) << Title()
      << ": loss_param.normalization does not apply to this loss, which is a"
      << " mean by definition; remove it, and scale with loss_weight.";
}

template <typename Dtype>
void PixelLossLayer<Dtype>::CheckLabel(const Blob<Dtype>& label,
    int index) const {
  if (index < 0) {
    return;
  }
  const Dtype value = label.cpu_data()[index];
  // A softmax loss also takes labels without a channel axis.
  const int first_spatial =
      IsSoftmax() && label.num_axes() > 1 && label.shape(1) != 1 ? 1 : 2;
  std::ostringstream place;
  const char* names[] = {"z", "y", "x"};
  for (int axis = 0; axis < label.num_axes(); ++axis) {
    const int position = index / label.count(axis + 1) % label.shape(axis);
    const int from_last = label.num_axes() - axis;
    if (axis == 0) {
      place << "n = ";
    } else if (axis < first_spatial) {
      place << ", c = ";
    } else if (from_last <= 3) {
      place << ", " << names[3 - from_last] << " = ";
    } else {
      place << ", axis " << axis << " = ";
    }
    place << position;
  }
  std::ostringstream allowed;
  if (IsSoftmax()) {
    allowed << "the classes 0 to " << classes_ - 1;
  } else {
    allowed << (has_ignore_label_ ? "0, 1" : "0 and 1");
  }
  if (has_ignore_label_) {
    allowed << " and " << ignore_label_ << " (ignore)";
  }
  const char* cause =
      "if this value marks pixels to ignore, set loss_param { ignore_label }";
  if (value == 255 && !has_ignore_label_ && !IsSoftmax()) {
    cause = "an 8-bit mask with values 0 and 255: divide it by 255";
  } else if (IsSoftmax() && value >= classes_ && value != 255) {
    cause = "the network has fewer channels than there are classes";
  }
  LOG(FATAL) << Title() << ": label " << value << " at " << place.str()
      << "; allowed: " << allowed.str() << ". Likely: " << cause;
}

template <typename Dtype>
bool PixelLossLayer<Dtype>::GoesDown(
    const vector<bool>& propagate_down) const {
  if (propagate_down[1]) {
    LOG(FATAL) << Title() << ": a loss cannot backpropagate to its label, but"
        << " propagate_down is true for bottom[1]; write propagate_down: true"
        << " propagate_down: false, or take the label from a data layer.";
  }
  return propagate_down[0];
}

template <typename Dtype>
string PixelLossLayer<Dtype>::Title() const {
  return string(this->type()) + " layer '" + this->layer_param_.name() + "'";
}

INSTANTIATE_CLASS(PixelLossLayer);

}  // namespace caffe
