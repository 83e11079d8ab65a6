#ifndef CAFFE_RANDROP_SIMD_KERNELS_HPP_
#define CAFFE_RANDROP_SIMD_KERNELS_HPP_

#include <stdint.h>

#include "caffe/randrop/simd/targets.hpp"

// No templates of the standard library or of protobuf in here: the linker
// might use an instance compiled for one processor on all of them.
namespace caffe {
namespace randrop {

// The operations, defined in their own headers.
template <typename Dtype> struct SumSigmoidFocal;
template <typename Dtype> struct WriteSigmoidFocalDiff;
template <typename Dtype> struct SumSigmoidOverlap;
template <typename Dtype> struct SumSoftmaxOverlap;
template <typename Dtype> struct WriteSigmoidOverlapDiff;
template <typename Dtype> struct WriteSoftmaxOverlapDiff;
template <typename Dtype> struct RandomDropPass;
template <typename Dtype> struct SumKept;
template <typename Dtype> struct WriteBalancedDiff;
template <typename Dtype> struct SigmoidCrossEntropy;
template <typename Dtype> struct SoftmaxCrossEntropy;
template <typename Dtype> struct SoftmaxTopKDiff;
template <typename Dtype> struct SumSoftmaxFocal;
template <typename Dtype> struct WriteSoftmaxFocalDiff;
template <typename Dtype> struct SumExpLog;
template <typename Dtype> struct WriteExpLogDiff;
template <typename Dtype> struct ClassifyLabels;
template <typename Dtype> struct SumSelected;
template <typename Dtype> struct KeepBins;
template <typename Dtype> struct SumHardestPixels;
template <typename Dtype> struct HardestNegatives;
template <typename Dtype> struct HardestElements;
template <typename Dtype> struct HardestPixels;
template <typename Dtype> struct HardestOfClass;
template <typename Key> struct KeyRange;
struct KeyCounts;
struct CandidateSums;
struct PixelSums;
struct GroupSums;
struct OverlapSums;
struct ExpLogSums;

// F(operation, kernel) for each operation that writes; F(operation, sums,
// kernel) for each that also sums, or sums over classes; F(operation, kernel)
// for each that selects.
#define RANDROP_WRITING_KERNELS(F) \
    F(WriteSigmoidFocalDiff, sigmoid_focal_diff) \
    F(WriteBalancedDiff, balanced_diff) \
    F(WriteSigmoidOverlapDiff, sigmoid_overlap_diff) \
    F(WriteSoftmaxOverlapDiff, softmax_overlap_diff) \
    F(KeepBins, keep_bins) \
    F(SoftmaxTopKDiff, softmax_top_k_diff) \
    F(WriteSoftmaxFocalDiff, softmax_focal_diff) \
    F(WriteExpLogDiff, exp_log_diff)
#define RANDROP_SUMMING_KERNELS(F) \
    F(ClassifyLabels, CandidateSums, classify_labels) \
    F(SumSelected, GroupSums, sum_selected) \
    F(SumKept, PixelSums, sum_kept) \
    F(SumSigmoidFocal, PixelSums, sum_sigmoid_focal) \
    F(SigmoidCrossEntropy, PixelSums, sigmoid_cross_entropy) \
    F(SumSigmoidOverlap, OverlapSums, sum_sigmoid_overlap) \
    F(SoftmaxCrossEntropy, PixelSums, softmax_cross_entropy) \
    F(SumHardestPixels, PixelSums, sum_hardest_pixels) \
    F(SumSoftmaxFocal, PixelSums, sum_softmax_focal)
#define RANDROP_CLASSES_KERNELS(F) \
    F(SumSoftmaxOverlap, OverlapSums, sum_softmax_overlap) \
    F(SumExpLog, ExpLogSums, sum_exp_log)
#define RANDROP_SELECTING_KERNELS(F) \
    F(HardestNegatives, hardest_negatives) \
    F(HardestElements, hardest_elements) \
    F(HardestPixels, hardest_pixels) \
    F(HardestOfClass, hardest_of_class)

/**
 * @brief The vectorised float passes of the losses, each over elements begin to
 *        end - 1; sums may be added up in any order.
 */
struct PixelKernels {
  const char* name;  // of the instruction set
  // This and all others return false if there are fewer elements than a vector
  // holds (not random drop), or if the sums exceed single precision.
  bool (*random_drop)(const RandomDropPass<float>& pass, int begin, int end,
      GroupSums* sums);
#define RANDROP_KERNEL(Operation, kernel) \
  bool (*kernel)(const Operation<float>& op, int begin, int end);
  RANDROP_WRITING_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL
#define RANDROP_KERNEL(Operation, Sums, kernel) \
  bool (*kernel)(const Operation<float>& op, int begin, int end, Sums* sums);
  RANDROP_SUMMING_KERNELS(RANDROP_KERNEL)
  // For pixels of one image; sums of each class.
  RANDROP_CLASSES_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL
  // The overloads that loops/select_cpu.hpp looks for.
#define RANDROP_KERNEL(Operation, kernel) \
  int (*collect_##kernel)(const Operation<float>& op, int begin, int end, \
      const KeyRange<uint32_t>& range, KeyCounts* counts, uint32_t* between); \
  int (*mark_##kernel)(const Operation<float>& op, int begin, int end, \
      uint32_t least, int* ties);
  RANDROP_SELECTING_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL
};

// The overloads that loops/cpu.hpp looks for.
#define RANDROP_KERNEL(Operation, kernel) \
bool InVectors(const Operation<float>& op, int begin, int end);
RANDROP_WRITING_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL
#define RANDROP_KERNEL(Operation, Sums, kernel) \
bool InVectors(const Operation<float>& op, int begin, int end, Sums* sums);
RANDROP_SUMMING_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL
#define RANDROP_KERNEL(Operation, Sums, kernel) \
bool ClassesInVectors(const Operation<float>& op, int begin, int end, \
    Sums* sums);
RANDROP_CLASSES_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL
#define RANDROP_KERNEL(Operation, kernel) \
int CollectInVectors(const Operation<float>& op, int begin, int end, \
    const KeyRange<uint32_t>& range, KeyCounts* counts, uint32_t* between); \
int MarkInVectors(const Operation<float>& op, int begin, int end, \
    uint32_t least, int* ties);
RANDROP_SELECTING_KERNELS(RANDROP_KERNEL)
#undef RANDROP_KERNEL

/// @brief The kernels for this processor; NULL if the compiler has no vectors.
///        RANDROP_VECTORS names another instruction set that it supports.
const PixelKernels* FastestPixelKernels();

#ifdef RANDROP_VECTOR_KERNELS
extern const PixelKernels kPlainPixelKernels;
#endif
#ifdef RANDROP_X86_KERNELS
extern const PixelKernels kAvx2PixelKernels;
extern const PixelKernels kAvx512PixelKernels;
#endif

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_SIMD_KERNELS_HPP_
