#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_pixel_loss_util.hpp"

namespace caffe {

template <typename TypeParam>
class RandropExpLogLossLayerTest : public PixelLossTest<TypeParam> {
 protected:
  void ExpLog(const string& options) {
    this->Use("type: 'ExpLogLoss' randrop_explog_param {" + options + "}");
  }

  static double Power(double value, double gamma) {
    return std::pow(gamma < 1 ? std::max(value, 1e-7) : value, gamma);
  }

  // Equations 1 to 3 of the paper.
  double Expected() const {
    const RandropExpLogParameter& o = this->param_.randrop_explog_param();
    const int images = this->logits_->shape(0);
    const int classes = this->logits_->shape(1);
    const int area = this->logits_->count(2);
    vector<double> f(classes, 0);
    for (int j = 0; j < images * area; ++j) {
      f[this->Label(j)] += 1;
    }
    if (o.label_frequency_size() > 0) {
      f.assign(o.label_frequency().begin(), o.label_frequency().end());
    }
    double all = 0, dice = 0, cross = 0;
    for (int c = 0; c < classes; ++c) {
      all += f[c];
      double overlap = 0, size = 0;
      for (int n = 0; n < images; ++n) {
        for (int j = n * area; j < (n + 1) * area; ++j) {
          const double p = this->Probability(j, c);
          const double y = this->Label(j) == c;
          overlap += 2 * p * y;
          size += p + y;
        }
        if (!o.batch() || n == images - 1) {
          const double d = (overlap + o.epsilon()) / (size + o.epsilon());
          dice += Power(-std::log(d), o.gamma_dice()) / classes /
              (o.batch() ? 1 : images);
          overlap = size = 0;
        }
      }
    }
    for (int j = 0; j < images * area; ++j) {
      const int l = this->Label(j);
      const double weight = f[l] > 0 ? std::sqrt(all / f[l]) : 0;
      cross += weight * Power(-std::log(this->Probability(j, l)),
          o.gamma_cross()) / (images * area);
    }
    return o.weight_dice() * dice + o.weight_cross() * cross;
  }
};

TYPED_TEST_CASE(RandropExpLogLossLayerTest, TestDtypesAndDevices);

TYPED_TEST(RandropExpLogLossLayerTest, TestReferenceOfEveryOption) {
  const char* options[] = {"", "gamma_dice: 1 gamma_cross: 1",
      "gamma_dice: 2 gamma_cross: 1.5", "weight_dice: 0 weight_cross: 1",
      "weight_cross: 0", "epsilon: 0.01", "batch: true",
      "label_frequency: 100 label_frequency: 10 label_frequency: 1"};
  for (int k = 0; k < 8; ++k) {
    SCOPED_TRACE(options[k]);
    this->FillSoftmax(this->Shape(2, 3, 9, 7));
    this->ExpLog(options[k]);
    const double expected = this->Expected();
    EXPECT_NEAR(expected, this->Run(), 2e-6 * expected);
  }
}

TYPED_TEST(RandropExpLogLossLayerTest, TestVolume) {
  const int sizes[] = {1, 4, 3, 5, 6};
  this->FillSoftmax(vector<int>(sizes, sizes + 5));
  this->ExpLog("");
  EXPECT_NEAR(this->Expected(), this->Run(), 2e-6);
}

TYPED_TEST(RandropExpLogLossLayerTest, TestWeightsAreOfFrequenciesInAnyUnit) {
  typedef typename TypeParam::Dtype Dtype;
  this->FillSoftmax(this->Shape(2, 3, 9, 7));
  this->ExpLog("label_frequency: 0.9 label_frequency: 0.09 "
      "label_frequency: 0.01");
  const Dtype share = this->Run();
  this->ExpLog("label_frequency: 90 label_frequency: 9 label_frequency: 1");
  EXPECT_NEAR(share, this->Run(), 1e-6);
}

TYPED_TEST(RandropExpLogLossLayerTest, TestFrequencyZeroWeighsNothing) {
  this->FillSoftmax(this->Shape(1, 2, 4, 4));
  this->ExpLog("weight_dice: 0 label_frequency: 1 label_frequency: 0");
  EXPECT_NEAR(this->Expected(), this->Run(), 1e-6);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(this->Label(j) == 1,
        this->logits_->cpu_diff()[this->Element(j, 0)] == 0);
  }
}

TYPED_TEST(RandropExpLogLossLayerTest, TestCertaintyHasNoDerivative) {
  // Right by a wide margin: -ln is clamped to 1e-7; 1e-7^0.3 is 0.0079.
  this->FillSoftmax(this->Shape(1, 2, 4, 4));
  for (int i = 0; i < 32; ++i) {
    this->logits_->mutable_cpu_data()[i] =
        this->Label(i % 16) == i / 16 ? 200 : -200;
  }
  this->ExpLog("label_frequency: 1 label_frequency: 1");
  EXPECT_NEAR(std::pow(1e-7, 0.3) * (0.8 + 0.2 * std::sqrt(2.)), this->Run(),
      1e-6);
  EXPECT_EQ(0, this->logits_->asum_diff());
}

TYPED_TEST(RandropExpLogLossLayerTest, TestBadOptionsStop) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  this->FillSoftmax(this->Shape(1, 3, 3, 3));
  this->ExpLog("label_frequency: 1 label_frequency: 2");
  EXPECT_DEATH(this->Run(), "label_frequency has 2 values for 3 classes");
  this->ExpLog("label_frequency: 1 label_frequency: 2 label_frequency: -1");
  EXPECT_DEATH(this->Run(), "label_frequency is -1; it must be at least 0");
  this->ExpLog("gamma_dice: 0");
  EXPECT_DEATH(this->Run(), "gamma_dice is 0; it must be above 0 and finite");
  this->ExpLog("gamma_cross: -1");
  EXPECT_DEATH(this->Run(), "gamma_cross is -1; it must be above 0");
  this->ExpLog("epsilon: 0");
  EXPECT_DEATH(this->Run(), "epsilon is 0; it must be above 0");
  this->ExpLog("weight_cross: -1");
  EXPECT_DEATH(this->Run(), "weight_cross is -1; it must be at least 0");
  this->ExpLog("label_frequency: 0 label_frequency: 0 label_frequency: 0");
  EXPECT_DEATH(this->Run(), "label_frequency is 0 for every class.*"
      "weight_cross: 0 to disable the term");
  this->ExpLog("");
  this->param_.mutable_loss_param()->set_normalize(true);
  EXPECT_DEATH(this->Run(), "normalization does not apply to this loss");
}

}  // namespace caffe
