#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_loss_cases.hpp"
#include "caffe/test/test_pixel_loss_util.hpp"

namespace caffe {

template <typename TypeParam>
class RandropPixelLossLayersTest : public PixelLossTest<TypeParam> {
 protected:
  void Use(const LossCase& loss) {
    PixelLossTest<TypeParam>::Use(loss.text, loss.mask);
    softmax_ = loss.softmax;
    Resize(this->Shape(2, 3, 4, 5));
  }
  void Resize(const vector<int>& shape) { this->Fill(shape, softmax_); }
  void Ignore(int value) {
    this->param_.mutable_loss_param()->set_ignore_label(value);
  }

  bool softmax_;
};

TYPED_TEST_CASE(RandropPixelLossLayersTest, TestDtypesAndDevices);

#define FOR_EACH_LOSS(loss) \
  for (const LossCase* loss = kLossCases; \
       loss != kLossCases + sizeof(kLossCases) / sizeof(*kLossCases); ++loss)

TYPED_TEST(RandropPixelLossLayersTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  const double tolerance = sizeof(Dtype) == 4 ? 5e-3 : 1e-6;
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    EXPECT_LT(this->GradientError(), tolerance);
    // The check would detect a gradient that is off by 5 %.
    EXPECT_GT(this->GradientError(0.95), 0.04);
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestLossWeightScalesTheGradient) {
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    const double value = this->Run();
    typedef typename TypeParam::Dtype Dtype;
    const vector<Dtype> diff = this->Diff();
    this->param_.add_loss_weight(3.5);
    EXPECT_NEAR(3.5 * value, this->Run(), 1e-5 * std::fabs(value));
    for (int i = 0; i < diff.size(); ++i) {
      EXPECT_NEAR(3.5 * diff[i], this->Diff()[i], 1e-5 * std::fabs(diff[i]));
    }
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestIgnoredPixelsAreInert) {
  typedef typename TypeParam::Dtype Dtype;
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    this->Ignore(255);
    const int pixels = this->label_->count();
    for (int j = 0; j < pixels; j += 3) {
      this->label_->mutable_cpu_data()[j] = 255;
    }
    const Dtype before = this->Run();
    const vector<Dtype> diff = this->Diff();
    Dtype* x = this->logits_->mutable_cpu_data();
    for (int j = 0; j < pixels; j += 3) {
      for (int c = 0; c < (loss->softmax ? 3 : 1); ++c) {
        const int i = loss->softmax ? this->Element(j, c) : j;
        EXPECT_EQ(0, diff[i]);
        x[i] = std::numeric_limits<Dtype>::quiet_NaN();
      }
      if (loss->mask) {
        EXPECT_EQ(-1, this->mask_->cpu_data()[j]);
      }
    }
    EXPECT_EQ(before, this->Run());
    EXPECT_TRUE(diff == this->Diff());
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestAllIgnoredIsNoLoss) {
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    this->Ignore(-1);
    this->SetLabels(-1);
    EXPECT_EQ(0, this->Run());
    EXPECT_EQ(0, this->logits_->asum_diff());
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestImagesOfOneClassAreFinite) {
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    for (int value = 0; value < 2; ++value) {
      this->Use(*loss);
      this->SetLabels(value);
      EXPECT_TRUE(std::isfinite(this->Run()));
      EXPECT_TRUE(std::isfinite(this->logits_->asum_diff()));
    }
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestOneChannel) {
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    this->Resize(this->Shape(2, 1, 4, 5));
    EXPECT_TRUE(std::isfinite(this->Run()));
    if (loss->softmax) {
      // A softmax over one class is certain: there is nothing to learn.
      EXPECT_NEAR(0, this->logits_->asum_diff(), 1e-12);
    } else {
      EXPECT_GT(this->logits_->asum_diff(), 0);
    }
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestExtremeLogits) {
  typedef typename TypeParam::Dtype Dtype;
  const double values[] = {-1e4, 1e4, -100, 100, 0};
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    for (int i = 0; i < this->logits_->count(); ++i) {
      this->logits_->mutable_cpu_data()[i] = values[caffe_rng_rand() % 5];
    }
    EXPECT_TRUE(std::isfinite(this->Run()));
    const vector<Dtype> diff = this->Diff();
    for (int i = 0; i < diff.size(); ++i) {
      EXPECT_TRUE(std::isfinite(diff[i])) << i;
    }
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestLargestLogits) {
  // The difference of two of them overflows: the loss may be infinite then, but
  // nothing is NaN, and the gradient is finite.
  typedef typename TypeParam::Dtype Dtype;
  const Dtype most = std::numeric_limits<Dtype>::max();
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    for (int i = 0; i < this->logits_->count(); ++i) {
      this->logits_->mutable_cpu_data()[i] =
          caffe_rng_rand() % 2 ? most : -most;
    }
    EXPECT_FALSE(std::isnan(this->Run()));
    const vector<Dtype> diff = this->Diff();
    for (int i = 0; i < diff.size(); ++i) {
      EXPECT_TRUE(std::isfinite(diff[i])) << i;
    }
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestVolumesAreAsImages) {
  typedef typename TypeParam::Dtype Dtype;
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    const Dtype flat = this->Run();
    const vector<Dtype> diff = this->Diff();
    vector<int> shape = this->logits_->shape();
    shape[2] = 2;
    shape.insert(shape.begin() + 3, 2);
    this->logits_->Reshape(shape);
    shape[1] = this->label_->shape(1);
    this->label_->Reshape(shape);
    EXPECT_EQ(flat, this->Run());
    EXPECT_TRUE(diff == this->Diff());
    if (loss->softmax) {
      // The channel axis of the label may be left out.
      shape.erase(shape.begin() + 1);
      this->label_->Reshape(shape);
      EXPECT_EQ(flat, this->Run());
    }
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestManyPixels) {
  // More than a GPU block reduces, and not a power of 2.
  typedef typename TypeParam::Dtype Dtype;
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    this->Resize(this->Shape(1, 2, 301, 97));
    const Dtype value = this->Run();
    EXPECT_TRUE(std::isfinite(value));
    EXPECT_EQ(value, this->Run()) << "the same again";
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestShapeMayChange) {
  typedef typename TypeParam::Dtype Dtype;
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    shared_ptr<Layer<Dtype> > layer = this->Create();
    layer->SetUp(this->bottom_, this->top_);
    layer->Forward(this->bottom_, this->top_);
    this->Resize(this->Shape(3, 3, 7, 2));
    const Dtype again = layer->Forward(this->bottom_, this->top_);
    this->Backward(layer.get());
    const vector<Dtype> diff = this->Diff();
    EXPECT_EQ(this->Run(), again);
    EXPECT_TRUE(diff == this->Diff());
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestBadInputStops) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    this->label_->mutable_cpu_data()[7] = 0.5;
    EXPECT_DEATH(this->Run(), "label 0.5 at n = 0, (c = 0, )?y = 1, x = 2");
    this->label_->mutable_cpu_data()[7] = -1;
    EXPECT_DEATH(this->Run(), "label -1 at");
    this->label_->mutable_cpu_data()[7] = 3;
    EXPECT_DEATH(this->Run(), loss->softmax ? "allowed: the classes 0 to 2.*"
        "fewer channels than" : "allowed: 0 and 1");
    this->label_->Reshape(this->Shape(2, 2, 4, 5));
    EXPECT_DEATH(this->Run(), loss->softmax ? "one label for each pixel" :
        "one label for each logit");
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestBadOptionsOfOverlapStop) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  for (const OverlapCase& loss : kOverlapCases) {
    SCOPED_TRACE(loss.type);
    const string begin =
        string("type: '") + loss.type + "' " + loss.options + " { ";
    this->FillSoftmax(this->Shape(1, 3, 3, 3));
    PixelLossTest<TypeParam>::Use(begin + "smooth: -1 }");
    EXPECT_DEATH(this->Run(), "smooth is -1; it must be at least 0");
    PixelLossTest<TypeParam>::Use(
        begin + "} loss_param { normalization: FULL }");
    EXPECT_DEATH(this->Run(), "normalization does not apply to this loss");
    PixelLossTest<TypeParam>::Use(
        begin + "activation: SIGMOID include_background: false }");
    EXPECT_DEATH(this->Run(), "every channel is foreground");
    this->FillSoftmax(this->Shape(1, 1, 3, 3));
    PixelLossTest<TypeParam>::Use(begin + "include_background: false }");
    EXPECT_DEATH(this->Run(), "include_background: false needs two classes");
  }
}

TYPED_TEST(RandropPixelLossLayersTest, TestLabelsHaveNoGradient) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  typedef typename TypeParam::Dtype Dtype;
  FOR_EACH_LOSS(loss) {
    SCOPED_TRACE(loss->text);
    this->Use(*loss);
    shared_ptr<Layer<Dtype> > layer = this->Create();
    layer->SetUp(this->bottom_, this->top_);
    layer->Forward(this->bottom_, this->top_);
    EXPECT_DEATH(layer->Backward(this->top_, vector<bool>(2, true),
        this->bottom_), "layer '.*': a loss cannot backpropagate to its label");
  }
}

}  // namespace caffe
