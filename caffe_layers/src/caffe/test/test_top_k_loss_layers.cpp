#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_pixel_loss_util.hpp"

namespace caffe {

template <typename TypeParam>
class RandropTopKLossLayersTest : public PixelLossTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  void Sigmoid(const string& options) {
    this->Use("type: 'SigmoidTopKCELoss' randrop_topk_param {" + options + "}",
        true);
  }
  void Softmax(const string& options) {
    this->Use("type: 'SoftmaxTopKLoss' randrop_topk_param {" + options + "}",
        true);
  }

  // Checks loss, mask and gradient of the last Run() of EXACT or BIN against a
  // full sort, in groups of `size` elements.
  void CheckBalanced(Dtype loss, int size, double per_positive, bool bins,
      double positive_weight, double normalizer) {
    const Dtype* x = this->logits_->cpu_data();
    double expected = 0;
    for (int begin = 0; begin < this->logits_->count(); begin += size) {
      vector<std::pair<double, int> > negatives;
      int positives = 0;
      for (int i = begin; i < begin + size; ++i) {
        if (this->Label(i) == 1) {
          ++positives;
        } else {
          negatives.push_back(std::make_pair(-x[i], i));
        }
      }
      std::stable_sort(negatives.begin(), negatives.end(), ByKey);
      int wanted = std::min<double>(negatives.size(),
          std::floor(per_positive * positives));
      if (positives > 0 && wanted == 0) {
        wanted = 1;
      }
      if (bins && wanted > 0) {
        const int lowest = Bin(this->PixelLossTest<TypeParam>::Sigmoid(
            negatives[wanted - 1].second));
        while (wanted < negatives.size() &&
               Bin(this->PixelLossTest<TypeParam>::Sigmoid(
                   negatives[wanted].second)) >= lowest) {
          ++wanted;
        }
      }
      vector<double> weight(size, 0);
      const double members = std::max(1, positives + wanted);
      for (int i = 0; i < size; ++i) {
        weight[i] = this->Label(begin + i) == 1 ?
            positive_weight * wanted / members : 0;
      }
      for (int k = 0; k < wanted; ++k) {
        weight[negatives[k].second - begin] = positives / members;
      }
      vector<int> mask(size, 0);
      for (int k = 0; k < wanted; ++k) {
        mask[negatives[k].second - begin] = 1;
      }
      for (int i = begin; i < begin + size; ++i) {
        const bool positive = this->Label(i) == 1;
        const double p = this->PixelLossTest<TypeParam>::Sigmoid(i);
        ASSERT_EQ(positive || mask[i - begin], this->mask_->cpu_data()[i]) << i;
        expected -= weight[i - begin] * std::log(positive ? p : 1 - p);
        EXPECT_NEAR(weight[i - begin] * (p - positive) / normalizer,
            this->logits_->cpu_diff()[i], 1e-6);
      }
    }
    EXPECT_NEAR(expected / normalizer, loss, 1e-5 * expected / normalizer);
  }

  // Checks the mean over the hardest pixels against a full sort.
  void CheckMean(Dtype loss, vector<double> cross_entropy, double k_percent) {
    vector<std::pair<double, int> > order;
    for (int j = 0; j < cross_entropy.size(); ++j) {
      order.push_back(std::make_pair(-cross_entropy[j], j));
    }
    std::stable_sort(order.begin(), order.end(), ByKey);
    const int wanted = std::max(1,
        static_cast<int>(std::floor(order.size() * k_percent / 100 + 1e-9)));
    double expected = 0;
    vector<int> mask(order.size(), 0);
    for (int k = 0; k < wanted; ++k) {
      expected += cross_entropy[order[k].second] / wanted;
      mask[order[k].second] = 1;
    }
    EXPECT_NEAR(expected, loss, 1e-5 * expected);
    for (int j = 0; j < mask.size(); ++j) {
      EXPECT_EQ(mask[j], this->mask_->cpu_data()[j]) << j;
    }
  }

  vector<double> SigmoidCrossEntropy() const {
    vector<double> values;
    for (int i = 0; i < this->label_->count(); ++i) {
      const double x = this->logits_->cpu_data()[i];
      values.push_back(std::log1p(std::exp(this->Label(i) == 1 ? -x : x)));
    }
    return values;
  }
  vector<double> SoftmaxCrossEntropy() const {
    vector<double> values;
    for (int j = 0; j < this->label_->count(); ++j) {
      values.push_back(-std::log(this->Probability(j, this->Label(j))));
    }
    return values;
  }

