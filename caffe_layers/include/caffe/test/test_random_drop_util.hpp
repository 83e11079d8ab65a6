#ifndef CAFFE_TEST_RANDOM_DROP_UTIL_HPP_
#define CAFFE_TEST_RANDOM_DROP_UTIL_HPP_

#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/filler.hpp"
#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/randrop/math/philox.hpp"

#include "caffe/test/test_caffe_main.hpp"

namespace caffe {

typedef SigmoidRandomDropCELossParameter Param;

// GradientChecker repeats the forward pass; this layer draws the same numbers
// each time. `damage` multiplies the gradient, to show that a check would
// detect the error.
template <typename Dtype>
class HeldRandomDropLayer : public SigmoidRandomDropCELossLayer<Dtype> {
 public:
  explicit HeldRandomDropLayer(const LayerParameter& param, Dtype damage = 1)
      : SigmoidRandomDropCELossLayer<Dtype>(param), damage_(damage) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
    this->forward_ = 0;
    SigmoidRandomDropCELossLayer<Dtype>::Forward_cpu(bottom, top);
  }
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
    this->forward_ = 0;
    SigmoidRandomDropCELossLayer<Dtype>::Forward_gpu(bottom, top);
  }
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
    SigmoidRandomDropCELossLayer<Dtype>::Backward_cpu(top, propagate_down,
        bottom);
    bottom[0]->scale_diff(damage_);
  }
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
    SigmoidRandomDropCELossLayer<Dtype>::Backward_gpu(top, propagate_down,
        bottom);
    bottom[0]->scale_diff(damage_);
  }

 private:
  Dtype damage_;
};

