#ifndef CAFFE_TEST_PIXEL_KERNELS_UTIL_HPP_
#define CAFFE_TEST_PIXEL_KERNELS_UTIL_HPP_

#include <stdint.h>

#include <algorithm>
#include <functional>
#include <list>
#include <string>
#include <vector>

#include "caffe/util/dice.hpp"
#include "caffe/util/exp_log.hpp"
#include "caffe/util/focal.hpp"
#include "caffe/util/hardest_pixels.hpp"
#include "caffe/util/pixel_kernels.hpp"
#include "caffe/util/random_drop.hpp"
#include "caffe/util/softmax_top_k.hpp"
#include "caffe/util/top_k_ce.hpp"

// Nothing of Caffe's library is in here, so that the kernels can be built and
// tested alone, under a sanitizer.
namespace caffe {

// The sets of vector instructions that this processor and this build have.
inline std::vector<const PixelKernels*> AllPixelKernels() {
  std::vector<const PixelKernels*> sets;
#ifdef CAFFE_VECTOR_KERNELS
  sets.push_back(&kPlainPixelKernels);
#endif
#ifdef CAFFE_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    sets.push_back(&kAvx2PixelKernels);
    if (__builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      sets.push_back(&kAvx512PixelKernels);
    }
  }
#endif
  return sets;
}

// What a kernel writes: elements of so many bytes, those of a softmax by
// classes.
struct KernelOutput {
  std::vector<unsigned char>* bytes;
  int size, classes, area;

  int count() const { return bytes->size() / size; }
  // The element of the kernel's range that an element belongs to.
  int Owner(int i) const {
    return i / (classes * area) * area + i % area;
  }
};

// A kernel on inputs of its own.
struct KernelCase {
  std::string name;
  int elements;
  std::vector<KernelOutput> outputs;
  std::vector<std::vector<unsigned char> > before;  // what is in those at first
  // False where the kernel leaves the elements to others.
  std::function<bool(int begin, int end)> run;

  void Reset() const {
    for (int o = 0; o < outputs.size(); ++o) {
      std::copy(before[o].begin(), before[o].end(), outputs[o].bytes->begin());
    }
  }
};

// Inputs for all kernels of a set, and the kernels on them.
class KernelCases {
 public:
  enum {
    kImages = 2, kClasses = 3, kArea = 75, kPixels = kImages * kArea,
    kLogits = kPixels * kClasses, kIgnore = 9, kCanary = 0x5A
  };

  explicit KernelCases(const PixelKernels* kernels)
      : kernels_(kernels), state_(1), logits(kLogits), binary(kLogits),
        label(kPixels), cross_entropy(kLogits), chosen(kLogits), gamma(2),
        squared(true), per_channel_(kImages * kClasses * 2), lowest_(2),
        dice_terms_(kImages * kClasses), exp_log_terms_(kImages * kClasses),
        alpha_(kClasses) {
    for (int i = 0; i < kLogits; ++i) {
      logits[i] = Uniform() * 8 - 4;
      binary[i] = Next() % 5 == 0 ? kIgnore : Next() % 2;
      cross_entropy[i] = Uniform();
      chosen[i] = Next() % 4;
    }
    for (int j = 0; j < kPixels; ++j) {
      label[j] = Next() % 5 == 0 ? kIgnore : Next() % kClasses;
    }
    lowest_[0] = 2;
    lowest_[1] = kHardnessBins;
    for (int g = 0; g < kImages * kClasses; ++g) {
      per_channel_[2 * g] = Uniform();
      per_channel_[2 * g + 1] = Uniform();
      const DiceTerm<float> dice = {0, -Uniform(), Uniform(), Uniform()};
      dice_terms_[g] = dice;
      const ExpLogTerm<float> term = {0, -Uniform(), Uniform()};
      exp_log_terms_[g] = term;
      alpha_[g % kClasses] = Uniform();
    }
  }

  std::vector<KernelCase> Writing();
  SoftmaxInput<float> Softmax() const {
    const SoftmaxInput<float> input = {&logits[0], &label[0], kClasses, kArea,
        true, kIgnore};
    return input;
  }
  SoftmaxInput<float> Sigmoid() const {
    SoftmaxInput<float> input = Softmax();
    input.label = &binary[0];
    return input;
  }
  SigmoidFocalInput<float> Focal() const {
    const SigmoidFocalInput<float> input = {&logits[0], &binary[0], true,
        kIgnore, gamma, &per_channel_[0], kArea};
    return input;
  }
  DiceInput<float> Dice(const SoftmaxInput<float>& input) const {
    const DiceInput<float> dice = {input, squared, true, &chosen[0]};
    return dice;
  }
  const float* alpha() const { return &alpha_[0]; }

 private:
  uint32_t Next() {
    state_ = state_ * 1664525u + 1013904223u;
    return state_ >> 8;
  }
  float Uniform() { return (Next() % 4096 + 1) / 4096.0f; }

  KernelOutput Floats(int count, int classes) {
    buffers_.push_back(
        std::vector<unsigned char>(count * sizeof(float), kCanary));
    const KernelOutput output = {&buffers_.back(), sizeof(float), classes,
        kArea};
    return output;
  }
  KernelOutput Bytes(int count) {
    buffers_.push_back(std::vector<unsigned char>(count, kCanary));
    const KernelOutput output = {&buffers_.back(), 1, 1, kArea};
    return output;
  }
  // What the kernel changes in place.
  KernelOutput Selection(int count) {
    const KernelOutput output = Bytes(count);
    *output.bytes = std::vector<unsigned char>(chosen.begin(),
        chosen.begin() + count);
    return output;
  }
  static float* FloatsOf(const KernelOutput& output) {
    return reinterpret_cast<float*>(&(*output.bytes)[0]);
  }
  static unsigned char* BytesOf(const KernelOutput& output) {
    return &(*output.bytes)[0];
  }

