#ifndef CAFFE_TEST_PIXEL_LOSS_UTIL_HPP_
#define CAFFE_TEST_PIXEL_LOSS_UTIL_HPP_

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/filler.hpp"
#include "caffe/layer.hpp"
#include "caffe/layer_factory.hpp"

#include "caffe/test/test_caffe_main.hpp"

namespace caffe {

// Logits, label, loss and mask for a layer given as a prototxt, and a naive
// reference implementation in double precision.
template <typename TypeParam>
class PixelLossTest : public MultiDeviceTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  PixelLossTest()
      : logits_(new Blob<Dtype>()), label_(new Blob<Dtype>()),
        loss_(new Blob<Dtype>()), mask_(new Blob<Dtype>()) {
    Caffe::set_random_seed(1701);
    bottom_.push_back(logits_.get());
    bottom_.push_back(label_.get());
    top_.push_back(loss_.get());
  }

  // Sets the layer from a prototxt, optionally with a mask as second top.
  void Use(const string& text, bool with_mask = false) {
    param_.Clear();
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &param_))
        << text;
    top_.resize(1);
    if (with_mask) {
      top_.push_back(mask_.get());
    }
  }

  static vector<int> Shape(int n, int c, int h, int w) {
    const int sizes[] = {n, c, h, w};
    return vector<int>(sizes, sizes + 4);
  }

  void FillLogits(const vector<int>& shape, double deviation = 2) {
    logits_->Reshape(shape);
    FillerParameter filler;
    filler.set_std(deviation);
    GaussianFiller<Dtype>(filler).Fill(logits_.get());
  }

  // Labels for a sigmoid: 0 or 1 for each logit.
  void FillSigmoid(const vector<int>& shape, double share = 0.25) {
    FillLogits(shape);
    label_->Reshape(shape);
    for (int i = 0; i < label_->count(); ++i) {
      label_->mutable_cpu_data()[i] = caffe_rng_rand() % 1000 < share * 1000;
    }
  }

  // Labels for a softmax: a class for each pixel.
  void FillSoftmax(vector<int> shape) {
    FillLogits(shape);
    const int classes = shape[1];
    shape[1] = 1;
    label_->Reshape(shape);
    for (int i = 0; i < label_->count(); ++i) {
      label_->mutable_cpu_data()[i] = caffe_rng_rand() % classes;
    }
  }

  void Fill(const vector<int>& shape, bool softmax) {
    if (softmax) {
      FillSoftmax(shape);
    } else {
      FillSigmoid(shape);
    }
  }

  // Adds a third bottom: cells of any shape, in runs of different lengths; the
  // same in each class if asked.
  void AddCells(int most, bool same = false) {
    cells_.reset(new Blob<Dtype>(logits_->shape()));
    const int area = logits_->count(2), image = logits_->count(1);
    for (int i = 0; i < cells_->count(); ++i) {
      Dtype* const cell = cells_->mutable_cpu_data() + i;
      if (same && i % image >= area) {
        *cell = cell[-area];
      } else if (i % area == 0 || caffe_rng_rand() % 12 == 0) {
        *cell = caffe_rng_rand() % most;
      } else {
        *cell = cell[-1];
      }
    }
    bottom_.resize(2);
    bottom_.push_back(cells_.get());
  }

  void SetLabels(Dtype value) {
    caffe_set(label_->count(), value, label_->mutable_cpu_data());
  }

  shared_ptr<Layer<Dtype> > Create() {
    return LayerRegistry<Dtype>::CreateLayer(param_);
  }

  // Forward and backward of a new layer; fills mask and the diff of the logits.
  Dtype Run() {
    shared_ptr<Layer<Dtype> > layer = Create();
    layer->SetUp(bottom_, top_);
    const Dtype loss = layer->Forward(bottom_, top_);
    Backward(layer.get());
    return loss;
  }

  void Backward(Layer<Dtype>* layer) {
    vector<bool> down(2, false);
    down[0] = true;
    layer->Backward(top_, down, bottom_);
  }

  vector<Dtype> Diff() const {
    const Dtype* diff = logits_->cpu_diff();
    return vector<Dtype>(diff, diff + logits_->count());
  }

  // The largest difference between the gradient and central differences,
  // relative to the largest gradient. If a step changes the selection, which
  // the mask shows, there is no derivative: such elements are skipped, and must
  // be few.
  double GradientError(double damage = 1) {
    shared_ptr<Layer<Dtype> > layer = Create();
    layer->SetUp(bottom_, top_);
    layer->Forward(bottom_, top_);
    Backward(layer.get());
    const vector<Dtype> held = Mask();
    const vector<Dtype> diff = Diff();
    const double step = sizeof(Dtype) == 4 ? 1e-2 : 1e-4;
    double error = 0, largest = 0;
    int changed = 0;
    for (int i = 0; i < logits_->count(); ++i) {
      const Dtype x = logits_->cpu_data()[i];
      logits_->mutable_cpu_data()[i] = x + step;
      const double up = layer->Forward(bottom_, top_);
      bool same = Mask() == held;
      logits_->mutable_cpu_data()[i] = x - step;
      const double down = layer->Forward(bottom_, top_);
      same = same && Mask() == held;
      logits_->mutable_cpu_data()[i] = x;
      if (!same) {
        ++changed;
        continue;
      }
      const double numeric = (up - down) / (2 * step);
      error = std::max(error, std::fabs(damage * diff[i] - numeric));
      largest = std::max(largest, std::fabs(numeric));
    }
    EXPECT_GT(largest, 0) << "no gradient to check: " << param_.DebugString();
    EXPECT_LE(changed, logits_->count() / 4);
    return error / largest;
  }

  vector<Dtype> Mask() const {
    if (top_.size() < 2) {
      return vector<Dtype>();
    }
    const Dtype* mask = mask_->cpu_data();
    return vector<Dtype>(mask, mask + mask_->count());
  }

  // The index of class c of pixel j in N x C x area.
  int Element(int j, int c) const {
    const int area = logits_->count(2);
    return (j / area * logits_->shape(1) + c) * area + j % area;
  }
  double Probability(int j, int c) const {
    double sum = 0;
    for (int k = 0; k < logits_->shape(1); ++k) {
      sum += std::exp(static_cast<double>(logits_->cpu_data()[Element(j, k)]));
    }
    return std::exp(static_cast<double>(logits_->cpu_data()[Element(j, c)])) /
        sum;
  }
  double Sigmoid(int i) const {
    return 1 / (1 + std::exp(-static_cast<double>(logits_->cpu_data()[i])));
  }
  int Label(int j) const {
    return static_cast<int>(label_->cpu_data()[j]);
  }

  shared_ptr<Blob<Dtype> > logits_, label_, loss_, mask_, cells_;
  vector<Blob<Dtype>*> bottom_, top_;
  LayerParameter param_;
};

}  // namespace caffe

#endif  // CAFFE_TEST_PIXEL_LOSS_UTIL_HPP_
