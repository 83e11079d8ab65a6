#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/util/math_functions.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_loss_cases.hpp"
#include "caffe/test/test_pixel_loss_util.hpp"

namespace caffe {

// Losses of overlap over the cells that a third bottom gives, and the options
// of Dice that go with them.
template <typename TypeParam>
class RandropCellLossTest : public PixelLossTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  // From a few pixels to more than a thread handles at once.
  static vector<vector<int> > Shapes() {
    vector<vector<int> > shapes;
    shapes.push_back(PixelLossTest<TypeParam>::Shape(2, 3, 9, 7));
    shapes.push_back(PixelLossTest<TypeParam>::Shape(1, 2, 151, 113));
    return shapes;
  }
  void ExpectDiff(const vector<Dtype>& wanted) {
    Dtype largest = 0;
    for (int i = 0; i < wanted.size(); ++i) {
      largest = std::max(largest, std::fabs(wanted[i]));
    }
    ASSERT_GT(largest, 0);
    for (int i = 0; i < wanted.size(); ++i) {
      ASSERT_NEAR(wanted[i], this->logits_->cpu_diff()[i], 1e-5 * largest) << i;
    }
  }
};

TYPED_TEST_CASE(RandropCellLossTest, TestDtypesAndDevices);

TYPED_TEST(RandropCellLossTest, TestOneCellIsNone) {
  typedef typename TypeParam::Dtype Dtype;
  for (const LossCase& loss : kCellCases) {
    for (const vector<int>& shape : this->Shapes()) {
      SCOPED_TRACE(loss.text);
      this->Use(loss.text);
      this->Fill(shape, loss.softmax);
      if (string(loss.text).find("batch") != string::npos && shape[0] > 1) {
        continue;  // means over images are not sums over them
      }
      this->bottom_.resize(2);
      const Dtype none = this->Run();
      const vector<Dtype> diff = this->Diff();
      this->AddCells(1);
      EXPECT_NEAR(none, this->Run(), 1e-6);
      this->ExpectDiff(diff);
    }
  }
}

TYPED_TEST(RandropCellLossTest, TestMeanOfTheLossesWithOtherCellsIgnored) {
  typedef typename TypeParam::Dtype Dtype;
  for (const LossCase& loss : kCellCases) {
    for (vector<int> shape : this->Shapes()) {
      SCOPED_TRACE(loss.text);
      shape[0] = 1;
      this->Use(loss.text);
      this->param_.mutable_loss_param()->set_ignore_label(255);
      this->Fill(shape, loss.softmax);
      this->AddCells(3, true);
      const Dtype whole = this->Run();
      Blob<Dtype> diff, label;
      diff.CopyFrom(*this->logits_, true, true);
      label.CopyFrom(*this->label_, false, true);
      this->bottom_.resize(2);
      vector<Dtype> mean(diff.count(), 0);
      double sum = 0;
      const std::set<Dtype> cells(this->cells_->cpu_data(),
          this->cells_->cpu_data() + this->cells_->count());
      ASSERT_GT(cells.size(), 1);
      for (const Dtype cell : cells) {
        for (int j = 0; j < label.count(); ++j) {
          this->label_->mutable_cpu_data()[j] =
              this->cells_->cpu_data()[j] == cell ? label.cpu_data()[j] : 255;
        }
        sum += this->Run() / cells.size();
        for (int i = 0; i < diff.count(); ++i) {
          mean[i] += this->logits_->cpu_diff()[i] / cells.size();
        }
      }
      EXPECT_NEAR(sum, whole, 1e-6);
      caffe_copy(diff.count(), diff.cpu_diff(),
          this->logits_->mutable_cpu_diff());
      this->ExpectDiff(mean);
    }
  }
}