  static bool ByKey(const std::pair<double, int>& a,
      const std::pair<double, int>& b) {
    return a.first < b.first;
  }
  static int Bin(double p) { return std::min(4, static_cast<int>(p * 5)); }
};

TYPED_TEST_CASE(RandropTopKLossLayersTest, TestDtypesAndDevices);

TYPED_TEST(RandropTopKLossLayersTest, TestExactAgainstAFullSort) {
  this->FillSigmoid(this->Shape(2, 3, 9, 7));
  this->Sigmoid("negatives_per_positive: 1.5");
  this->CheckBalanced(this->Run(), 63, 1.5, false, 1, 2);
  this->Sigmoid("negatives_per_positive: 0.5 positive_weight: 3 "
      "balance: PER_IMAGE");
  this->CheckBalanced(this->Run(), 189, 0.5, false, 3, 2);
  this->Sigmoid("negatives_per_positive: 2 balance: BATCH");
  this->CheckBalanced(this->Run(), 378, 2, false, 1, 2);
}

TYPED_TEST(RandropTopKLossLayersTest, TestBinsAgainstAFullSort) {
  this->FillSigmoid(this->Shape(2, 3, 9, 7));
  for (double per_positive = 0.1; per_positive < 10; per_positive *= 2) {
    std::ostringstream options;
    options << "selection: BIN negatives_per_positive: " << per_positive;
    this->Sigmoid(options.str());
    this->CheckBalanced(this->Run(), 63, per_positive, true, 1, 2);
  }
}

TYPED_TEST(RandropTopKLossLayersTest, TestDefaultIsTwentyNegatives) {
  this->FillSigmoid(this->Shape(1, 1, 40, 50), 0.02);
  this->Sigmoid("");
  this->CheckBalanced(this->Run(), 2000, 20, false, 1, 1);
}

TYPED_TEST(RandropTopKLossLayersTest, TestTiesGoInTheOrderOfTheirIndices) {
  this->FillSigmoid(this->Shape(2, 2, 16, 16));
  // Few values, each many times; 0 and -0 count as one.
  for (int i = 0; i < this->logits_->count(); ++i) {
    this->logits_->mutable_cpu_data()[i] =
        static_cast<int>(caffe_rng_rand() % 3) - 1;
    if (caffe_rng_rand() % 2 && this->logits_->cpu_data()[i] == 0) {
      this->logits_->mutable_cpu_data()[i] = -0.;
    }
  }
  this->Sigmoid("negatives_per_positive: 1");
  this->CheckBalanced(this->Run(), 256, 1, false, 1, 2);
  this->Sigmoid("selection: PERCENT k_percent: 37");
  this->CheckMean(this->Run(), this->SigmoidCrossEntropy(), 37);
}

TYPED_TEST(RandropTopKLossLayersTest, TestPercentAgainstAFullSort) {
  // Any k, including both extremes: one pixel and all.
  const char* text[] = {"0.0001", "10", "50", "99.9", "100"};
  const double k_percent[] = {0.0001, 10, 50, 99.9, 100};
  for (int k = 0; k < 5; ++k) {
    SCOPED_TRACE(text[k]);
    this->FillSigmoid(this->Shape(2, 3, 9, 7));
    this->Sigmoid(string("selection: PERCENT k_percent: ") + text[k]);
    this->CheckMean(this->Run(), this->SigmoidCrossEntropy(), k_percent[k]);
    this->FillSoftmax(this->Shape(2, 3, 9, 7));
    this->Softmax(string("k_percent: ") + text[k]);
    this->CheckMean(this->Run(), this->SoftmaxCrossEntropy(), k_percent[k]);
  }
}

TYPED_TEST(RandropTopKLossLayersTest, TestAHundredPercentIsCrossEntropy) {
  typedef typename TypeParam::Dtype Dtype;
  this->FillSoftmax(this->Shape(2, 3, 9, 7));
  this->Softmax("k_percent: 100");
  const Dtype loss = this->Run();
  const vector<Dtype> diff = this->Diff();
  this->Use("type: 'SoftmaxWithLoss'");
  EXPECT_NEAR(this->Run(), loss, 1e-5);
  for (int i = 0; i < diff.size(); ++i) {
    EXPECT_NEAR(this->Diff()[i], diff[i], 1e-7);
  }
  this->FillSigmoid(this->Shape(2, 3, 9, 7));
  this->Sigmoid("selection: PERCENT k_percent: 100");
  const Dtype mean = this->Run();
  this->Use("type: 'SigmoidCrossEntropyLoss' loss_param {"
      "normalization: VALID }");
  EXPECT_NEAR(this->Run(), mean, 1e-5);
}

