// Which algorithm Caffe's three queries choose from a list that cuDNN 8 could give.
//
//   choose PASS PREFERENCE LIMIT [ALGO STATUS MATH LISTED NEEDED]...
//
// PASS is 0 to 2 (forward, filter, data), LISTED is the size in the list and NEEDED the
// size for the descriptor; negative: the algorithm then does not run. It prints the
// status and the algorithm.
#include <stdio.h>
#include <stdlib.h>

#include "caffe/util/cudnn.hpp"

namespace {

char** entries;
int entry_count;

long entry(int index, int field) {  // NOLINT(runtime/int)
  return atol(entries[5 * index + field]);
}

template <typename Found>
cudnnStatus_t List(int requested, int* count, Found* found) {
  if (entry_count == 0) { return CUDNN_STATUS_INTERNAL_ERROR; }
  for (*count = 0; *count < entry_count && *count < requested; ++*count) {
    found[*count].algo = static_cast<decltype(found->algo)>(entry(*count, 0));
    found[*count].status = static_cast<cudnnStatus_t>(entry(*count, 1));
    found[*count].mathType = static_cast<cudnnMathType_t>(entry(*count, 2));
    found[*count].memory = entry(*count, 3);
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t Size(int algo, size_t* bytes) {
  for (int i = 0; i < entry_count; ++i) {
    if (entry(i, 0) == algo && entry(i, 4) >= 0) {
      *bytes = entry(i, 4);
      return CUDNN_STATUS_SUCCESS;
    }
  }
  return CUDNN_STATUS_NOT_SUPPORTED;
}

}  // namespace

#define DEFINE(Pass, Kind, First, Second, Third) \
cudnnStatus_t cudnnGetConvolution##Pass##Algorithm_v7(cudnnHandle_t, First, \
    Second, cudnnConvolutionDescriptor_t, Third, int requested, int* count, \
    cudnnConvolution##Kind##AlgoPerf_t* found) { \
  return List(requested, count, found); \
} \
cudnnStatus_t cudnnGetConvolution##Pass##WorkspaceSize(cudnnHandle_t, First, \
    Second, cudnnConvolutionDescriptor_t, Third, \
    cudnnConvolution##Kind##Algo_t algo, size_t* bytes) { \
  return Size(algo, bytes); \
} \
void Ask##Pass(int preference, size_t limit) { \
  cudnnConvolution##Kind##Algo_t algo = \
      static_cast<cudnnConvolution##Kind##Algo_t>(0); \
  const cudnnStatus_t status = cudnnGetConvolution##Pass##Algorithm( \
      NULL, NULL, NULL, NULL, NULL, \
      static_cast<cudnnConvolution##Kind##Preference_t>(preference), limit, \
      &algo); \
  printf("%d %d\n", status, algo); \
}
DEFINE(Forward, Fwd, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t,
    cudnnTensorDescriptor_t)
DEFINE(BackwardFilter, BwdFilter, cudnnTensorDescriptor_t,
    cudnnTensorDescriptor_t, cudnnFilterDescriptor_t)
DEFINE(BackwardData, BwdData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t,
    cudnnTensorDescriptor_t)

int main(int argc, char** argv) {
  entries = argv + 4;
  entry_count = (argc - 4) / 5;
  void (*const asks[])(int, size_t) = {
      AskForward, AskBackwardFilter, AskBackwardData};
  asks[atoi(argv[1])](atoi(argv[2]), atol(argv[3]));
}
