#include <math.h>
#include <string.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/randrop/loops/pieces.hpp"

#include "caffe/test/test_pixel_loss_util.hpp"
#include "caffe/test/test_threads.hpp"

namespace caffe {

using randrop::Pieces;
using randrop::kLargestPiece;
using randrop::kPiece;

// Number and size of segments: many small ones, one large, all kinds of ends.
const int kSegments[][2] = {{1, 0}, {0, 5}, {1, 1}, {1000, 1}, {9000, 3},
    {500, 31}, {7, 4095}, {7, 4096}, {7, 4097}, {3, 8191}, {3, 8192}, {3, 8193},
    {5, 12287}, {5, 12288}, {5, 12289}, {2, 100003}, {1, 1 << 20}};

class RandropPiecesTest : public ::testing::Test {
 protected:
  RandropPiecesTest() : threads_(4) {}
  const UseThreads threads_;
};

TEST_F(RandropPiecesTest, PartsAndRunsCoverEachElementOnce) {
  for (const auto& shape : kSegments) {
    const int size = shape[1];
    SCOPED_TRACE(::testing::Message() << shape[0] << " x " << size);
    const Pieces pieces(shape[0], size);
    vector<int> parts(shape[0] * size), runs(parts), segments(shape[0]);
    int split = 0, short_of = 0, large = 0;
    pieces.ForParts([&](int part, int begin, int end) {
      for (int i = begin; i < end; ++i) {
        parts[i] += 1 + part / pieces.PartsOfSegment() * 10;
      }
    });
    for (int part = 0; part < pieces.Parts(); ++part) {
      const int begin = pieces.Begin(part), length = pieces.End(part) - begin;
      split += length > 0 && begin / size != (begin + length - 1) / size;
      short_of += length < size && length < kPiece / 2;
      large += length > kLargestPiece;
    }
    pieces.ForRuns([&](int first, int last) {
      for (int i = pieces.Begin(first); i < pieces.End(last - 1); ++i) {
        ++runs[i];
      }
    });
    pieces.ForSegments([&](int segment) { ++segments[segment]; });
    vector<int> wanted(parts.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      wanted[i] = 1 + i / size * 10;
    }
    EXPECT_EQ(wanted, parts);
    EXPECT_EQ(vector<int>(runs.size(), 1), runs);
    EXPECT_EQ(vector<int>(segments.size(), 1), segments);
    EXPECT_EQ(0, split);
    EXPECT_EQ(0, short_of);
    EXPECT_EQ(0, large);
  }
}

// Sums that depend on the order of addition.
struct RoundedSum {
  float value;
  void Clear() { value = 0; }
  void Add(const RoundedSum& other) { value += other.value; }
};

TEST_F(RandropPiecesTest, SumsAreThoseOfOneThread) {
  for (const auto& shape : kSegments) {
    SCOPED_TRACE(::testing::Message() << shape[0] << " x " << shape[1]);
    const Pieces pieces(shape[0], shape[1]);
    const auto add = [](int begin, int end, RoundedSum* sum) {
      for (int i = begin; i < end; ++i) {
        sum->value += 1.0f / (1 + i % 1013);
      }
    };
    vector<vector<float> > found;
    for (int threads : {1, 2, 3, 7}) {
      const UseThreads use(threads);
      vector<RoundedSum> sums(shape[0] + 1);
      pieces.Reduce(add, sums.data());
      pieces.ReduceAll(add, &sums.back());
      found.push_back(vector<float>());
      double whole = 0;
      for (int s = 0; s <= shape[0]; ++s) {
        found.back().push_back(sums[s].value);
        whole += s < shape[0] ? sums[s].value : -sums[s].value;
      }
      EXPECT_NEAR(0, whole, 1e-3 * sums.back().value);
      EXPECT_EQ(found[0], found.back()) << threads << " threads";
    }
  }
}

// The options that select different passes.
const char* const kOfSigmoid[] = {
  "type: 'SigmoidRandomDropCELoss' randrop_loss_param { seed: 3 }",
  "type: 'SigmoidRandomDropCELoss' randrop_loss_param { seed: 3 "
  "schedule_type: NONE balance: BATCH }",
  "type: 'SigmoidTopKCELoss' randrop_topk_param { positive_weight: 2 }",
  "type: 'SigmoidTopKCELoss' randrop_topk_param { selection: BIN "
  "balance: PER_IMAGE }",
  "type: 'SigmoidTopKCELoss' randrop_topk_param { selection: PERCENT }",
  "type: 'SigmoidFocalCELoss'",
  "type: 'SigmoidFocalCELoss' randrop_focal_param { gamma: 0.5 "
  "alpha_mode: PER_CHANNEL }",
  "type: 'SoftDiceLoss' randrop_dice_param { activation: SIGMOID }",
  "type: 'TopKDiceLoss' randrop_dice_param { activation: SIGMOID "
  "region: FOREGROUND }",
};
const char* const kOfSoftmax[] = {
  "type: 'SoftmaxTopKLoss'",
  "type: 'SoftmaxFocalCELoss' randrop_focal_param { gamma: 1.5 }",
  "type: 'SoftDiceLoss' randrop_dice_param { squared: false }",
  "type: 'TopKDiceLoss'",
  "type: 'TopKDiceLoss' randrop_dice_param { region: FOREGROUND }",
  "type: 'ExpLogLoss'",
};

// Loss, gradient and mask, bit for bit.
template <typename TypeParam>
class RandropLossPiecesTest : public PixelLossTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  // Many small groups, fewer than a vector holds, one large, all kinds of ends.
  static vector<vector<int> > Shapes() {
    vector<vector<int> > shapes;
    shapes.push_back(PixelLossTest<TypeParam>::Shape(150, 3, 1, 5));
    shapes.push_back(PixelLossTest<TypeParam>::Shape(40, 11, 5, 7));
    shapes.push_back(PixelLossTest<TypeParam>::Shape(5, 4, 64, 63));
    shapes.push_back(PixelLossTest<TypeParam>::Shape(3, 2, 91, 127));
    shapes.push_back(PixelLossTest<TypeParam>::Shape(1, 2, 151, 173));
    return shapes;
  }

