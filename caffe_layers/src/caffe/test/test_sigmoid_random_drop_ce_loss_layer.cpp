#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/util/math_functions.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_gradient_check_util.hpp"
#include "caffe/test/test_random_drop_util.hpp"

namespace caffe {

// What the layer computes.
template <typename TypeParam>
class RandropRandomDropTest : public RandomDropTest<TypeParam> {};

TYPED_TEST_CASE(RandropRandomDropTest, TestDtypesAndDevices);

TYPED_TEST(RandropRandomDropTest, TestReferenceOfEverySchedule) {
  for (int schedule = Param::LINEAR; schedule <= Param::NONE; ++schedule) {
    this->param()->set_schedule_type(Param::ScheduleType(schedule));
    this->CheckAgainstReference(this->Run(), 63, 2);
  }
}

TYPED_TEST(RandropRandomDropTest, TestWhichNegativesAreKept) {
  for (int keep = Param::UNIFORM; keep <= Param::HARDEST; ++keep) {
    this->param()->set_keep(Param::Keep(keep));
    for (int schedule = Param::LINEAR; schedule <= Param::NONE; ++schedule) {
      SCOPED_TRACE(schedule);
      this->param()->set_schedule_type(Param::ScheduleType(schedule));
      this->Resize(2, 3, 9, 7);
      this->param()->set_balance(Param::PER_CHANNEL);
      this->CheckAgainstReference(this->Run(), 63, 2);
      this->param()->set_balance(Param::BATCH);
      this->CheckAgainstReference(this->Run(), 378, 2);
      // More than a thread and a GPU block handle.
      this->Resize(1, 2, 151, 113);
      this->param()->set_balance(Param::PER_CHANNEL);
      this->CheckAgainstReference(this->Run(), 151 * 113, 1);
    }
  }
}

TYPED_TEST(RandropRandomDropTest, TestIgnoredNegativesAreNotKept) {
  this->SetIgnoreLabel(255);
  for (int i = 0; i < this->label_->count(); i += 3) {
    this->label_->mutable_cpu_data()[i] = 255;
    this->logits_->mutable_cpu_data()[i] = 20;
  }
  for (int keep = Param::UNIFORM; keep <= Param::HARDEST; ++keep) {
    this->param()->set_keep(Param::Keep(keep));
    this->CheckAgainstReference(this->Run(), 63, 2);
  }
}

TYPED_TEST(RandropRandomDropTest, TestBalanceModes) {
  this->param()->set_balance(Param::PER_IMAGE);
  this->CheckAgainstReference(this->Run(), 3 * 63, 2);
  this->param()->set_balance(Param::BATCH);
  this->CheckAgainstReference(this->Run(), 2 * 3 * 63, 2);
}

TYPED_TEST(RandropRandomDropTest, TestNormalization) {
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

TYPED_TEST(RandropRandomDropTest, TestAnyNumberOfSpatialAxes) {
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

TYPED_TEST(RandropRandomDropTest, TestManyBlocksOfOneGroup) {
  // More elements than one GPU block reduces.
  this->Resize(1, 1, 301, 299);
  this->param()->set_balance(Param::BATCH);
  this->param()->set_seed(2);
  this->CheckAgainstReference(this->Run(), 301 * 299, 1);
}

TYPED_TEST(RandropRandomDropTest, TestKeptCountIsAsExpected) {
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
    const double deviation = std::sqrt(variance / forwards);
    EXPECT_NEAR(mean, kept / forwards, 4 * deviation + 1e-6)
        << "schedule " << schedule;
  }
}

TYPED_TEST(RandropRandomDropTest, TestGradient) {
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

TYPED_TEST(RandropRandomDropTest, TestGradientRelative) {
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

TYPED_TEST(RandropRandomDropTest, TestLossWeightScalesBoth) {
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

TYPED_TEST(RandropRandomDropTest, TestIgnoredElementsAreInert) {
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

TYPED_TEST(RandropRandomDropTest, TestIgnoreLabelMayBeAClass) {
  this->SetIgnoreLabel(0);
  EXPECT_EQ(0, this->Run());  // only positives: w+ = 0
  for (int i = 0; i < this->label_->count(); ++i) {
    EXPECT_EQ(this->label_->cpu_data()[i] == 1 ? 1 : -1,
        this->mask_->cpu_data()[i]);
  }
}

TYPED_TEST(RandropRandomDropTest, TestGroupsWithOneClass) {
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

TYPED_TEST(RandropRandomDropTest, TestEveryNegativeDropped) {
  // A fraction exp(-60) of the negatives is kept: none. Positives then weigh 0.
  for (int i = 0; i < this->logits_->count(); ++i) {
    if (this->label_->cpu_data()[i] == 0) {
      this->logits_->mutable_cpu_data()[i] = -60;
    }
  }
  EXPECT_EQ(0, this->Run());
  EXPECT_EQ(0, this->logits_->asum_diff());
}

TYPED_TEST(RandropRandomDropTest, TestExtremeLogits) {
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
    const double sum = 8 * (1e4 + 100);  // for each class
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

TYPED_TEST(RandropRandomDropTest, TestNaNShows) {
  typedef typename TypeParam::Dtype Dtype;
  this->logits_->mutable_cpu_data()[10] =
      std::numeric_limits<Dtype>::quiet_NaN();
  for (int keep = Param::BY_DIFFICULTY; keep <= Param::HARDEST; ++keep) {
    this->param()->set_keep(Param::Keep(keep));
    for (int label = 0; label < 2; ++label) {
      this->label_->mutable_cpu_data()[10] = label;
      const Dtype loss = this->Forward();
      EXPECT_TRUE(loss != loss) << "keep " << keep << ", label " << label;
    }
  }
}

TYPED_TEST(RandropRandomDropTest, TestBatchEqualsItsImages) {
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

}  // namespace caffe
