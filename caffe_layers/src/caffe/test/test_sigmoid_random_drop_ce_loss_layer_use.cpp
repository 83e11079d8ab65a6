#include <limits>
#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layer_factory.hpp"
#include "caffe/layers/sigmoid_random_drop_ce_loss_layer.hpp"
#include "caffe/net.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_random_drop_util.hpp"

namespace caffe {

// How the layer is set up and driven: seeds, phases, names, shapes, bad input.
template <typename TypeParam>
class RandropRandomDropUseTest : public RandomDropTest<TypeParam> {};

TYPED_TEST_CASE(RandropRandomDropUseTest, TestDtypesAndDevices);

TYPED_TEST(RandropRandomDropUseTest, TestDefaultsAreThePapers) {
  EXPECT_EQ(Param::LOG, Param().schedule_type());
  EXPECT_EQ(Param::PER_CHANNEL, Param().balance());
  EXPECT_EQ(0, Param().first_iteration());
  EXPECT_FALSE(Param().drop_in_test());
  EXPECT_EQ(Param::BY_DIFFICULTY, Param().keep());
}

TYPED_TEST(RandropRandomDropUseTest, TestSameSeedSameMask) {
  typedef typename TypeParam::Dtype Dtype;
  Blob<Dtype> mask;
  const Dtype loss = this->Run();
  mask.CopyFrom(*this->mask_, false, true);
  EXPECT_EQ(loss, this->Run());
  for (int i = 0; i < mask.count(); ++i) {
    EXPECT_EQ(mask.cpu_data()[i], this->mask_->cpu_data()[i]);
  }
  this->param()->set_seed(43);
  EXPECT_NE(loss, this->Run());
}

TYPED_TEST(RandropRandomDropUseTest, TestHighHalfOfSeedCounts) {
  const uint64_t high = 1ull << 32;
  this->param()->set_seed(42 + high);
  this->CheckAgainstReference(this->Run(), 63, 2);
  const typename TypeParam::Dtype loss = this->Forward();
  this->param()->set_seed(42);
  EXPECT_NE(loss, this->Forward());
}

TYPED_TEST(RandropRandomDropUseTest, TestUnsetSeedFollowsSolver) {
  this->param()->clear_seed();
  Caffe::set_random_seed(5);
  const double first = this->Forward();
  EXPECT_NE(first, this->Forward());
  Caffe::set_random_seed(5);
  EXPECT_EQ(first, this->Forward());
}

TYPED_TEST(RandropRandomDropUseTest, TestFirstIteration) {
  typedef typename TypeParam::Dtype Dtype;
  SigmoidRandomDropCELossLayer<Dtype> layer(this->param_);
  layer.SetUp(this->bottom_, this->top_);
  layer.Forward(this->bottom_, this->top_);
  layer.Forward(this->bottom_, this->top_);
  const Dtype third = layer.Forward(this->bottom_, this->top_);
  this->param()->set_first_iteration(2);
  const Dtype resumed = this->Run();
  EXPECT_EQ(third, resumed);
  this->CheckAgainstReference(resumed, 63, 2, true, 2);
}

TYPED_TEST(RandropRandomDropUseTest, TestFirstElement) {
  typedef typename TypeParam::Dtype Dtype;
  const int half = 2 * 16 * 12;
  for (int keep = Param::BY_DIFFICULTY; keep <= Param::UNIFORM; ++keep) {
    this->param()->set_keep(Param::Keep(keep));
    this->param()->clear_first_element();
    this->Resize(4, 1, 16, 12);
    Blob<Dtype> logits, label;
    logits.CopyFrom(*this->logits_, false, true);
    label.CopyFrom(*this->label_, false, true);
    const double whole = this->Run();
    const vector<Dtype> mask(this->mask_->cpu_data(),
        this->mask_->cpu_data() + 2 * half);
    this->Resize(2, 1, 16, 12);
    double halves = 0;
    for (int begin = 0; begin < 2 * half; begin += half) {
      caffe_copy(half, logits.cpu_data() + begin,
          this->logits_->mutable_cpu_data());
      caffe_copy(half, label.cpu_data() + begin,
          this->label_->mutable_cpu_data());
      this->param()->set_first_element(begin);
      halves += this->Run() / 2;
      for (int i = 0; i < half; ++i) {
        ASSERT_EQ(mask[begin + i], this->mask_->cpu_data()[i]) << begin + i;
      }
    }
    EXPECT_NEAR(whole, halves, 1e-5 * whole);
  }
}

TYPED_TEST(RandropRandomDropUseTest, TestFirstElementIsAMultipleOfATile) {
  this->param()->set_first_element(32);
  EXPECT_DEATH(this->Run(), "first_element is 32, which is not a multiple of"
      " 64");
}

TYPED_TEST(RandropRandomDropUseTest, TestNothingIsDroppedInTest) {
  this->param_.set_phase(TEST);
  for (int keep = Param::BY_DIFFICULTY; keep <= Param::HARDEST; ++keep) {
    this->param()->set_keep(Param::Keep(keep));
    this->param()->set_drop_in_test(false);
    this->CheckAgainstReference(this->Run(), 63, 2, false);
    this->param()->set_drop_in_test(true);
    this->CheckAgainstReference(this->Run(), 63, 2, true);
  }
}

TYPED_TEST(RandropRandomDropUseTest, TestShapeMayChange) {
  typedef typename TypeParam::Dtype Dtype;
  SigmoidRandomDropCELossLayer<Dtype> layer(this->param_);
  layer.SetUp(this->bottom_, this->top_);
  layer.Forward(this->bottom_, this->top_);
  this->Resize(1, 2, 20, 30);
  const Dtype loss = layer.Forward(this->bottom_, this->top_);
  this->Backward(&layer);
  this->CheckAgainstReference(loss, 600, 1, true, 1);
}

TYPED_TEST(RandropRandomDropUseTest, TestThreeTypeNames) {
  typedef typename TypeParam::Dtype Dtype;
  const char* names[] = {"SigmoidRandomDropCELoss",
      "SigmoidRandomDropCELossParameter", "SigmoidRandomDropCrossEntropyLoss"};
  for (int k = 0; k < 3; ++k) {
    this->param_.set_type(names[k]);
    shared_ptr<Layer<Dtype> > layer =
        LayerRegistry<Dtype>::CreateLayer(this->param_);
    EXPECT_EQ(string(names[k]), layer->type());
    layer->SetUp(this->bottom_, this->top_);
    EXPECT_GT(layer->Forward(this->bottom_, this->top_), 0);
  }
}

TYPED_TEST(RandropRandomDropUseTest, TestUsageExampleOfThePaper) {
  typedef typename TypeParam::Dtype Dtype;
  const string text =
      "layer { name: 'data' type: 'DummyData' top: 'pred' top: 'label' "
      "  dummy_data_param { shape { dim: 2 dim: 1 dim: 6 dim: 5 } "
      "    shape { dim: 2 dim: 1 dim: 6 dim: 5 } "
      "    data_filler { type: 'gaussian' } data_filler { value: 1 } } } "
      "layer { "
      "  name: 'loss' "
      "  type: 'SigmoidRandomDropCELossParameter' "
      "  bottom: 'pred' "
      "  bottom: 'label' "
      "  top: 'loss' "
      "  loss_weight: 1 "
      "  randrop_loss_param { "
      "    schedule_type: LINEAR "
      "  } "
      "}";
  NetParameter net_param;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &net_param));
  net_param.set_force_backward(true);
  Net<Dtype> net(net_param);
  Dtype loss = -1;
  net.Forward(&loss);
  net.Backward();
  EXPECT_EQ(0, loss);  // all labels are positive
}

