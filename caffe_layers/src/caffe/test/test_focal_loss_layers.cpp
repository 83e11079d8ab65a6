#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_pixel_loss_util.hpp"

namespace caffe {

template <typename TypeParam>
class RandropFocalLossLayersTest : public PixelLossTest<TypeParam> {
 protected:
  void Sigmoid(const string& options) {
    this->Use("type: 'SigmoidFocalCELoss' randrop_focal_param {" + options +
        "}");
  }
  void Softmax(const string& options) {
    this->Use("type: 'SoftmaxFocalCELoss' randrop_focal_param {" + options +
        "}");
  }

  // The sum as in the paper, with alpha given or counted in groups of `size`
  // elements.
  double SigmoidSum(double gamma, double alpha, int size = 0) const {
    double sum = 0;
    for (int i = 0; i < this->label_->count(); ++i) {
      if (size > 0) {
        double negatives = 0;
        for (int k = i / size * size; k < (i / size + 1) * size; ++k) {
          negatives += this->Label(k) == 0;
        }
        alpha = negatives / size;
      }
      const bool positive = this->Label(i) == 1;
      const double p = this->PixelLossTest<TypeParam>::Sigmoid(i);
      const double p_t = positive ? p : 1 - p;
      sum -= (positive ? alpha : 1 - alpha) * std::pow(1 - p_t, gamma) *
          std::log(p_t);
    }
    return sum;
  }
  double SoftmaxMean(double gamma, const vector<double>& alpha) const {
    double sum = 0;
    for (int j = 0; j < this->label_->count(); ++j) {
      const double p = this->Probability(j, this->Label(j));
      sum -= alpha[this->Label(j)] * std::pow(1 - p, gamma) * std::log(p);
    }
    return sum / this->label_->count();
  }
};

TYPED_TEST_CASE(RandropFocalLossLayersTest, TestDtypesAndDevices);

TYPED_TEST(RandropFocalLossLayersTest, TestSigmoidReference) {
  this->FillSigmoid(this->Shape(2, 3, 9, 7));
  const char* gammas[] = {"0", "0.5", "1", "2", "5"};
  const double gamma[] = {0, 0.5, 1, 2, 5};
  for (int k = 0; k < 5; ++k) {
    this->Sigmoid(string("gamma: ") + gammas[k]);
    const double expected = this->SigmoidSum(gamma[k], 0.25) / 2;
    EXPECT_NEAR(expected, this->Run(), 1e-5 * expected);
  }
}

TYPED_TEST(RandropFocalLossLayersTest, TestAlpha) {
  this->FillSigmoid(this->Shape(2, 3, 9, 7));
  this->Sigmoid("alpha: 0.9");
  EXPECT_NEAR(this->SigmoidSum(2, 0.9) / 2, this->Run(), 1e-3);
  this->Sigmoid("alpha_mode: PER_IMAGE");
  EXPECT_NEAR(this->SigmoidSum(2, 0, 189) / 2, this->Run(), 1e-3);
  this->Sigmoid("alpha_mode: PER_CHANNEL");
  EXPECT_NEAR(this->SigmoidSum(2, 0, 63) / 2, this->Run(), 1e-3);
}

TYPED_TEST(RandropFocalLossLayersTest, TestSoftmaxReference) {
  this->FillSoftmax(this->Shape(2, 3, 9, 7));
  vector<double> alpha(3, 1);
  this->Softmax("");
  EXPECT_NEAR(this->SoftmaxMean(2, alpha), this->Run(), 1e-5);
  this->Softmax("gamma: 0.5 class_alpha: 0.7");
  EXPECT_NEAR(0.7 * this->SoftmaxMean(0.5, alpha), this->Run(), 1e-5);
  alpha[0] = 0.1;
  alpha[2] = 2.5;
  this->Softmax("gamma: 3 class_alpha: 0.1 class_alpha: 1 class_alpha: 2.5");
  EXPECT_NEAR(this->SoftmaxMean(3, alpha), this->Run(), 1e-5);
}

TYPED_TEST(RandropFocalLossLayersTest, TestGammaZeroIsCrossEntropy) {
  typedef typename TypeParam::Dtype Dtype;
  this->FillSoftmax(this->Shape(2, 3, 9, 7));
  this->Softmax("gamma: 0");
  const Dtype loss = this->Run();
  vector<Dtype> diff = this->Diff();
  this->Use("type: 'SoftmaxWithLoss'");
  EXPECT_NEAR(this->Run(), loss, 1e-5);
  for (int i = 0; i < diff.size(); ++i) {
    EXPECT_NEAR(this->Diff()[i], diff[i], 1e-7);
  }
  this->FillSigmoid(this->Shape(2, 3, 9, 7));
  this->Sigmoid("gamma: 0 alpha: 0.5");
  const Dtype half = this->Run();
  diff = this->Diff();
  this->Use("type: 'SigmoidCrossEntropyLoss'");
  EXPECT_NEAR(this->Run(), 2 * half, 1e-5 * half);
  for (int i = 0; i < diff.size(); ++i) {
    EXPECT_NEAR(this->Diff()[i], 2 * diff[i], 1e-5);
  }
}

TYPED_TEST(RandropFocalLossLayersTest, TestNormalization) {
  this->FillSigmoid(this->Shape(2, 3, 5, 4));
  const double sum = this->SigmoidSum(2, 0.25);
  const char* names[] = {"FULL", "VALID", "BATCH_SIZE", "NONE"};
  const double divisors[] = {120, 120, 2, 1};
  for (int k = 0; k < 4; ++k) {
    this->Sigmoid("");
    LossParameter::NormalizationMode mode;
    ASSERT_TRUE(LossParameter::NormalizationMode_Parse(names[k], &mode));
    this->param_.mutable_loss_param()->set_normalization(mode);
    EXPECT_NEAR(sum / divisors[k], this->Run(), 1e-5 * sum / divisors[k]);
  }
}

TYPED_TEST(RandropFocalLossLayersTest, TestBadOptionsStop) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  this->FillSigmoid(this->Shape(1, 3, 3, 3));
  this->Sigmoid("gamma: -0.1");
  EXPECT_DEATH(this->Run(), "gamma is -0.1; it must be at least 0 and finite");
  this->Sigmoid("alpha: 1.5");
  EXPECT_DEATH(
      this->Run(), "alpha is 1.5; it must be at least 0 and at most 1");
  this->Sigmoid("class_alpha: 1");
  EXPECT_DEATH(this->Run(), "class_alpha is for SoftmaxFocalLoss");
  this->FillSoftmax(this->Shape(1, 3, 3, 3));
  this->Softmax("gamma: -1");
  EXPECT_DEATH(this->Run(), "gamma is -1; it must be at least 0");
  this->Softmax("alpha: 0.5");
  EXPECT_DEATH(this->Run(), "alpha and alpha_mode are for SigmoidFocalLoss");
  this->Softmax("class_alpha: 1 class_alpha: 1");
  EXPECT_DEATH(this->Run(), "class_alpha has 2 values for 3 classes");
  this->Softmax("class_alpha: -1");
  EXPECT_DEATH(this->Run(), "class_alpha is -1; it must be at least 0");
}

}  // namespace caffe
