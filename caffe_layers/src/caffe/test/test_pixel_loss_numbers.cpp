#include <stdint.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/randrop/loops/radix_cut.hpp"
#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_pixel_loss_util.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

using randrop::ShareOf;

// Extreme numbers: logits that are not finite, weights and differences that
// 1 - x would lose, parameters out of range.
template <typename TypeParam>
class RandropPixelLossNumbersTest : public PixelLossTest<TypeParam> {
 protected:
  static bool IsSoftmax(const string& text) {
    return text.find("SIGMOID") == string::npos &&
        text.find("type: 'Sigmoid") == string::npos;
  }
  // Three images, the last with negatives only; in the first, pixel 0 is a
  // positive and pixel 1 is ignored.
  void Fill(const string& text) {
    this->Use(text);
    this->param_.mutable_loss_param()->set_ignore_label(7);
    const vector<int> shape = this->Shape(3, 2, 5, 9);
    if (IsSoftmax(text)) {
      this->FillSoftmax(shape);
    } else {
      this->FillSigmoid(shape);
    }
    typename TypeParam::Dtype* label = this->label_->mutable_cpu_data();
    const int size = this->label_->count(1);
    for (int i = 2 * size; i < 3 * size; ++i) {
      label[i] = 0;
    }
    label[0] = 1;
    label[1] = 7;
  }
};

TYPED_TEST_CASE(RandropPixelLossNumbersTest, TestDtypesAndDevices);

TYPED_TEST(RandropPixelLossNumbersTest, TestLogitsThatAreNoNumbersShow) {
  typedef typename TypeParam::Dtype Dtype;
  const char* losses[] = {
    "type: 'SigmoidRandomDropCELoss' randrop_loss_param { seed: 5 }",
    "type: 'SigmoidRandomDropCELoss' randrop_loss_param { seed: 5"
    " schedule_type: LINEAR }",
    "type: 'SigmoidTopKCELoss'",
    "type: 'SigmoidTopKCELoss' randrop_topk_param { selection: BIN }",
    "type: 'SigmoidTopKCELoss' randrop_topk_param { selection: PERCENT"
    " k_percent: 3 }",
    "type: 'SoftmaxTopKLoss' randrop_topk_param { k_percent: 3 }",
    "type: 'SigmoidFocalCELoss' randrop_focal_param { gamma: 0 alpha: 0 }",
    "type: 'SigmoidFocalCELoss' randrop_focal_param { alpha_mode: PER_IMAGE }",
    "type: 'SoftmaxFocalCELoss' randrop_focal_param { gamma: 0 }",
    "type: 'SoftmaxFocalCELoss' randrop_focal_param { gamma: 1.5 }",
    "type: 'SoftDiceLoss'",
    "type: 'SoftDiceLoss' randrop_dice_param { activation: SIGMOID }",
    "type: 'TopKDiceLoss' randrop_dice_param { k_percent: 3 }",
    "type: 'TopKDiceLoss' randrop_dice_param { k_percent: 3"
    " activation: SIGMOID region: FOREGROUND }",
    "type: 'ExpLogLoss'",
    "type: 'ExpLogLoss' randrop_explog_param { gamma_cross: 1 batch: true }"};
  const Dtype infinity = std::numeric_limits<Dtype>::infinity();
  const Dtype values[] = {std::numeric_limits<Dtype>::quiet_NaN(), infinity,
      -infinity};
  for (int k = 0; k < sizeof(losses) / sizeof(*losses); ++k) {
    for (int v = 0; v < 3; ++v) {
      SCOPED_TRACE(::testing::Message() << losses[k] << " " << values[v]);
      this->Fill(losses[k]);
      const bool softmax = this->IsSoftmax(losses[k]);
      const Dtype before = this->Run();
      EXPECT_TRUE(std::isfinite(before));
      Dtype* x = this->logits_->mutable_cpu_data();
      // An ignored pixel, a positive, a negative in an image with positives and
      // one without; class 1 for a softmax.
      const int last = this->label_->count(0) - 1;
      const int where[] = {softmax ? this->Element(1, 1) : 1,
          softmax ? this->Element(0, 1) : 0,
          softmax ? this->Element(last, 1) : last};
      for (int w = 0; w < 3; ++w) {
        const Dtype old = x[where[w]];
        x[where[w]] = values[v];
        const Dtype loss = this->Run();
        if (w == 0) {
          EXPECT_EQ(before, loss) << "ignored";
          EXPECT_EQ(0, this->logits_->cpu_diff()[where[w]]);
        } else if (softmax && w == 2 && v == 2) {
          // Minus infinity rules a class out.
          EXPECT_TRUE(std::isfinite(loss));
          EXPECT_EQ(0, this->logits_->cpu_diff()[where[w]]);
        } else {
          EXPECT_TRUE(std::isnan(loss)) << w << ": " << loss;
        }
        x = this->logits_->mutable_cpu_data();
        x[where[w]] = old;
      }
    }
  }
}