TYPED_TEST(RandropRandomDropUseTest, TestBadInputStops) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  typedef typename TypeParam::Dtype Dtype;
  this->label_->mutable_cpu_data()[63 + 2 * 7 + 5] = 255;
  this->label_->mutable_cpu_data()[200] = 255;
  EXPECT_DEATH(this->Forward(), "SigmoidRandomDropCELoss layer '': label 255 "
      "at n = 0, c = 1, y = 2, x = 5; allowed: 0 and 1. "
      "Likely: an 8-bit mask with values 0 and 255: divide it by 255");
  this->SetIgnoreLabel(255);
  this->label_->mutable_cpu_data()[7] = 0.5;
  EXPECT_DEATH(this->Forward(), "label 0.5 at n = 0, c = 0, y = 1, x = 0; "
      "allowed: 0, 1 and 255");
  this->label_->mutable_cpu_data()[7] =
      std::numeric_limits<Dtype>::quiet_NaN();
  EXPECT_DEATH(this->Forward(), "label -?nan at");
  vector<int> shape(4, 2);
  this->label_->Reshape(shape);
  EXPECT_DEATH(this->Forward(), "logits have shape 2 3 9 7 .378. and label "
      "2 2 2 2");
  shape[2] = 1;
  shape[3] = 1;
  this->logits_->Reshape(shape);
  shape.resize(1);
  this->logits_->Reshape(shape);
  this->label_->Reshape(shape);
  EXPECT_DEATH(this->Forward(), "the loss needs N x C x spatial");
}

TYPED_TEST(RandropRandomDropUseTest, TestLabelsHaveNoGradient) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  typedef typename TypeParam::Dtype Dtype;
  SigmoidRandomDropCELossLayer<Dtype> layer(this->param_);
  layer.SetUp(this->bottom_, this->top_);
  EXPECT_FALSE(layer.AllowForceBackward(1));
  layer.Forward(this->bottom_, this->top_);
  EXPECT_DEATH(layer.Backward(this->top_, vector<bool>(2, true),
      this->bottom_), "a loss cannot backpropagate to its label");
}

}  // namespace caffe
