#ifndef CAFFE_TEST_PIXEL_KERNELS_UTIL_HPP_
#define CAFFE_TEST_PIXEL_KERNELS_UTIL_HPP_

#include <stdint.h>

#include <algorithm>
#include <functional>
#include <list>
#include <string>
#include <vector>

#include "caffe/randrop/losses/balance.hpp"
#include "caffe/randrop/losses/cross_entropy.hpp"
#include "caffe/randrop/losses/exp_log.hpp"
#include "caffe/randrop/losses/focal.hpp"
#include "caffe/randrop/losses/overlap.hpp"
#include "caffe/randrop/losses/random_drop.hpp"
#include "caffe/randrop/losses/top_k.hpp"
#include "caffe/randrop/math/philox.hpp"
#include "caffe/randrop/simd/kernels.hpp"

// Independent of Caffe's library, so that the kernels can be built and tested
// separately, under a sanitizer.
namespace caffe {

// The vector instruction sets that this processor and this build support.
inline std::vector<const randrop::PixelKernels*> AllPixelKernels() {
  std::vector<const randrop::PixelKernels*> sets;
#ifdef RANDROP_VECTOR_KERNELS
  sets.push_back(&randrop::kPlainPixelKernels);
#endif
#ifdef RANDROP_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    sets.push_back(&randrop::kAvx2PixelKernels);
    if (__builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      sets.push_back(&randrop::kAvx512PixelKernels);
    }
  }
#endif
  return sets;
}

// A kernel's output: elements of a given size in bytes, ordered by class for a
// softmax.
struct KernelOutput {
  std::vector<unsigned char>* bytes;
  int size, classes, area;

  int count() const { return bytes->size() / size; }
  // The element of the kernel's range that output element i belongs to.
  int Owner(int i) const {
    return i / (classes * area) * area + i % area;
  }
};

// A kernel with its own inputs.
struct KernelCase {
  std::string name;
  int elements;
  std::vector<KernelOutput> outputs;
  std::vector<std::vector<unsigned char> > before;  // their initial contents
  // Returns false if the kernel does not handle these elements.
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

  explicit KernelCases(const randrop::PixelKernels* kernels)
      : kernels_(kernels), state_(1), logits(kLogits), binary(kLogits),
        label(kPixels), cross_entropy(kLogits), chosen(kLogits), gamma(2),
        squared(true), per_channel_(kImages * kClasses * 2), lowest_(2),
        overlap_terms_(kImages * kClasses), exp_log_terms_(kImages * kClasses),
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
    lowest_[1] = randrop::kHardnessBins;
    for (int g = 0; g < kImages * kClasses; ++g) {
      per_channel_[2 * g] = Uniform();
      per_channel_[2 * g + 1] = Uniform();
      const randrop::OverlapTerm<float> dice = {
          0, -Uniform(), Uniform(), Uniform(), Uniform()};
      overlap_terms_[g] = dice;
      const randrop::ExpLogTerm<float> term = {0, -Uniform(), Uniform()};
      exp_log_terms_[g] = term;
      alpha_[g % kClasses] = Uniform();
    }
  }

  std::vector<KernelCase> Writing();
  randrop::LossInput<float> Softmax() const {
    const randrop::LossInput<float> input = {
        &logits[0], &label[0], kClasses, kArea, true, kIgnore};
    return input;
  }
  randrop::LossInput<float> Sigmoid() const {
    randrop::LossInput<float> input = Softmax();
    input.label = &binary[0];
    return input;
  }
  randrop::SigmoidFocalInput<float> Focal() const {
    const randrop::SigmoidFocalInput<float> input = {
        &logits[0], &binary[0], true, kIgnore, gamma, &per_channel_[0], kArea};
    return input;
  }
  randrop::OverlapInput<float> Dice(const randrop::LossInput<float>& input)
      const {
    const randrop::OverlapInput<float> dice = {
        input, squared, true, &chosen[0], gamma, true};
    return dice;
  }
  randrop::OverlapTerms<float> Terms(int classes) const {
    const randrop::OverlapTerms<float> terms = {
        &overlap_terms_[0], classes, 1, NULL};
    return terms;
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
  // The selection, which the kernel changes in place.
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

  const randrop::PixelKernels* kernels_;
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
  std::vector<randrop::OverlapTerm<float> > overlap_terms_;
  std::vector<randrop::ExpLogTerm<float> > exp_log_terms_;
  std::vector<float> alpha_;
};

