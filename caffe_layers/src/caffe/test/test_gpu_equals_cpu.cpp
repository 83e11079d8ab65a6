#ifndef CPU_ONLY

#include <cmath>
#include <iterator>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_loss_cases.hpp"
#include "caffe/test/test_pixel_loss_util.hpp"

namespace caffe {

// In addition to those of test_loss_cases.hpp.
const LossCase kRandomDropCases[] = {
  {"type: 'SigmoidRandomDropCELoss' randrop_loss_param { seed: 5 "
   "schedule_type: LOG }", false, true},
  {"type: 'SigmoidRandomDropCELoss' randrop_loss_param { seed: 6 "
   "schedule_type: LINEAR balance: PER_IMAGE }", false, true},
  {"type: 'SigmoidRandomDropCELoss' randrop_loss_param { seed: 7 "
   "schedule_type: SQU balance: BATCH }", false, true},
  {"type: 'SigmoidRandomDropCELoss' randrop_loss_param { "
   "schedule_type: NONE }", false, true},
  {"type: 'SigmoidRandomDropCELoss' randrop_loss_param { seed: 8 "
   "schedule_type: LINEAR keep: UNIFORM }", false, true},
  {"type: 'SigmoidRandomDropCELoss' randrop_loss_param { "
   "schedule_type: LINEAR keep: HARDEST balance: PER_IMAGE }", false, true},
};

inline vector<LossCase> GpuCases() {
  vector<LossCase> cases(std::begin(kRandomDropCases),
      std::end(kRandomDropCases));
  cases.insert(cases.end(), std::begin(kLossCases), std::end(kLossCases));
  cases.insert(cases.end(), std::begin(kModulatedCases),
      std::end(kModulatedCases));
  return cases;
}

// One pixel; less than a block of threads, and one more than a block; more than
// one block reduces; more classes than a pass sums.
const int kGpuShapes[][4] = {
  {1, 1, 1, 1}, {2, 3, 9, 7}, {1, 2, 1, 257}, {3, 2, 33, 31}, {2, 11, 20, 13},
};

template <typename Dtype>
class RandropGpuEqualsCpuTest : public PixelLossTest<GPUDevice<Dtype> > {
 protected:
  struct Result {
    vector<double> loss;
    vector<Dtype> diff, mask;
  };