template <typename TypeParam>
class RandomDropTest : public MultiDeviceTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  RandomDropTest()
      : logits_(new Blob<Dtype>()), label_(new Blob<Dtype>()),
        loss_(new Blob<Dtype>()), mask_(new Blob<Dtype>()) {
    Caffe::set_random_seed(1701);
    Resize(2, 3, 9, 7);
    bottom_.push_back(logits_.get());
    bottom_.push_back(label_.get());
    top_.push_back(loss_.get());
    top_.push_back(mask_.get());
    param_.mutable_randrop_loss_param()->set_seed(42);
  }

  void Resize(int n, int c, int h, int w) {
    vector<int> shape;
    shape.push_back(n);
    shape.push_back(c);
    shape.push_back(h);
    shape.push_back(w);
    Resize(shape, 0.15);
  }

  void Resize(const vector<int>& shape, double share) {
    logits_->Reshape(shape);
    label_->Reshape(shape);
    FillerParameter filler;
    filler.set_std(3);
    GaussianFiller<Dtype>(filler).Fill(logits_.get());
    for (int i = 0; i < label_->count(); ++i) {
      label_->mutable_cpu_data()[i] = caffe_rng_rand() % 1000 < share * 1000;
    }
  }

  void SetLabels(Dtype value) {
    caffe_set(label_->count(), value, label_->mutable_cpu_data());
  }

  void SetIgnoreLabel(int value) {
    param_.mutable_loss_param()->set_ignore_label(value);
  }

  Param* param() {
      return param_.mutable_randrop_loss_param();
    }

  Dtype Forward() {
    SigmoidRandomDropCELossLayer<Dtype> layer(param_);
    layer.SetUp(bottom_, top_);
    return layer.Forward(bottom_, top_);
  }

  // Forward and backward; returns the loss, fills mask_ and logits_'s diff.
  Dtype Run() {
    SigmoidRandomDropCELossLayer<Dtype> layer(param_);
    layer.SetUp(bottom_, top_);
    const Dtype loss = layer.Forward(bottom_, top_);
    Backward(&layer);
    return loss;
  }

  void Backward(Layer<Dtype>* layer) {
    vector<bool> down(2, false);
    down[0] = true;
    layer->Backward(top_, down, bottom_);
  }

  // d(p) in double, written as in the paper.
  static double Drop(Param::ScheduleType schedule, double x) {
    const double q = 1 / (1 + std::exp(x));
    if (schedule == Param::LINEAR) {
      return q;
    }
    if (schedule == Param::SQU) {
      return q * q;
    }
    if (schedule == Param::LOG) {
      return 1 + std::log(q) / std::log(10.);
    }
    return 0;
  }

  // Whether each element from begin on is kept, positives and ignored ones
  // aside: keep and schedule written as in the proto's comments.
  vector<bool> Kept(int begin, int size, bool drops, uint64_t forward) const {
    const Param& param = param_.randrop_loss_param();
    const Dtype* x = logits_->cpu_data() + begin;
    const Dtype* t = label_->cpu_data() + begin;
    const bool by_group = drops && param.schedule_type() != Param::NONE &&
        param.keep() != Param::BY_DIFFICULTY;
    double sum = 0;
    vector<int> negatives;
    for (int i = 0; i < size; ++i) {
      if (t[i] == 0) {
        negatives.push_back(i);
        sum += std::min(1., 1 - Drop(param.schedule_type(), x[i]));
      }
    }
    vector<bool> kept(size);
    if (by_group && param.keep() == Param::HARDEST) {
      std::stable_sort(negatives.begin(), negatives.end(),
          [x](int a, int b) { return x[a] > x[b]; });
      for (int rank = 0; rank < std::floor(sum + 0.5); ++rank) {
        kept[negatives[rank]] = true;
      }
      EXPECT_GT(std::fabs(sum - std::floor(sum) - 0.5), 1e-5)
          << "a tie: choose other logits";
      return kept;
    }
    for (int i = 0; i < size; ++i) {
      const double d = !drops ? 0 : by_group ? 1 - sum / negatives.size() :
          Drop(param.schedule_type(), x[i]);
      const double u = Uniform(param.seed(), begin + i, forward);
      kept[i] = !(u < d);
      if (t[i] == 0) {
        EXPECT_GT(std::fabs(u - d), 1e-6) << "a tie: choose another seed";
      }
    }
    return kept;
  }

  static float Uniform(uint64_t seed, int index, uint64_t forward) {
    float uniform[randrop::kPhiloxTile];
    randrop::PhiloxUniformTile(
        seed, index / randrop::kPhiloxTile, forward, uniform);
    return uniform[index % randrop::kPhiloxTile];
  }

  // Checks loss, mask and gradient of the last Run() against sums written out
  // in double, group by group.
  void CheckAgainstReference(Dtype loss, int group_size, double normalizer,
      bool drops = true, uint64_t forward = 0) {
    const Dtype* x = logits_->cpu_data();
    const Dtype* t = label_->cpu_data();
    const bool has_ignore = param_.loss_param().has_ignore_label();
    const int ignore = param_.loss_param().ignore_label();
    double expected_loss = 0;
    for (int begin = 0; begin < logits_->count(); begin += group_size) {
      double positives = 0, kept = 0;
      const vector<bool> chosen = Kept(begin, group_size, drops, forward);
      for (int i = begin; i < begin + group_size; ++i) {
        int expected = 1;
        if (has_ignore && t[i] == ignore) {
          expected = -1;
        } else if (t[i] == 0) {
          expected = chosen[i - begin];
        }
        ASSERT_EQ(expected, mask_->cpu_data()[i]) << "element " << i;
        positives += expected == 1 && t[i] == 1;
        kept += expected == 1 && t[i] == 0;
      }
      const double members = std::max(1., positives + kept);
      for (int i = begin; i < begin + group_size; ++i) {
        const double p = 1 / (1 + std::exp(-static_cast<double>(x[i])));
        double expected_diff = 0;
        if (mask_->cpu_data()[i] == 1) {
          const double w = (t[i] == 1 ? kept : positives) / members;
          expected_loss -= w * std::log(t[i] == 1 ? p : 1 - p);
          expected_diff = w * (p - t[i]) / normalizer;
        }
        EXPECT_NEAR(expected_diff, logits_->cpu_diff()[i],
            2e-6 * std::fabs(expected_diff) + 1e-7) << "element " << i;
      }
    }
    expected_loss /= normalizer;
    EXPECT_GT(expected_loss, 0);
    EXPECT_NEAR(expected_loss, loss, 1e-5 * expected_loss);
  }

  // The largest difference between gradient and central differences, relative
  // to the largest gradient. GradientChecker compares with max(|a|, |b|, 1), so
  // zeros would pass wherever the gradient is below its threshold.
  double GradientError(Layer<Dtype>* layer) {
    layer->SetUp(bottom_, top_);
    layer->Forward(bottom_, top_);
    Backward(layer);
    const double step = 1e-3;
    double error = 0, largest = 0;
    for (int i = 0; i < logits_->count(); ++i) {
      const double analytic = logits_->cpu_diff()[i];
      const Dtype x = logits_->cpu_data()[i];
      logits_->mutable_cpu_data()[i] = x + step;
      const double up = layer->Forward(bottom_, top_);
      logits_->mutable_cpu_data()[i] = x - step;
      const double down = layer->Forward(bottom_, top_);
      logits_->mutable_cpu_data()[i] = x;
      const double numeric = (up - down) / (2 * step);
      error = std::max(error, std::fabs(analytic - numeric));
      largest = std::max(largest, std::fabs(numeric));
    }
    return error / largest;
  }

  // Moves negatives' logits away from points where a step of 0.02 would change
  // whether they are dropped.
  void HoldMask() {
    for (int i = 0; i < logits_->count(); ++i) {
      const double u = Uniform(param()->seed(), i, 0);
      Dtype* x = logits_->mutable_cpu_data() + i;
      while (std::fabs(u - Drop(param()->schedule_type(), *x)) < 0.02) {
        *x += 0.1;
      }
    }
  }

  shared_ptr<Blob<Dtype> > logits_, label_, loss_, mask_;
  vector<Blob<Dtype>*> bottom_, top_;
  LayerParameter param_;
};

}  // namespace caffe

#endif  // CAFFE_TEST_RANDOM_DROP_UTIL_HPP_
