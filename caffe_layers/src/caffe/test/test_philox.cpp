#include <stdint.h>

#include "gtest/gtest.h"

#include "caffe/randrop/math/philox.hpp"

#include "caffe/test/test_caffe_main.hpp"

namespace caffe {

using randrop::Philox4x32;
using randrop::PhiloxUniformTile;
using randrop::kPhiloxTile;

TEST(RandropPhiloxTest, TestKnownAnswers) {
  const uint32_t answers[3][4] = {
    {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
    {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
    {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
  // key, block, forward: the low halves first
  const uint64_t inputs[3][3] = {
    {0, 0, 0},
    {~0ull, ~0ull, ~0ull},
    {0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x0370734413198a2eull}};
  for (int k = 0; k < 3; ++k) {
    uint32_t word[4];
    Philox4x32(inputs[k][0], inputs[k][1], inputs[k][2], word);
    for (int w = 0; w < 4; ++w) {
      EXPECT_EQ(answers[k][w], word[w]);
    }
  }
}

TEST(RandropPhiloxTest, TestTileOrder) {
  float uniform[kPhiloxTile];
  PhiloxUniformTile(7, 5, 3, uniform);
  for (int i = 0; i < kPhiloxTile; ++i) {
    uint32_t word[4];
    Philox4x32(7, 5 * 16 + i % 16, 3, word);
    EXPECT_EQ((word[i / 16] >> 8) / 16777216., uniform[i]);
  }
}

}  // namespace caffe
