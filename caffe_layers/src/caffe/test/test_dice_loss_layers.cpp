#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/util/math_functions.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_pixel_loss_util.hpp"

namespace caffe {

template <typename TypeParam>
class RandropDiceLossLayersTest : public PixelLossTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  void Dice(const string& options) {
    this->Use("type: 'SoftDiceLoss' randrop_dice_param {" + options + "}");
    top_k_ = false;
  }
  void TopK(const string& options) {
    this->Use("type: 'TopKDiceLoss' randrop_dice_param {" + options + "}",
        true);
    top_k_ = true;
  }

  // A forward pass has the loss of Expected(), which reads that pass's mask.
  void ExpectRun() {
    const double loss = this->Run();
    EXPECT_NEAR(this->Expected(), loss, 1e-6);
  }

  // The loss by definition, from the options and the last mask.
  double Expected() const {
    const RandropDiceParameter& o = this->param_.randrop_dice_param();
    const bool softmax = o.activation() == RandropDiceParameter::SOFTMAX;
    const int images = this->logits_->shape(0);
    const int classes = this->logits_->shape(1);
    const int area = this->logits_->count(2);
    double sum = 0;
    int groups = 0;
    for (int c = o.include_background() ? 0 : 1; c < classes; ++c) {
      double overlap = 0, size = 0;
      for (int n = 0; n < images; ++n) {
        for (int k = 0; k < area; ++k) {
          const int i = (n * classes + c) * area + k;
          const int j = softmax ? n * area + k : i;
          const double y = this->Label(j) == (softmax ? c : 1);
          const double p = softmax ? this->Probability(j, c) :
              this->Sigmoid(i);
          const bool chosen = !top_k_ || this->mask_->cpu_data()[j] == 1 ||
              (o.region() == RandropDiceParameter::FOREGROUND && y == 0);
          if (chosen) {
            overlap += 2 * p * y;
            size += o.squared() ? p * p + y * y : p + y;
          }
        }
        if (!o.batch() || n == images - 1) {
          const double smooth = o.smooth();
          sum += size + smooth > 0 ? (overlap + smooth) / (size + smooth) : 1;
          ++groups;
          overlap = size = 0;
        }
      }
    }
    return 1 - sum / groups;
  }

  bool top_k_;
};

TYPED_TEST_CASE(RandropDiceLossLayersTest, TestDtypesAndDevices);

TYPED_TEST(RandropDiceLossLayersTest, TestReferenceOfEveryOption) {
  const char* options[] = {"", "smooth: 0", "smooth: 100", "squared: false",
      "batch: true", "squared: false batch: true smooth: 0.001"};
  for (int k = 0; k < 6; ++k) {
    SCOPED_TRACE(options[k]);
    this->FillSoftmax(this->Shape(2, 3, 9, 7));
    this->Dice(options[k]);
    this->ExpectRun();
    this->Dice(options[k] + string(" include_background: false"));
    this->ExpectRun();
    this->FillSigmoid(this->Shape(2, 3, 9, 7));
    this->Dice(options[k] + string(" activation: SIGMOID"));
    this->ExpectRun();
  }
}

TYPED_TEST(RandropDiceLossLayersTest, TestAbsentClasses) {
  this->FillSoftmax(this->Shape(1, 3, 4, 4));
  this->SetLabels(0);
  for (int i = 0; i < 48; ++i) {
    this->logits_->mutable_cpu_data()[i] = i < 16 ? 2000 : -2000;
  }
  // Neither present nor predicted: no loss, even without smoothing.
  this->Dice("smooth: 0");
  EXPECT_EQ(0, this->Run());
  EXPECT_EQ(0, this->logits_->asum_diff());
  this->SetLabels(1);
  this->Dice("smooth: 0");
  EXPECT_NEAR(2. / 3, this->Run(), 1e-6);
}

TYPED_TEST(RandropDiceLossLayersTest, TestAHundredPercentIsDice) {
  typedef typename TypeParam::Dtype Dtype;
  const char* regions[] = {"ALL", "FOREGROUND"};
  for (int k = 0; k < 4; ++k) {
    const string activation =
        string(" activation: ") + (k < 2 ? "SOFTMAX" : "SIGMOID");
    this->Fill(this->Shape(2, 3, 9, 7), k < 2);
    this->TopK(string("k_percent: 100 region: ") + regions[k % 2] +
        activation);
    const Dtype loss = this->Run();
    const vector<Dtype> diff = this->Diff();
    this->Dice(activation);
    EXPECT_EQ(this->Run(), loss);
    EXPECT_TRUE(this->Diff() == diff);
  }
}