TYPED_TEST(RandropPixelLossNumbersTest, TestFocalWeightOfFewPositives) {
  typedef typename TypeParam::Dtype Dtype;
  // One positive in two million: w- is 5e-7.
  const char* modes[] = {"PER_IMAGE", "PER_CHANNEL"};
  for (int k = 0; k < 2; ++k) {
    this->FillLogits(this->Shape(1, 1, 1000, 2000));
    caffe_set(this->logits_->count(), Dtype(0),
        this->logits_->mutable_cpu_data());
    this->label_->ReshapeLike(*this->logits_);
    this->SetLabels(0);
    this->label_->mutable_cpu_data()[123456] = 1;
    this->Use(string("type: 'SigmoidFocalCELoss' randrop_focal_param {"
        " gamma: 0 alpha_mode: ") + modes[k] + " }");
    this->Run();
    const double few = 1. / 2000000;
    const Dtype* diff = this->logits_->cpu_diff();
    EXPECT_NEAR(0.5 * few, diff[5], 1e-6 * few);
    EXPECT_NEAR(-0.5 * (1 - few), diff[123456], 1e-6);
  }
  // One negative.
  this->SetLabels(1);
  this->label_->mutable_cpu_data()[123456] = 0;
  this->Run();
  EXPECT_NEAR(-0.5 / 2000000, this->logits_->cpu_diff()[5], 1e-6 / 2000000);
}

TYPED_TEST(RandropPixelLossNumbersTest, TestGradientOfADiceThatIsAllButRight) {
  typedef typename TypeParam::Dtype Dtype;
  // Logit x for all positives and -x for all negatives; derived by hand.
  for (int softmax = 0; softmax < 2; ++softmax) {
    for (double z = 1; z < 41; z *= 1.5) {
      SCOPED_TRACE(z);
      this->FillSigmoid(this->Shape(1, softmax ? 2 : 1, 5, 8), 0);
      if (softmax) {
        this->label_->Reshape(this->Shape(1, 1, 5, 8));
      }
      this->SetLabels(0);
      for (int i = 0; i < 40; ++i) {
        const int positive = i < 10;
        this->label_->mutable_cpu_data()[i] = positive;
        Dtype* x = this->logits_->mutable_cpu_data();
        x[i] = (softmax ? !positive : positive) ? z : -z;
        if (softmax) {
          x[i] /= 2;
          x[i + 40] = -x[i];
        }
      }
      this->Use(string("type: 'SoftDiceLoss' randrop_dice_param { smooth: 1"
          " activation: ") + (softmax ? "SOFTMAX }" : "SIGMOID }"));
      this->Run();
      const double p = 1 / (1 + std::exp(-z)), q = 1 / (1 + std::exp(z));
      double wanted = 0;
      for (int c = 0; c < (softmax ? 2 : 1); ++c) {
        const double own = c == 0 && softmax ? 30 : 10, rest = 40 - own;
        const double size = own * (1 + p * p) + rest * q * q + 1;
        const double error = 40 * q * q, dice = (2 * own * p + 1) / size;
        // For a pixel of class 1: the slope of its class's sums in p, and that
        // of the other class's sums, whose p falls.
        const double slope = own == 10 ?
            -2 * error / size / size - 2 * q * dice / size :
            -2 * q * dice / size;
        wanted += slope * p * q / (softmax ? 2 : 1);
      }
      const Dtype* diff = this->logits_->cpu_diff() + (softmax ? 40 : 0);
      EXPECT_NEAR(1, diff[0] / wanted, 1e-5);
    }
  }
}

TYPED_TEST(RandropPixelLossNumbersTest, TestAnImageThatIsIgnoredIsNotCounted) {
  const char* losses[] = {"type: 'ExpLogLoss'", "type: 'SoftDiceLoss'",
    "type: 'SoftDiceLoss' randrop_dice_param { include_background: false }",
    "type: 'SoftDiceLoss' randrop_dice_param { activation: SIGMOID }",
    "type: 'TopKDiceLoss'",
    "type: 'TopKDiceLoss' randrop_dice_param { region: FOREGROUND }"};
  typedef typename TypeParam::Dtype Dtype;
  for (int k = 0; k < sizeof(losses) / sizeof(*losses); ++k) {
    SCOPED_TRACE(losses[k]);
    this->Fill(losses[k]);
    const int size = this->label_->count(1), logits = this->logits_->count(1);
    for (int i = size; i < 2 * size; ++i) {
      this->label_->mutable_cpu_data()[i] = 7;
    }
    const Dtype three = this->Run();
    const vector<Dtype> diff = this->Diff();
    // The same without it.
    for (int i = 0; i < size; ++i) {
      this->label_->mutable_cpu_data()[size + i] =
          this->label_->cpu_data()[2 * size + i];
    }
    for (int i = 0; i < logits; ++i) {
      this->logits_->mutable_cpu_data()[logits + i] =
          this->logits_->cpu_data()[2 * logits + i];
    }
    vector<int> shape = this->logits_->shape();
    shape[0] = 2;
    this->logits_->Reshape(shape);
    shape[1] = this->label_->shape(1);
    this->label_->Reshape(shape);
    EXPECT_NEAR(three, this->Run(), 1e-6 * std::fabs(three));
    for (int i = 0; i < logits; ++i) {
      EXPECT_NEAR(diff[i], this->Diff()[i], 1e-6 * std::fabs(diff[i]) + 1e-12);
    }
  }
}