inline std::vector<KernelCase> KernelCases::Writing() {
  std::vector<KernelCase> cases;
  const randrop::PixelKernels* kernels = kernels_;
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
  // A kernel that writes a gradient, or sums along the way.
#define RANDROP_ADD(kernel, elements, outputs, ...) \
  { \
    const auto op = __VA_ARGS__; \
    add(#kernel, elements, outputs, [op, kernels](int begin, int end) { \
      return kernels->kernel(op, begin, end); \
    }); \
  }
#define RANDROP_ADD_SUM(kernel, Sums, elements, outputs, ...) \
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
  // Its second tile has counters above 32 bits.
  const uint64_t first_tile = (uint64_t(1) << 32) / randrop::kPhiloxLanes - 1;
  for (int schedule = randrop::DropSchedule::LINEAR;
       schedule <= randrop::DropSchedule::CONSTANT; ++schedule) {
    const randrop::RandomDropPass<float> pass = {
        &logits[0], &binary[0], BytesOf(out[0]), true, kIgnore, schedule, 5, 3,
        first_tile, &per_channel_[0], kLogits};
    add("random_drop", kLogits, out, [pass, kernels](int begin, int end) {
      randrop::GroupSums sums;
      sums.Clear();
      kernels->random_drop(pass, begin, end, &sums);
      return true;
    });
  }
  out[0] = Floats(kLogits, 1);
  RANDROP_ADD(balanced_diff, kLogits, out, randrop::WriteBalancedDiff<float>{
      &logits[0], &chosen[0], &per_channel_[0], 2, kArea, FloatsOf(out[0])});
  RANDROP_ADD(sigmoid_focal_diff, kLogits, out,
      randrop::WriteSigmoidFocalDiff<float>{Focal(), 2, FloatsOf(out[0])});
  RANDROP_ADD(sigmoid_overlap_diff, kLogits, out,
      randrop::WriteSigmoidOverlapDiff<float>{
          Dice(Sigmoid()), Terms(1), 2, FloatsOf(out[0])});
  out[0] = Floats(kLogits, kClasses);
  RANDROP_ADD(softmax_overlap_diff, kPixels, out,
      randrop::WriteSoftmaxOverlapDiff<float>{
          Dice(Softmax()), Terms(kClasses), 2, FloatsOf(out[0])});
  RANDROP_ADD(softmax_top_k_diff, kPixels, out, randrop::SoftmaxTopKDiff<float>{
      Softmax(), &chosen[0], 2, FloatsOf(out[0])});
  RANDROP_ADD(softmax_focal_diff, kPixels, out,
      randrop::WriteSoftmaxFocalDiff<float>{
          Softmax(), gamma, alpha(), 2, FloatsOf(out[0])});
  RANDROP_ADD(exp_log_diff, kPixels, out, randrop::WriteExpLogDiff<float>{
      Softmax(), &exp_log_terms_[0], alpha(), gamma, 0.1, 2,
      FloatsOf(out[0])});
  out[0] = Selection(kLogits);
  RANDROP_ADD(keep_bins, kLogits, out,
      randrop::KeepBins<float>{
          &logits[0], &lowest_[0], kLogits / 2, BytesOf(out[0])});
  RANDROP_ADD_SUM(sum_selected, randrop::GroupSums, kLogits, out,
      randrop::SumSelected<float>{&logits[0], BytesOf(out[0])});
  out[0] = Bytes(kLogits);
  RANDROP_ADD_SUM(classify_labels, randrop::CandidateSums, kLogits, out,
      randrop::ClassifyLabels<float>{&logits[0], &binary[0], true, kIgnore,
      BytesOf(out[0])});
  RANDROP_ADD_SUM(sum_kept, randrop::PixelSums, kLogits, out,
      randrop::SumKept<float>{&logits[0], &binary[0], true, kIgnore,
      randrop::DropSchedule::LOG, BytesOf(out[0])});
  out.push_back(Floats(kLogits, 1));
  RANDROP_ADD_SUM(sigmoid_cross_entropy, randrop::PixelSums, kLogits, out,
      randrop::SigmoidCrossEntropy<float>{Sigmoid(), FloatsOf(out[1]),
      BytesOf(out[0])});
  out[0] = Bytes(kPixels);
  out[1] = Floats(kPixels, 1);
  RANDROP_ADD_SUM(softmax_cross_entropy, randrop::PixelSums, kPixels, out,
      randrop::SoftmaxCrossEntropy<float>{Softmax(), FloatsOf(out[1]),
      BytesOf(out[0])});
#undef RANDROP_ADD
#undef RANDROP_ADD_SUM
  return cases;
}

}  // namespace caffe

#endif  // CAFFE_TEST_PIXEL_KERNELS_UTIL_HPP_