TYPED_TEST(RandropDiceLossLayersTest, TestHardestPixelsOfAnImage) {
  const char* options[] = {"", "k_percent: 10", "k_percent: 0.001",
      "k_percent: 99"};
  const double k_percent[] = {50, 10, 0.001, 99};
  for (int k = 0; k < 4; ++k) {
    SCOPED_TRACE(options[k]);
    this->FillSoftmax(this->Shape(2, 3, 9, 7));
    this->TopK(options[k]);
    this->ExpectRun();
    const int wanted = std::max(1, static_cast<int>(63 * k_percent[k] / 100));
    for (int n = 0; n < 2; ++n) {
      int chosen = 0;
      double highest_p = 0, lowest_p = 1;
      for (int j = n * 63; j < (n + 1) * 63; ++j) {
        const double p = this->Probability(j, this->Label(j));
        if (this->mask_->cpu_data()[j] == 1) {
          ++chosen;
          highest_p = std::max(highest_p, p);
        } else {
          lowest_p = std::min(lowest_p, p);
        }
      }
      EXPECT_EQ(wanted, chosen);
      EXPECT_LE(highest_p, lowest_p + 1e-6);
    }
  }
}

TYPED_TEST(RandropDiceLossLayersTest, TestHardestPixelsOfEachClass) {
  this->FillSoftmax(this->Shape(2, 3, 9, 7));
  this->TopK("region: FOREGROUND k_percent: 30");
  this->ExpectRun();
  for (int n = 0; n < 2; ++n) {
    for (int c = 0; c < 3; ++c) {
      int own = 0, chosen = 0;
      for (int j = n * 63; j < (n + 1) * 63; ++j) {
        own += this->Label(j) == c;
        chosen += this->Label(j) == c && this->mask_->cpu_data()[j] == 1;
      }
      EXPECT_EQ(own * 30 / 100, chosen);
    }
  }
  this->FillSigmoid(this->Shape(2, 3, 9, 7));
  this->TopK("activation: SIGMOID region: FOREGROUND k_percent: 30");
  this->ExpectRun();
  this->TopK("activation: SIGMOID k_percent: 30");
  this->ExpectRun();
}

TYPED_TEST(RandropDiceLossLayersTest, TestTiesGoInTheOrderOfTheirIndices) {
  this->FillSoftmax(this->Shape(2, 2, 4, 4));
  caffe_set(this->logits_->count(), typename TypeParam::Dtype(0),
      this->logits_->mutable_cpu_data());
  this->TopK("k_percent: 40");
  this->Run();
  for (int j = 0; j < 32; ++j) {
    EXPECT_EQ(j % 16 < 6, this->mask_->cpu_data()[j]) << j;
  }
}

TYPED_TEST(RandropDiceLossLayersTest, TestBatchEqualsItsImages) {
  typedef typename TypeParam::Dtype Dtype;
  this->FillSoftmax(this->Shape(2, 3, 9, 7));
  this->TopK("");
  const Dtype both = this->Run();
  const vector<Dtype> diff = this->Diff();
  Blob<Dtype> logits, label;
  logits.CopyFrom(*this->logits_, false, true);
  label.CopyFrom(*this->label_, false, true);
  this->logits_->Reshape(this->Shape(1, 3, 9, 7));
  this->label_->Reshape(this->Shape(1, 1, 9, 7));
  double sum = 0;
  for (int n = 0; n < 2; ++n) {
    caffe_copy(189, logits.cpu_data() + n * 189,
        this->logits_->mutable_cpu_data());
    caffe_copy(63, label.cpu_data() + n * 63, this->label_->mutable_cpu_data());
    sum += this->Run();
    for (int i = 0; i < 189; ++i) {
      EXPECT_NEAR(2 * diff[n * 189 + i], this->Diff()[i], 1e-7);
    }
  }
  EXPECT_NEAR(2 * both, sum, 1e-6);
}

TYPED_TEST(RandropDiceLossLayersTest, TestBadOptionsStop) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  this->FillSoftmax(this->Shape(1, 3, 3, 3));
  this->Dice("k_percent: 10");
  EXPECT_DEATH(this->Run(), "k_percent and region are for TopKDiceLoss");
  this->TopK("k_percent: 0");
  EXPECT_DEATH(this->Run(), "it must be above 0 and at most 100");
  this->TopK("k_percent: 101");
  EXPECT_DEATH(this->Run(), "it must be above 0 and at most 100");
}

}  // namespace caffe
