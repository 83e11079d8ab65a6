#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_pixel_loss_util.hpp"

namespace caffe {

template <typename TypeParam>
class RandropTverskyLossLayerTest : public PixelLossTest<TypeParam> {
 protected:
  typedef typename TypeParam::Dtype Dtype;

  Dtype Loss(const string& options) {
    this->Use("type: 'TverskyLoss' randrop_tversky_param {" + options + "}");
    return this->Run();
  }

  // The loss of one image by definition.
  double Expected(double alpha, double beta, double gamma, bool softmax) const {
    const int classes = this->logits_->shape(1);
    const int area = this->logits_->count(2);
    double sum = 0;
    for (int c = 0; c < classes; ++c) {
      double right = 0, wrong = 0;
      for (int k = 0; k < area; ++k) {
        const int j = softmax ? k : c * area + k;
        const double y = this->Label(j) == (softmax ? c : 1);
        const double p = softmax ? this->Probability(j, c) : this->Sigmoid(j);
        right += 2 * p * y;
        wrong += 2 * alpha * p * (1 - y) + 2 * beta * (1 - p) * y;
      }
      sum += std::pow(1 - (right + 1) / (right + wrong + 1), gamma);
    }
    return sum / classes;
  }
};

TYPED_TEST_CASE(RandropTverskyLossLayerTest, TestDtypesAndDevices);

TYPED_TEST(RandropTverskyLossLayerTest, TestReference) {
  this->FillSoftmax(this->Shape(1, 3, 9, 7));
  EXPECT_NEAR(this->Expected(0.3, 0.7, 1, true), this->Loss(""), 1e-6);
  EXPECT_NEAR(this->Expected(0, 2, 0.75, true),
      this->Loss("alpha: 0 beta: 2 gamma: 0.75"), 1e-6);
  this->FillSigmoid(this->Shape(1, 2, 9, 7));
  EXPECT_NEAR(this->Expected(0.1, 0.9, 2, false),
      this->Loss("activation: SIGMOID alpha: 0.1 beta: 0.9 gamma: 2"), 1e-6);
}

TYPED_TEST(RandropTverskyLossLayerTest, TestHalvesAreDice) {
  typedef typename TypeParam::Dtype Dtype;
  for (const char* more : {"", " batch: true", " include_background: false",
           " activation: SIGMOID"}) {
    SCOPED_TRACE(more);
    this->Fill(this->Shape(2, 3, 9, 7), string(more) != " activation: SIGMOID");
    const Dtype loss = this->Loss(string("alpha: 0.5 beta: 0.5") + more);
    const vector<Dtype> diff = this->Diff();
    this->Use(string("type: 'SoftDiceLoss' randrop_dice_param { squared: false")
        + more + "}");
    EXPECT_NEAR(this->Run(), loss, 1e-6);
    for (int i = 0; i < diff.size(); ++i) {
      EXPECT_NEAR(this->Diff()[i], diff[i], 1e-7);
    }
  }
}

TYPED_TEST(RandropTverskyLossLayerTest, TestBadOptionsStop) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  this->FillSoftmax(this->Shape(1, 3, 3, 3));
  EXPECT_DEATH(this->Loss("alpha: -1"), "alpha is -1; it must be at least 0");
  EXPECT_DEATH(this->Loss("beta: -1"), "beta is -1; it must be at least 0");
  EXPECT_DEATH(this->Loss("gamma: 0"), "gamma is 0; it must be above 0");
}

}  // namespace caffe