TYPED_TEST(RandropPixelLossNumbersTest, TestParametersOutOfRangeAreNamed) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  if (sizeof(typename TypeParam::Dtype) == 8 || Caffe::mode() != Caffe::CPU) {
    return;  // The same code.
  }
  const struct { const char* type; const char* field; const char* names[8]; }
  layers[] = {
    {"SigmoidTopKCELoss", "randrop_topk_param",
     {"k_percent", "negatives_per_positive", "positive_weight", NULL}},
    {"SoftmaxTopKLoss", "randrop_topk_param", {"k_percent", NULL}},
    {"SigmoidFocalCELoss", "randrop_focal_param", {"gamma", "alpha", NULL}},
    {"SoftmaxFocalCELoss", "randrop_focal_param",
     {"gamma", "class_alpha", NULL}},
    {"SoftDiceLoss", "randrop_dice_param", {"smooth", NULL}},
    {"TopKDiceLoss", "randrop_dice_param", {"smooth", "k_percent", NULL}},
    {"ExpLogLoss", "randrop_explog_param", {"weight_dice", "weight_cross",
     "gamma_dice", "gamma_cross", "epsilon", "label_frequency", NULL}}};
  const char* values[] = {"nan", "inf", "-inf", "-1", "1e300"};
  for (int k = 0; k < sizeof(layers) / sizeof(*layers); ++k) {
    for (int p = 0; layers[k].names[p]; ++p) {
      for (int v = 0; v < 5; ++v) {
        const string name = layers[k].names[p];
        const string text = string("name: 'its name' type: '") +
            layers[k].type + "' " + layers[k].field + " { " + name + ": " +
            values[v] + " }";
        SCOPED_TRACE(text);
        this->Fill(text);
        EXPECT_DEATH(this->Run(), string(layers[k].type) +
            " layer 'its name': " + name + " is .*; it must be");
      }
    }
  }
}

TYPED_TEST(RandropPixelLossNumbersTest, TestBadShapesAreNamed) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  if (sizeof(typename TypeParam::Dtype) == 8 || Caffe::mode() != Caffe::CPU) {
    return;
  }
  const char* types[] = {"SigmoidRandomDropCELoss", "SigmoidTopKCELoss",
    "SoftmaxTopKLoss", "SigmoidFocalCELoss", "SoftmaxFocalCELoss",
    "SoftDiceLoss", "TopKDiceLoss", "ExpLogLoss"};
  for (int k = 0; k < sizeof(types) / sizeof(*types); ++k) {
    const string text = string("name: 'its name' type: '") + types[k] + "'";
    const string title = string(types[k]) + " layer 'its name': ";
    for (int axis = 0; axis < 4; ++axis) {
      SCOPED_TRACE(::testing::Message() << text << " axis " << axis);
      this->Fill(text);
      vector<int> shape = this->logits_->shape();
      shape[axis] = 0;
      this->logits_->Reshape(shape);
      if (axis != 1 || !this->IsSoftmax(text)) {
        shape[1] = this->label_->shape(1);
        shape[axis] = 0;
        this->label_->Reshape(shape);
      }
      EXPECT_DEATH(this->Run(), title + "logits have shape .*without a pixel");
    }
    this->Fill(text);
    this->logits_->Reshape(vector<int>(1, this->logits_->count()));
    EXPECT_DEATH(this->Run(),
        title + "logits have shape .*the loss needs N x C");
  }
}

TEST(RandropShareOfTest, TestIsThatOfTheDecimalNumber) {
  uint64_t state = 1;
  for (int k = 0; k < 2000000; ++k) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    // Thousandths of a percent, as written, of up to 2^31.
    const int64_t thousandths = (state >> 33) % 100000 + 1;
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    const int64_t count = (state >> 33) >> (state >> 20) % 24;
    const double k_percent = thousandths / 1000.;
    const int64_t wanted = count * thousandths / 100000;
    ASSERT_EQ(std::max<int64_t>(count > 0, wanted),
        ShareOf(k_percent, static_cast<int>(count)))
        << k_percent << " % of " << count;
  }
  EXPECT_EQ(999, ShareOf(33.3, 3000));
}

}  // namespace caffe