TYPED_TEST(RandropCellLossTest, TestMeanOfTheMeansOfClassesAndImages) {
  // One cell in the first image, two in the second: with batch, all three weigh
  // the same.
  typedef typename TypeParam::Dtype Dtype;
  for (int batch = 0; batch < 2; ++batch) {
    this->Use(string("type: 'SoftDiceLoss' randrop_dice_param { activation: "
        "SIGMOID smooth: 0 batch: ") + (batch ? "true }" : "false }"));
    this->FillSigmoid(this->Shape(2, 1, 1, 4));
    this->AddCells(2);
    const Dtype logits[] = {9, 9, 9, 9, -2, -2, 0, 0};
    const Dtype cells[] = {0, 0, 0, 0, 0, 0, 1, 1};
    caffe_copy(8, logits, this->logits_->mutable_cpu_data());
    caffe_copy(8, cells, this->cells_->mutable_cpu_data());
    this->SetLabels(1);
    double each[3];
    const double x[] = {9, -2, 0};
    for (int k = 0; k < 3; ++k) {
      const double p = 1 / (1 + std::exp(-x[k]));
      each[k] = (1 - p) * (1 - p) / (1 + p * p);
    }
    EXPECT_NEAR(batch ? (each[0] + each[1] + each[2]) / 3 :
        each[0] / 2 + (each[1] + each[2]) / 4, this->Run(), 1e-6);
  }
}

TYPED_TEST(RandropCellLossTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  for (const LossCase& loss : kCellCases) {
    SCOPED_TRACE(loss.text);
    this->Use(loss.text);
    this->Fill(this->Shape(2, 2, 4, 5), loss.softmax);
    this->AddCells(3);
    EXPECT_LT(this->GradientError(), sizeof(Dtype) == 4 ? 2e-2 : 1e-5);
    EXPECT_GT(this->GradientError(0.5), 0.4);
    EXPECT_GT(this->GradientError(0), 0.9);
  }
}

TYPED_TEST(RandropCellLossTest, TestIgnoredPixelsAreInert) {
  typedef typename TypeParam::Dtype Dtype;
  for (const LossCase& loss : kCellCases) {
    SCOPED_TRACE(loss.text);
    this->Use(loss.text);
    this->param_.mutable_loss_param()->set_ignore_label(255);
    this->FillSigmoid(this->Shape(1, 1, 9, 7));
    if (loss.softmax) {
      this->FillLogits(this->Shape(1, 2, 9, 7));
    }
    this->AddCells(4);
    for (int j = 0; j < 63; j += 2) {
      this->label_->mutable_cpu_data()[j] = 255;
    }
    const Dtype before = this->Run();
    const vector<Dtype> diff = this->Diff();
    for (int i = 0; i < this->logits_->count(); ++i) {
      if (i % 63 % 2 == 0) {
        EXPECT_EQ(0, diff[i]);
        this->logits_->mutable_cpu_data()[i] =
            std::numeric_limits<Dtype>::quiet_NaN();
      }
    }
    EXPECT_EQ(before, this->Run());
    EXPECT_TRUE(diff == this->Diff());
  }
}

TYPED_TEST(RandropCellLossTest, TestShapeAndCellsMayChange) {
  typedef typename TypeParam::Dtype Dtype;
  this->Use(kCellCases[1].text);
  this->FillSigmoid(this->Shape(1, 2, 9, 7));
  this->AddCells(2);
  shared_ptr<Layer<Dtype> > layer = this->Create();
  layer->SetUp(this->bottom_, this->top_);
  for (int most = 2; most < 9; most += 3) {
    this->FillSigmoid(this->Shape(2, 2, 9 + most, 7));
    this->AddCells(most);
    const Dtype again = layer->Forward(this->bottom_, this->top_);
    this->Backward(layer.get());
    const vector<Dtype> diff = this->Diff();
    EXPECT_EQ(this->Run(), again);
    EXPECT_TRUE(this->Diff() == diff);
  }
}