  // Two passes of one layer: the second starts with leftovers of the first.
  Result RunOn(Caffe::Brew mode) {
    Caffe::set_mode(mode);
    Result result;
    shared_ptr<Layer<Dtype> > layer = this->Create();
    layer->SetUp(this->bottom_, this->top_);
    for (int pass = 0; pass < 2; ++pass) {
      result.loss.push_back(layer->Forward(this->bottom_, this->top_));
      this->Backward(layer.get());
    }
    result.diff = this->Diff();
    result.mask = this->Mask();
    return result;
  }
};

TYPED_TEST_CASE(RandropGpuEqualsCpuTest, TestDtypes);

TYPED_TEST(RandropGpuEqualsCpuTest, TestEveryLossAndShape) {
  typedef TypeParam Dtype;
  const double most = sizeof(Dtype) == 4 ? 2e-5 : 1e-12;
  for (const LossCase& loss : GpuCases()) {
    for (const int* shape : kGpuShapes) {
      for (int ignore = 0; ignore < 2; ++ignore) {
        this->Use(loss.text, loss.mask);
        const vector<int> size(shape, shape + 4);
        if (loss.softmax) {
          this->FillSoftmax(size);
        } else {
          this->FillSigmoid(size);
        }
        if (ignore) {
          this->param_.mutable_loss_param()->set_ignore_label(255);
          for (int j = 0; j < this->label_->count(); j += 3) {
            this->label_->mutable_cpu_data()[j] = 255;
          }
        }
        SCOPED_TRACE(string(loss.text) + " of " + this->logits_->shape_string()
            + (ignore ? ", some ignored" : ""));
        const typename RandropGpuEqualsCpuTest<Dtype>::Result cpu =
            this->RunOn(Caffe::CPU);
        const typename RandropGpuEqualsCpuTest<Dtype>::Result gpu =
            this->RunOn(Caffe::GPU);
        double largest = 1e-30;
        for (size_t i = 0; i < cpu.diff.size(); ++i) {
          largest = std::max<double>(largest, std::fabs(cpu.diff[i]));
        }
        for (int pass = 0; pass < 2; ++pass) {
          EXPECT_NEAR(cpu.loss[pass], gpu.loss[pass],
              most * std::max(1e-3, std::fabs(cpu.loss[pass])));
        }
        EXPECT_TRUE(cpu.mask == gpu.mask);
        ASSERT_EQ(cpu.diff.size(), gpu.diff.size());
        for (size_t i = 0; i < cpu.diff.size(); ++i) {
          ASSERT_NEAR(cpu.diff[i], gpu.diff[i], most * largest) << i;
        }
      }
    }
  }
}

TYPED_TEST(RandropGpuEqualsCpuTest, TestCells) {
  typedef TypeParam Dtype;
  const double most = sizeof(Dtype) == 4 ? 2e-5 : 1e-12;
  for (const LossCase& loss : kCellCases) {
    for (const int* shape : kGpuShapes) {
      SCOPED_TRACE(loss.text);
      this->Use(loss.text);
      this->Fill(vector<int>(shape, shape + 4), loss.softmax);
      this->AddCells(std::min(5, shape[2] * shape[3]));
      const typename RandropGpuEqualsCpuTest<Dtype>::Result cpu =
          this->RunOn(Caffe::CPU);
      const typename RandropGpuEqualsCpuTest<Dtype>::Result gpu =
          this->RunOn(Caffe::GPU);
      this->bottom_.resize(2);
      double largest = 1e-30;
      for (size_t i = 0; i < cpu.diff.size(); ++i) {
        largest = std::max<double>(largest, std::fabs(cpu.diff[i]));
      }
      for (int pass = 0; pass < 2; ++pass) {
        EXPECT_NEAR(cpu.loss[pass], gpu.loss[pass], most);
      }
      for (size_t i = 0; i < cpu.diff.size(); ++i) {
        ASSERT_NEAR(cpu.diff[i], gpu.diff[i], most * largest) << i;
      }
    }
  }
}

TYPED_TEST(RandropGpuEqualsCpuTest, TestTiesOverSeveralBlocks) {
  // Few values, so that every block has ties, also at its ends.
  typedef TypeParam Dtype;
  const int shapes[][4] = {{1, 1, 33, 61}, {2, 2, 40, 33}};
  for (const LossCase& loss : GpuCases()) {
    if (!loss.mask) {
      continue;
    }
    for (const int* shape : shapes) {
      for (int values = 1; values < 4; ++values) {
        this->Use(loss.text, true);
        const vector<int> size(shape, shape + 4);
        if (loss.softmax) {
          this->FillSoftmax(size);
        } else {
          this->FillSigmoid(size);
        }
        for (int i = 0; i < this->logits_->count(); ++i) {
          this->logits_->mutable_cpu_data()[i] =
              static_cast<int>(caffe_rng_rand() % values) - 1;
        }
        SCOPED_TRACE(string(loss.text) + " of " +
            this->logits_->shape_string());
        const typename RandropGpuEqualsCpuTest<Dtype>::Result cpu =
            this->RunOn(Caffe::CPU);
        const typename RandropGpuEqualsCpuTest<Dtype>::Result gpu =
            this->RunOn(Caffe::GPU);
        EXPECT_TRUE(cpu.mask == gpu.mask);
      }
    }
  }
}

TYPED_TEST(RandropGpuEqualsCpuTest, TestGroupsBeyondAPassOfTheirThreads) {
  // As many groups as the maximum of blocks, so that each group has one block,
  // which covers it in several steps.
  typedef TypeParam Dtype;
  this->Use(kRandomDropCases[0].text, true);
  this->FillSigmoid(this->Shape(1, 1024, 33, 37));
  const typename RandropGpuEqualsCpuTest<Dtype>::Result cpu =
      this->RunOn(Caffe::CPU);
  const typename RandropGpuEqualsCpuTest<Dtype>::Result gpu =
      this->RunOn(Caffe::GPU);
  EXPECT_TRUE(cpu.mask == gpu.mask);
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_NEAR(cpu.loss[pass], gpu.loss[pass], 2e-5 * cpu.loss[pass]);
  }
}

}  // namespace caffe

#endif  // CPU_ONLY
