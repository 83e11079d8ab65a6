#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/test/test_pixel_kernels_util.hpp"

namespace caffe {

using randrop::OverlapSums;
using randrop::ExpLogSums;
using randrop::PixelKernels;
using randrop::PixelSums;
using randrop::SumExpLog;
using randrop::SumSigmoidOverlap;
using randrop::SumSigmoidFocal;
using randrop::SumSoftmaxOverlap;
using randrop::SumSoftmaxFocal;

// Range bounds: at, before and after the bounds of vectors and areas.
std::vector<int> Borders(int elements) {
  std::vector<int> borders;
  for (int i = 0; i <= elements; ++i) {
    if (i < 20 || i % 16 < 2 || i % KernelCases::kArea < 2 ||
        i % KernelCases::kArea > KernelCases::kArea - 3) {
      borders.push_back(i);
    }
  }
  return borders;
}

TEST(RandropPixelKernelsTest, TestNothingIsWrittenOutsideTheRange) {
  const std::vector<const PixelKernels*> sets = AllPixelKernels();
  for (int s = 0; s < sets.size(); ++s) {
    KernelCases inputs(sets[s]);
    const std::vector<KernelCase> cases = inputs.Writing();
    for (int k = 0; k < cases.size(); ++k) {
      const KernelCase& kernel = cases[k];
      SCOPED_TRACE(std::string(sets[s]->name) + " " + kernel.name);
      std::vector<std::vector<unsigned char> > whole;
      kernel.Reset();
      ASSERT_TRUE(kernel.run(0, kernel.elements));
      for (int o = 0; o < kernel.outputs.size(); ++o) {
        whole.push_back(*kernel.outputs[o].bytes);
        // It has written something, unless it only replaces bad labels.
        EXPECT_EQ(kernel.name == "sum_selected", whole[o] == kernel.before[o]);
      }
      int outside = 0, inside = 0, ranges = 0;
      const std::vector<int> borders = Borders(kernel.elements);
      for (int b = 0; b < borders.size(); ++b) {
        for (int e = b + 1; e < borders.size(); ++e) {
          kernel.Reset();
          const bool done = kernel.run(borders[b], borders[e]);
          ranges += done;
          for (int o = 0; o < kernel.outputs.size(); ++o) {
            const KernelOutput& output = kernel.outputs[o];
            const unsigned char* bytes = &(*output.bytes)[0];
            for (int i = 0; i < output.count(); ++i) {
              const int owner = output.Owner(i);
              const bool own =
                  done && owner >= borders[b] && owner < borders[e];
              const unsigned char* wanted =
                  &(own ? whole : kernel.before)[o][0];
              if (!std::equal(bytes + i * output.size,
                  bytes + (i + 1) * output.size, wanted + i * output.size)) {
                ++(own ? inside : outside);
              }
            }
          }
        }
      }
      EXPECT_EQ(0, outside) << "elements of a neighbour were written";
      EXPECT_EQ(0, inside) << "elements depend on the range";
      EXPECT_GT(ranges, 100);
    }
  }
}

// Logits, labels and options on which no integer arithmetic may overflow: a
// test for the undefined behaviour sanitizer.
TEST(RandropPixelKernelsTest, TestAnyLogitsAndLabels) {
  const float most = std::numeric_limits<float>::max();
  const float values[] = {0, -0.0f, 1, -1, 1e-40f, -1e-40f, 1e-30f, 88, -88,
      104, -104, 1e4f, -1e4f, 1e30f, -1e30f, most, -most,
      std::numeric_limits<float>::infinity(),
      -std::numeric_limits<float>::infinity(),
      std::numeric_limits<float>::quiet_NaN(),
      -std::numeric_limits<float>::quiet_NaN()};
  const int kValues = sizeof(values) / sizeof(*values);
  const float gammas[] = {0, 0.3f, 1, 1.5f, 2, 5, 100, 1e30f};
  const std::vector<const PixelKernels*> sets = AllPixelKernels();
  for (int s = 0; s < sets.size(); ++s) {
    for (int g = 0; g < 8; ++g) {
      KernelCases in(sets[s]);
      in.gamma = gammas[g];
      in.squared = g % 2;
      for (int i = 0; i < KernelCases::kLogits; ++i) {
        in.logits[i] = values[(i * 7 + i / 3) % kValues];
        // The last range also has invalid labels.
        in.binary[i] = g < 6 ? in.binary[i] : values[i * 5 % kValues];
        in.cross_entropy[i] = values[i * 11 % kValues];
      }
      for (int j = 0; j < KernelCases::kPixels && g >= 6; ++j) {
        in.label[j] = values[j * 5 % kValues];
      }
      const std::vector<KernelCase> cases = in.Writing();
      for (int k = 0; k < cases.size(); ++k) {
        EXPECT_TRUE(cases[k].run(0, cases[k].elements));
      }
      const PixelKernels& kernels = *sets[s];
      PixelSums pixels;
      pixels.Clear();
      const SumSigmoidFocal<float> sigmoid_focal = {in.Focal()};
      EXPECT_TRUE(kernels.sum_sigmoid_focal(sigmoid_focal, 0,
          KernelCases::kLogits, &pixels));
      EXPECT_TRUE(std::isnan(pixels.loss));
      EXPECT_EQ(g >= 6, pixels.bad_label >= 0);
      pixels.Clear();
      const SumSoftmaxFocal<float> softmax_focal = {in.Softmax(), in.gamma,
          in.alpha()};
      EXPECT_TRUE(kernels.sum_softmax_focal(softmax_focal, 0,
          KernelCases::kPixels, &pixels));
      EXPECT_TRUE(std::isnan(pixels.loss));
      EXPECT_EQ(g >= 6, pixels.bad_label >= 0);
      OverlapSums dice[KernelCases::kClasses];
      ExpLogSums exp_log[KernelCases::kClasses];
      for (int c = 0; c < KernelCases::kClasses; ++c) {
        dice[c].Clear();
        exp_log[c].Clear();
      }
      const SumSigmoidOverlap<float> sigmoid_dice = {in.Dice(in.Sigmoid())};
      EXPECT_TRUE(kernels.sum_sigmoid_overlap(sigmoid_dice, 0,
          KernelCases::kLogits, dice));
      const SumSoftmaxOverlap<float> softmax_dice = {in.Dice(in.Softmax())};
      EXPECT_TRUE(kernels.sum_softmax_overlap(softmax_dice, 0,
          KernelCases::kArea, dice));
      EXPECT_TRUE(std::isnan(dice[0].false_positives));
      const SumExpLog<float> sum_exp_log = {in.Softmax(), in.gamma};
      EXPECT_TRUE(kernels.sum_exp_log(sum_exp_log, 0, KernelCases::kArea,
          exp_log));
      EXPECT_TRUE(std::isnan(exp_log[0].error));
    }
  }
}

}  // namespace caffe