TYPED_TEST(RandropCellLossTest, TestPmDiceByDefinition) {
  typedef typename TypeParam::Dtype Dtype;
  for (int squared = 0; squared < 2; ++squared) {
    for (const vector<int>& shape : this->Shapes()) {
      this->FillSigmoid(shape);
      this->Use(string("type: 'SoftDiceLoss' randrop_dice_param { activation: "
          "SIGMOID gamma: 1.5 smooth: 0.5 squared: ") +
          (squared ? "true }" : "false }"));
      const Dtype loss = this->Run();
      const int groups = shape[0] * shape[1], area = shape[2] * shape[3];
      double expected = 0;
      vector<Dtype> diff(groups * area);
      for (int g = 0; g < groups; ++g) {
        double overlap = 0.5, size = 0.5;
        for (int i = g * area; i < (g + 1) * area; ++i) {
          const double p = this->Sigmoid(i), y = this->Label(i);
          const double m = std::pow(std::fabs(y - p), 1.5);
          overlap += 2 * m * p * y;
          size += m * (squared ? p * p + y : p + y);
        }
        expected += (1 - overlap / size) / groups;
        for (int i = g * area; i < (g + 1) * area; ++i) {
          const double p = this->Sigmoid(i), y = this->Label(i);
          const double m = std::pow(std::fabs(y - p), 1.5);
          const double by_p = overlap / size / size *
              (squared ? 2 * p : 1) - 2 * y / size;
          diff[i] = m * by_p * p * (1 - p) / groups;
        }
      }
      EXPECT_NEAR(expected, loss, 1e-6);
      this->ExpectDiff(diff);
      // The check would see these.
      caffe_scal(groups * area, Dtype(2), &diff[0]);
      EXPECT_GT(std::fabs(diff[0] - this->Diff()[0]),
          std::fabs(0.4 * diff[0]));
    }
  }
}

TYPED_TEST(RandropCellLossTest, TestBadCellsStop) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  this->Use(kCellCases[1].text);
  this->FillSigmoid(this->Shape(1, 2, 3, 4));
  for (const double bad : {-1., 0.5, 12., 1e10}) {
    this->AddCells(2);
    this->cells_->mutable_cpu_data()[17] = bad;
    EXPECT_DEATH(this->Run(), "at n = 0, c = 1, pixel 5; allowed: whole "
        "numbers from 0 to 11");
  }
  this->cells_->mutable_cpu_data()[17] =
      std::numeric_limits<typename TypeParam::Dtype>::quiet_NaN();
  EXPECT_DEATH(this->Run(), "cell -?nan at n = 0, c = 1, pixel 5");
  this->cells_->Reshape(this->Shape(1, 1, 3, 4));
  EXPECT_DEATH(this->Run(), "and cells 1 1 3 4 ..*the cell of each logit");
}

TYPED_TEST(RandropCellLossTest, TestBadOptionsStop) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  this->FillSoftmax(this->Shape(1, 3, 3, 3));
  const char* const options[][2] = {
    {"gamma: -1", "gamma is -1; it must be at least 0"},
    {"weight_cross: -1", "weight_cross is -1; it must be at least 0"},
    {"gamma: 1 smooth: 0", "smooth is 0; it must be above 0"},
  };
  for (int k = 0; k < 3; ++k) {
    this->Use(string("type: 'SoftDiceLoss' randrop_dice_param {") +
        options[k][0] + "}");
    EXPECT_DEATH(this->Run(), options[k][1]);
  }
  for (const char* option : {"gamma: 1", "weight_cross: 1"}) {
    this->Use(string("type: 'TopKDiceLoss' randrop_dice_param {") + option +
        "}");
    EXPECT_DEATH(this->Run(), "gamma and weight_cross are for SoftDiceLoss");
  }
  this->Use("type: 'TopKDiceLoss'");
  this->AddCells(2);
  EXPECT_DEATH(this->Run(), "at most 2 bottom");
}

TYPED_TEST(RandropCellLossTest, TestCellsHaveNoGradient) {
  typedef typename TypeParam::Dtype Dtype;
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  this->Use(kCellCases[1].text);
  this->FillSigmoid(this->Shape(1, 2, 3, 4));
  this->AddCells(2);
  shared_ptr<Layer<Dtype> > layer = this->Create();
  EXPECT_TRUE(layer->AllowForceBackward(0));
  EXPECT_FALSE(layer->AllowForceBackward(1));
  EXPECT_FALSE(layer->AllowForceBackward(2));
  layer->SetUp(this->bottom_, this->top_);
  layer->Forward(this->bottom_, this->top_);
  vector<bool> down(3, true);
  down[1] = false;
  EXPECT_DEATH(layer->Backward(this->top_, down, this->bottom_),
      "cannot backpropagate to its cells");
}

}  // namespace caffe