  vector<Dtype> Results(int threads) {
    const UseThreads use(threads);
    caffe_set(this->logits_->count(), Dtype(NAN),
        this->logits_->mutable_cpu_diff());
    vector<Dtype> results(1, this->Run());
    for (const vector<Dtype>& part : {this->Diff(), this->Mask()}) {
      results.insert(results.end(), part.begin(), part.end());
    }
    return results;
  }

  void Check(const string& text, const vector<int>& shape) {
    SCOPED_TRACE(::testing::Message() << text << " of " << shape[0] << " x "
        << shape[1] << " x " << shape[2] << " x " << shape[3]);
    const bool mask = text.find("Focal") == string::npos &&
        text.find("SoftDice") == string::npos &&
        text.find("ExpLog") == string::npos;
    this->Use(text + " loss_param { ignore_label: 7 }", mask);
    for (int i = 0; i < this->label_->count(); i += 1 + caffe_rng_rand() % 40) {
      this->label_->mutable_cpu_data()[i] = 7;
    }
    const vector<Dtype> one = Results(1);
    for (Dtype value : one) {
      ASSERT_EQ(value, value) << "not written";
    }
    for (int threads : {2, 3, 7, 7}) {
      const vector<Dtype> several = Results(threads);
      ASSERT_EQ(one.size(), several.size());
      EXPECT_EQ(0, memcmp(one.data(), several.data(),
          one.size() * sizeof(Dtype))) << threads << " threads";
    }
  }
};

typedef ::testing::Types<CPUDevice<float>, CPUDevice<double> > OnCpuTypes;
TYPED_TEST_CASE(RandropLossPiecesTest, OnCpuTypes);

TYPED_TEST(RandropLossPiecesTest, ThreadsDoNotChangeABit) {
  for (const vector<int>& shape : this->Shapes()) {
    this->FillSigmoid(shape);
    for (const char* text : kOfSigmoid) {
      this->Check(text, shape);
    }
    this->FillSoftmax(shape);
    for (const char* text : kOfSoftmax) {
      this->Check(text, shape);
    }
  }
}

TYPED_TEST(RandropLossPiecesTest, ThreadsDoNotChangeABitWhereAllAreEqual) {
  for (const vector<int>& shape : this->Shapes()) {
    this->FillSigmoid(shape);
    for (const char* text : kOfSigmoid) {
      caffe_set(this->logits_->count(), typename TypeParam::Dtype(-1),
          this->logits_->mutable_cpu_data());
      this->Check(text, shape);
    }
  }
}

}  // namespace caffe