  const PixelKernels* kernels_;
  uint32_t state_;
  std::list<std::vector<unsigned char> > buffers_;

 public:
  std::vector<float> logits, binary, label, cross_entropy;
  std::vector<unsigned char> chosen;
  float gamma;
  bool squared;

 private:
  std::vector<float> per_channel_;
  std::vector<int> lowest_;
  std::vector<DiceTerm<float> > dice_terms_;
  std::vector<ExpLogTerm<float> > exp_log_terms_;
  std::vector<float> alpha_;
};

inline std::vector<KernelCase> KernelCases::Writing() {
  std::vector<KernelCase> cases;
  const PixelKernels* kernels = kernels_;
  const auto add = [&cases](const std::string& name, int elements,
      const std::vector<KernelOutput>& outputs,
      const std::function<bool(int, int)>& run) {
    KernelCase one = {name, elements, outputs};
    one.run = run;
    for (int o = 0; o < outputs.size(); ++o) {
      one.before.push_back(*outputs[o].bytes);
    }
    cases.push_back(one);
  };
  // A kernel that writes a gradient, or adds up on the way.
#define CAFFE_ADD(kernel, elements, outputs, ...) \
  { \
    const auto op = __VA_ARGS__; \
    add(#kernel, elements, outputs, [op, kernels](int begin, int end) { \
      return kernels->kernel(op, begin, end); \
    }); \
  }
#define CAFFE_ADD_SUM(kernel, Sums, elements, outputs, ...) \
  { \
    const auto op = __VA_ARGS__; \
    add(#kernel, elements, outputs, [op, kernels](int begin, int end) { \
      Sums sums; \
      sums.Clear(); \
      return kernels->kernel(op, begin, end, &sums); \
    }); \
  }
  typedef std::vector<KernelOutput> Outputs;
  Outputs out(1, Bytes(kLogits));
  for (int schedule = DROP_LINEAR; schedule <= DROP_NONE; ++schedule) {
    const RandomDropPass<float> pass = {&logits[0], &binary[0], BytesOf(out[0]),
        true, kIgnore, schedule, 5, 3};
    add("random_drop", kLogits, out, [pass, kernels](int begin, int end) {
      GroupSums sums;
      sums.Clear();
      kernels->random_drop(pass, begin, end, &sums);
      return true;
    });
  }
  out[0] = Floats(kLogits, 1);
  const BalancedDiffPass<float> balanced = {&logits[0], &chosen[0],
      FloatsOf(out[0])};
  add("balanced_diff", kLogits, out, [balanced, kernels](int begin, int end) {
    const float weight[] = {0.3f, 0.7f};
    kernels->balanced_diff(balanced, begin, end, weight);
    return true;
  });
  CAFFE_ADD(sigmoid_focal_diff, kLogits, out, WriteSigmoidFocalDiff<float>{
      Focal(), 2, FloatsOf(out[0])});
  CAFFE_ADD(sigmoid_dice_diff, kLogits, out, WriteSigmoidDiceDiff<float>{
      Dice(Sigmoid()), &dice_terms_[0], 2, FloatsOf(out[0])});
  out[0] = Floats(kLogits, kClasses);
  CAFFE_ADD(softmax_dice_diff, kPixels, out, WriteSoftmaxDiceDiff<float>{
      Dice(Softmax()), &dice_terms_[0], 2, FloatsOf(out[0])});
  CAFFE_ADD(softmax_top_k_diff, kPixels, out, SoftmaxTopKDiff<float>{
      Softmax(), &chosen[0], 2, FloatsOf(out[0])});
  CAFFE_ADD(softmax_focal_diff, kPixels, out, WriteSoftmaxFocalDiff<float>{
      Softmax(), gamma, alpha(), 2, FloatsOf(out[0])});
  CAFFE_ADD(exp_log_diff, kPixels, out, WriteExpLogDiff<float>{
      Softmax(), &exp_log_terms_[0], alpha(), gamma, 0.1, 2,
      FloatsOf(out[0])});
  out[0] = Selection(kLogits);
  CAFFE_ADD(keep_bins, kLogits, out, KeepBins<float>{&logits[0], &lowest_[0],
      kLogits / 2, BytesOf(out[0])});
  CAFFE_ADD_SUM(sum_selected, GroupSums, kLogits, out, SumSelected<float>{
      &logits[0], BytesOf(out[0])});
  out[0] = Bytes(kLogits);
  CAFFE_ADD_SUM(classify_labels, CandidateSums, kLogits, out,
      ClassifyLabels<float>{&logits[0], &binary[0], true, kIgnore,
      BytesOf(out[0])});
  out.push_back(Floats(kLogits, 1));
  CAFFE_ADD_SUM(sigmoid_cross_entropy, PixelSums, kLogits, out,
      SigmoidCrossEntropy<float>{Sigmoid(), FloatsOf(out[1]),
      BytesOf(out[0])});
  out[0] = Bytes(kPixels);
  out[1] = Floats(kPixels, 1);
  CAFFE_ADD_SUM(softmax_cross_entropy, PixelSums, kPixels, out,
      SoftmaxCrossEntropy<float>{Softmax(), FloatsOf(out[1]),
      BytesOf(out[0])});
#undef CAFFE_ADD
#undef CAFFE_ADD_SUM
  return cases;
}

}  // namespace caffe

#endif  // CAFFE_TEST_PIXEL_KERNELS_UTIL_HPP_
