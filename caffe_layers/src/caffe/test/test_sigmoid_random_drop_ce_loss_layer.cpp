#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/filler.hpp"
#include "caffe/layer_factory.hpp"
#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/net.hpp"
#include "caffe/util/philox.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_gradient_check_util.hpp"

namespace caffe {

typedef SigmoidRandomDropCELossParameter Param;

// GradientChecker runs the forward pass again and again: this layer draws the
// same numbers each time. `damage` multiplies the gradient, to show that a check
// would see it.
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
class SigmoidRandomDropCELossLayerTest : public MultiDeviceTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  SigmoidRandomDropCELossLayerTest()
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

  Param* param() { return param_.mutable_randrop_loss_param(); }

  Dtype Forward() {
    SigmoidRandomDropCELossLayer<Dtype> layer(param_);
    layer.SetUp(bottom_, top_);
    return layer.Forward(bottom_, top_);
  }

  // Forward and backward; the loss, with mask_ and the diff of logits_ filled.
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
    if (schedule == Param::LINEAR) { return q; }
    if (schedule == Param::SQU) { return q * q; }
    if (schedule == Param::LOG) { return 1 + std::log(q) / std::log(10.); }
    return 0;
  }

  static float Uniform(uint64_t seed, int index, uint64_t forward) {
    float uniform[kPhiloxTile];
    PhiloxUniformTile(seed, index / kPhiloxTile, forward, uniform);
    return uniform[index % kPhiloxTile];
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
      for (int i = begin; i < begin + group_size; ++i) {
        const double d = drops ?
            Drop(param()->schedule_type(), x[i]) : 0;
        const double u = Uniform(param()->seed(), i, forward);
        int expected = 1;
        if (has_ignore && t[i] == ignore) {
          expected = -1;
        } else if (t[i] == 0) {
          expected = !(u < d);
          ASSERT_GT(std::fabs(u - d), 1e-6) << "a tie: choose another seed";
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

  // The largest difference of the gradient from central differences, relative
  // to the largest gradient: GradientChecker compares with max(|a|, |b|, 1), and
  // so would pass a gradient of zeros wherever it is below its threshold.
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

  // Moves the logits of negatives away from where a step of 0.02 would change
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

TYPED_TEST_CASE(SigmoidRandomDropCELossLayerTest, TestDtypesAndDevices);

TEST(PhiloxTest, TestKnownAnswers) {
  const uint32_t answers[3][4] = {
    {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
    {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
    {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
  // key, block, forward: the low halves first
  const uint64_t inputs[3][3] = {
    {0, 0, 0},
    {~0ull, ~0ull, ~0ull},
    {0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x0370734413198a2eull}};
  for (int k = 0; k < 3; ++k) {
    uint32_t word[4];
    Philox4x32(inputs[k][0], inputs[k][1], inputs[k][2], word);
    for (int w = 0; w < 4; ++w) {
      EXPECT_EQ(answers[k][w], word[w]);
    }
  }
}

TEST(PhiloxTest, TestTileOrder) {
  float uniform[kPhiloxTile];
  PhiloxUniformTile(7, 5, 3, uniform);
  for (int i = 0; i < kPhiloxTile; ++i) {
    uint32_t word[4];
    Philox4x32(7, 5 * 16 + i % 16, 3, word);
    EXPECT_EQ((word[i / 16] >> 8) / 16777216., uniform[i]);
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestReferenceOfEverySchedule) {
  for (int schedule = Param::LINEAR; schedule <= Param::NONE; ++schedule) {
    this->param()->set_schedule_type(Param::ScheduleType(schedule));
    this->CheckAgainstReference(this->Run(), 63, 2);
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestDefaultsAreThePapers) {
  EXPECT_EQ(Param::LOG, Param().schedule_type());
  EXPECT_EQ(Param::PER_CHANNEL, Param().balance());
  EXPECT_EQ(0, Param().first_iteration());
  EXPECT_FALSE(Param().drop_in_test());
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestBalanceModes) {
  this->param()->set_balance(Param::PER_IMAGE);
  this->CheckAgainstReference(this->Run(), 3 * 63, 2);
  this->param()->set_balance(Param::BATCH);
  this->CheckAgainstReference(this->Run(), 2 * 3 * 63, 2);
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestNormalization) {
  this->SetIgnoreLabel(255);
  for (int i = 0; i < 50; ++i) {
    this->label_->mutable_cpu_data()[i * 7] = 255;
  }
  LossParameter* loss = this->param_.mutable_loss_param();
  loss->set_normalization(LossParameter::FULL);
  this->CheckAgainstReference(this->Run(), 63, 378);
  loss->set_normalization(LossParameter::VALID);
  this->CheckAgainstReference(this->Run(), 63, 328);
  loss->set_normalization(LossParameter::BATCH_SIZE);
  this->CheckAgainstReference(this->Run(), 63, 2);
  loss->set_normalization(LossParameter::NONE);
  this->CheckAgainstReference(this->Run(), 63, 1);
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestAnyNumberOfSpatialAxes) {
  vector<int> shape(2, 3);
  this->Resize(shape, 0.5);
  this->param()->set_balance(Param::BATCH);
  this->CheckAgainstReference(this->Run(), 9, 3);
  this->param()->set_balance(Param::PER_CHANNEL);
  shape.push_back(130);
  this->Resize(shape, 0.2);
  this->CheckAgainstReference(this->Run(), 130, 3);
  shape[2] = 4;
  shape.push_back(5);
  shape.push_back(6);
  this->Resize(shape, 0.2);
  this->CheckAgainstReference(this->Run(), 120, 3);
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestManyBlocksOfOneGroup) {
  // More elements than one block of the GPU reduces.
  this->Resize(1, 1, 301, 299);
  this->param()->set_balance(Param::BATCH);
  this->param()->set_seed(2);
  this->CheckAgainstReference(this->Run(), 301 * 299, 1);
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestKeptCountIsAsExpected) {
  typedef typename TypeParam::Dtype Dtype;
  this->Resize(1, 1, 100, 100);
  for (int schedule = Param::LINEAR; schedule <= Param::NONE; ++schedule) {
    this->param()->set_schedule_type(Param::ScheduleType(schedule));
    double mean = 0, variance = 0, kept = 0;
    for (int i = 0; i < this->logits_->count(); ++i) {
      if (this->label_->cpu_data()[i] == 0) {
        const double d = std::min(1., std::max(0., this->Drop(
            this->param()->schedule_type(), this->logits_->cpu_data()[i])));
        mean += 1 - d;
        variance += d * (1 - d);
      }
    }
    const int forwards = 20;
    SigmoidRandomDropCELossLayer<Dtype> layer(this->param_);
    layer.SetUp(this->bottom_, this->top_);
    for (int f = 0; f < forwards; ++f) {
      layer.Forward(this->bottom_, this->top_);
      for (int i = 0; i < this->logits_->count(); ++i) {
        kept += this->label_->cpu_data()[i] == 0 &&
            this->mask_->cpu_data()[i] == 1;
      }
    }
    EXPECT_NEAR(mean, kept / forwards, 4 * std::sqrt(variance / forwards) + 1e-6)
        << "schedule " << schedule;
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  this->Resize(2, 2, 4, 5);
  for (int schedule = Param::LINEAR; schedule <= Param::NONE; ++schedule) {
    this->param()->set_schedule_type(Param::ScheduleType(schedule));
    this->HoldMask();
    this->param_.clear_loss_weight();
    this->param_.add_loss_weight(10);
    HeldRandomDropLayer<Dtype> layer(this->param_);
    this->top_.resize(1);
    GradientChecker<Dtype> checker(1e-2, 1e-2, 1701);
    checker.CheckGradientExhaustive(&layer, this->bottom_, this->top_, 0);
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestGradientRelative) {
  typedef typename TypeParam::Dtype Dtype;
  this->Resize(2, 2, 4, 5);
  this->HoldMask();
  HeldRandomDropLayer<Dtype> layer(this->param_);
  EXPECT_LT(this->GradientError(&layer), sizeof(Dtype) == 4 ? 2e-2 : 1e-5);
  HeldRandomDropLayer<Dtype> halved(this->param_, 0.5);
  EXPECT_GT(this->GradientError(&halved), 0.4);
  HeldRandomDropLayer<Dtype> zeroed(this->param_, 0);
  EXPECT_GT(this->GradientError(&zeroed), 0.9);
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestLossWeightScalesBoth) {
  typedef typename TypeParam::Dtype Dtype;
  const Dtype loss = this->Run();
  Blob<Dtype> diff;
  diff.CopyFrom(*this->logits_, true, true);
  this->param_.add_loss_weight(3.7);
  EXPECT_NEAR(3.7 * loss, this->Run(), 1e-4 * loss);
  for (int i = 0; i < diff.count(); ++i) {
    EXPECT_NEAR(3.7 * diff.cpu_diff()[i], this->logits_->cpu_diff()[i], 1e-5);
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestIgnoredElementsAreInert) {
  typedef typename TypeParam::Dtype Dtype;
  this->SetIgnoreLabel(255);
  for (int i = 0; i < this->label_->count(); i += 3) {
    this->label_->mutable_cpu_data()[i] = 255;
  }
  const Dtype loss = this->Run();
  this->CheckAgainstReference(loss, 63, 2);
  for (int i = 0; i < this->label_->count(); i += 3) {
    EXPECT_EQ(0, this->logits_->cpu_diff()[i]);
    this->logits_->mutable_cpu_data()[i] = i % 2 ?
        std::numeric_limits<Dtype>::quiet_NaN() : Dtype(1e4);
  }
  EXPECT_EQ(loss, this->Run());
  for (int i = 0; i < this->label_->count(); i += 3) {
    EXPECT_EQ(0, this->logits_->cpu_diff()[i]);
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestIgnoreLabelMayBeAClass) {
  this->SetIgnoreLabel(0);
  EXPECT_EQ(0, this->Run());  // positives alone: w+ = 0
  for (int i = 0; i < this->label_->count(); ++i) {
    EXPECT_EQ(this->label_->cpu_data()[i] == 1 ? 1 : -1,
        this->mask_->cpu_data()[i]);
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestGroupsWithOneClass) {
  this->SetIgnoreLabel(255);
  const int values[] = {0, 1, 255};
  for (int k = 0; k < 3; ++k) {
    this->SetLabels(values[k]);
    EXPECT_EQ(0, this->Run()) << "all labels " << values[k];
    for (int i = 0; i < this->logits_->count(); ++i) {
      EXPECT_EQ(0, this->logits_->cpu_diff()[i]);
    }
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestEveryNegativeDropped) {
  // exp(-60) of the negatives are kept: none. The positives then weigh 0.
  for (int i = 0; i < this->logits_->count(); ++i) {
    if (this->label_->cpu_data()[i] == 0) {
      this->logits_->mutable_cpu_data()[i] = -60;
    }
  }
  EXPECT_EQ(0, this->Run());
  EXPECT_EQ(0, this->logits_->asum_diff());
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestExtremeLogits) {
  typedef typename TypeParam::Dtype Dtype;
  const Dtype extremes[] = {-1e4, -100, 100, 1e4};
  for (int schedule = Param::LINEAR; schedule <= Param::NONE; ++schedule) {
    this->param()->set_schedule_type(Param::ScheduleType(schedule));
    this->Resize(1, 1, 8, 8);
    for (int i = 0; i < 64; ++i) {
      this->logits_->mutable_cpu_data()[i] = extremes[i % 4];
      this->label_->mutable_cpu_data()[i] = i / 4 % 2;
    }
    // Negatives at +100 and above are always kept; below, always dropped.
    const bool drops = schedule != Param::NONE;
    const Dtype loss = this->Run();
    const double kept = drops ? 16 : 32;
    const double w_positive = kept / (kept + 32), w_negative = 32 / (kept + 32);
    const double sum = 8 * (1e4 + 100);  // of either class
    EXPECT_NEAR((w_positive + w_negative) * sum, loss, 1e-5 * sum);
    for (int i = 0; i < 64; ++i) {
      const bool positive = i / 4 % 2, high = i % 4 >= 2;
      EXPECT_EQ(positive || high || !drops, this->mask_->cpu_data()[i]);
      const double expected = positive == high ? 0 :
          (positive ? -w_positive : w_negative);
      EXPECT_NEAR(expected, this->logits_->cpu_diff()[i], 1e-6);
    }
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestNaNShows) {
  typedef typename TypeParam::Dtype Dtype;
  this->logits_->mutable_cpu_data()[10] =
      std::numeric_limits<Dtype>::quiet_NaN();
  for (int label = 0; label < 2; ++label) {
    this->label_->mutable_cpu_data()[10] = label;
    const Dtype loss = this->Forward();
    EXPECT_TRUE(loss != loss) << "label " << label;
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestSameSeedSameMask) {
  typedef typename TypeParam::Dtype Dtype;
  Blob<Dtype> mask;
  const Dtype loss = this->Run();
  mask.CopyFrom(*this->mask_, false, true);
  EXPECT_EQ(loss, this->Run());
  for (int i = 0; i < mask.count(); ++i) {
    EXPECT_EQ(mask.cpu_data()[i], this->mask_->cpu_data()[i]);
  }
  this->param()->set_seed(43);
  EXPECT_NE(loss, this->Run());
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestHighHalfOfSeedCounts) {
  const uint64_t high = 1ull << 32;
  this->param()->set_seed(42 + high);
  this->CheckAgainstReference(this->Run(), 63, 2);
  const typename TypeParam::Dtype loss = this->Forward();
  this->param()->set_seed(42);
  EXPECT_NE(loss, this->Forward());
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestUnsetSeedFollowsSolver) {
  this->param()->clear_seed();
  Caffe::set_random_seed(5);
  const double first = this->Forward();
  EXPECT_NE(first, this->Forward());
  Caffe::set_random_seed(5);
  EXPECT_EQ(first, this->Forward());
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestFirstIteration) {
  typedef typename TypeParam::Dtype Dtype;
  SigmoidRandomDropCELossLayer<Dtype> layer(this->param_);
  layer.SetUp(this->bottom_, this->top_);
  layer.Forward(this->bottom_, this->top_);
  layer.Forward(this->bottom_, this->top_);
  const Dtype third = layer.Forward(this->bottom_, this->top_);
  this->param()->set_first_iteration(2);
  const Dtype resumed = this->Run();
  EXPECT_EQ(third, resumed);
  this->CheckAgainstReference(resumed, 63, 2, true, 2);
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestNothingIsDroppedInTest) {
  this->param_.set_phase(TEST);
  this->CheckAgainstReference(this->Run(), 63, 2, false);
  this->param()->set_drop_in_test(true);
  this->CheckAgainstReference(this->Run(), 63, 2, true);
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestBatchEqualsItsImages) {
  typedef typename TypeParam::Dtype Dtype;
  this->param()->set_schedule_type(Param::NONE);
  const Dtype batch = this->Run();
  Blob<Dtype> logits, label, diff;
  logits.CopyFrom(*this->logits_, false, true);
  diff.CopyFrom(*this->logits_, true, true);
  label.CopyFrom(*this->label_, false, true);
  this->Resize(1, 3, 9, 7);
  const int size = this->logits_->count();
  Dtype sum = 0;
  for (int n = 1; n >= 0; --n) {
    caffe_copy(size, logits.cpu_data() + n * size,
        this->logits_->mutable_cpu_data());
    caffe_copy(size, label.cpu_data() + n * size,
        this->label_->mutable_cpu_data());
    sum += this->Run();
    for (int i = 0; i < size; ++i) {
      EXPECT_NEAR(diff.cpu_diff()[n * size + i],
          this->logits_->cpu_diff()[i] / 2, 1e-6);
    }
  }
  EXPECT_NEAR(batch, sum / 2, 1e-5 * batch);
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestShapeMayChange) {
  typedef typename TypeParam::Dtype Dtype;
  SigmoidRandomDropCELossLayer<Dtype> layer(this->param_);
  layer.SetUp(this->bottom_, this->top_);
  layer.Forward(this->bottom_, this->top_);
  this->Resize(1, 2, 20, 30);
  const Dtype loss = layer.Forward(this->bottom_, this->top_);
  this->Backward(&layer);
  this->CheckAgainstReference(loss, 600, 1, true, 1);
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestThreeTypeNames) {
  typedef typename TypeParam::Dtype Dtype;
  const char* names[] = {"SigmoidRandomDropCELoss",
      "SigmoidRandomDropCELossParameter", "SigmoidRandomDropCrossEntropyLoss"};
  for (int k = 0; k < 3; ++k) {
    this->param_.set_type(names[k]);
    shared_ptr<Layer<Dtype> > layer =
        LayerRegistry<Dtype>::CreateLayer(this->param_);
    EXPECT_EQ(string("SigmoidRandomDropCELoss"), layer->type());
    layer->SetUp(this->bottom_, this->top_);
    EXPECT_GT(layer->Forward(this->bottom_, this->top_), 0);
  }
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestUsageExampleOfThePaper) {
  typedef typename TypeParam::Dtype Dtype;
  const string text =
      "layer { name: 'data' type: 'DummyData' top: 'pred' top: 'label' "
      "  dummy_data_param { shape { dim: 2 dim: 1 dim: 6 dim: 5 } "
      "    shape { dim: 2 dim: 1 dim: 6 dim: 5 } "
      "    data_filler { type: 'gaussian' } data_filler { value: 1 } } } "
      "layer { "
      "  name: 'loss' "
      "  type: 'SigmoidRandomDropCELossParameter' "
      "  bottom: 'pred' "
      "  bottom: 'label' "
      "  top: 'loss' "
      "  loss_weight: 1 "
      "  randrop_loss_param { "
      "    schedule_type: LINEAR "
      "  } "
      "}";
  NetParameter net_param;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &net_param));
  net_param.set_force_backward(true);
  Net<Dtype> net(net_param);
  Dtype loss = -1;
  net.Forward(&loss);
  net.Backward();
  EXPECT_EQ(0, loss);  // all labels are positive
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestBadInputStops) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  typedef typename TypeParam::Dtype Dtype;
  this->label_->mutable_cpu_data()[63 + 2 * 7 + 5] = 255;
  this->label_->mutable_cpu_data()[200] = 255;
  EXPECT_DEATH(this->Forward(), "SigmoidRandomDropCELoss layer '': label 255 "
      "at n = 0, c = 1, y = 2, x = 5; allowed are 0 and 1. "
      "Likely: an 8-bit mask of 0/255 that was not divided by 255");
  this->SetIgnoreLabel(255);
  this->label_->mutable_cpu_data()[7] = 0.5;
  EXPECT_DEATH(this->Forward(), "label 0.5 at n = 0, c = 0, y = 1, x = 0; "
      "allowed are 0, 1 and 255");
  this->label_->mutable_cpu_data()[7] =
      std::numeric_limits<Dtype>::quiet_NaN();
  EXPECT_DEATH(this->Forward(), "label -?nan at");
  vector<int> shape(4, 2);
  this->label_->Reshape(shape);
  EXPECT_DEATH(this->Forward(), "logits have shape 2 3 9 7 .378. and label "
      "2 2 2 2");
  shape[2] = 1;
  shape[3] = 1;
  this->logits_->Reshape(shape);
  shape.resize(1);
  this->logits_->Reshape(shape);
  this->label_->Reshape(shape);
  EXPECT_DEATH(this->Forward(), "expected N x C x spatial");
}

TYPED_TEST(SigmoidRandomDropCELossLayerTest, TestLabelsHaveNoGradient) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  typedef typename TypeParam::Dtype Dtype;
  SigmoidRandomDropCELossLayer<Dtype> layer(this->param_);
  layer.SetUp(this->bottom_, this->top_);
  EXPECT_FALSE(layer.AllowForceBackward(1));
  layer.Forward(this->bottom_, this->top_);
  EXPECT_DEATH(layer.Backward(this->top_, vector<bool>(2, true),
      this->bottom_), "cannot backpropagate to label");
}

}  // namespace caffe