TYPED_TEST(RandropTopKLossLayersTest, TestEnoughNegativesIsClassBalanced) {
  typedef typename TypeParam::Dtype Dtype;
  this->FillSigmoid(this->Shape(2, 3, 9, 7));
  this->Sigmoid("negatives_per_positive: 1e9");
  const Dtype loss = this->Run();
  this->Use("type: 'SigmoidRandomDropCELoss' randrop_loss_param {"
      "schedule_type: NONE }", true);
  EXPECT_EQ(this->Run(), loss);
}

TYPED_TEST(RandropTopKLossLayersTest, TestSelectionAmongManyMagnitudes) {
  // Keys with all exponents, both signs and infinity.
  this->FillSigmoid(this->Shape(1, 1, 50, 60), 0.1);
  for (int i = 0; i < this->logits_->count(); ++i) {
    this->logits_->mutable_cpu_data()[i] = (caffe_rng_rand() % 2 ? 1 : -1) *
        std::pow(10., static_cast<int>(caffe_rng_rand() % 60) - 30);
  }
  const typename TypeParam::Dtype* x = this->logits_->cpu_data();
  this->Sigmoid("negatives_per_positive: 3");
  this->Run();
  double lowest_kept = 1e40, highest_left = -1e40;
  int kept = 0, positives = 0;
  for (int i = 0; i < this->logits_->count(); ++i) {
    if (this->Label(i) == 1) {
      ++positives;
    } else if (this->mask_->cpu_data()[i] == 1) {
      ++kept;
      lowest_kept = std::min<double>(lowest_kept, x[i]);
    } else {
      highest_left = std::max<double>(highest_left, x[i]);
    }
  }
  EXPECT_EQ(3 * positives, kept);
  EXPECT_GE(lowest_kept, highest_left);
}

TYPED_TEST(RandropTopKLossLayersTest, TestNoPositiveIsNoLoss) {
  this->FillSigmoid(this->Shape(2, 3, 9, 7));
  this->SetLabels(0);
  this->Sigmoid("");
  EXPECT_EQ(0, this->Run());
  EXPECT_EQ(0, this->logits_->asum_diff());
}

TYPED_TEST(RandropTopKLossLayersTest, TestNormalization) {
  this->FillSoftmax(this->Shape(2, 3, 5, 4));
  this->Softmax("k_percent: 50");
  const double mean = this->Run();
  const char* names[] = {"FULL", "VALID", "BATCH_SIZE", "NONE"};
  const double factors[] = {0.5, 1, 10, 20};
  for (int k = 0; k < 4; ++k) {
    this->Use(string("type: 'SoftmaxTopKLoss' randrop_topk_param { k_percent: "
        "50 } loss_param { normalization: ") + names[k] + "}");
    EXPECT_NEAR(factors[k] * mean, this->Run(), 1e-5 * factors[k] * mean);
  }
}

TYPED_TEST(RandropTopKLossLayersTest, TestBadOptionsStop) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  this->FillSigmoid(this->Shape(1, 1, 3, 3));
  const char* bad[] = {"0", "-1", "100.5", "nan"};
  for (int k = 0; k < 4; ++k) {
    this->Sigmoid(string("selection: PERCENT k_percent: ") + bad[k]);
    EXPECT_DEATH(this->Run(), "it must be above 0 and at most 100");
    this->Softmax(string("k_percent: ") + bad[k]);
    EXPECT_DEATH(this->Run(), "it must be above 0 and at most 100");
  }
  this->Sigmoid("negatives_per_positive: 0");
  EXPECT_DEATH(this->Run(), "negatives_per_positive is 0; it must be above 0");
  this->Sigmoid("positive_weight: -1");
  EXPECT_DEATH(this->Run(), "positive_weight is -1; it must be at least 0");
  this->Softmax("selection: BIN");
  EXPECT_DEATH(this->Run(), "a softmax loss selects only by PERCENT");
}

}  // namespace caffe
