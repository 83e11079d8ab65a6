"""Fixes that let Caffe use cuDNN 8 and 9, on CUDA 13, too.

With cuDNN 5 to 7 the mended files compile to what they compiled to before.
"""

from caffe_tools.mends.mend import Mend

HEADER = "include/caffe/util/cudnn.hpp"

_QUERIES = r"""
#if CUDNN_VERSION >= 8000
// cuDNN 8 removed the queries for one algorithm within a workspace limit. The
// ones that are left list all algorithms, the fastest expected first. These
// functions choose from that list, so the layers stay as they are.
namespace caffe {
namespace cudnn {

// The first that runs, within the limit, without Tensor Cores: these round
// floats to 10 bits of mantissa.
template <typename Found, typename Algo, typename WorkspaceSize>
inline cudnnStatus_t chooseAlgo(const Found* found, int count, size_t limit,
    WorkspaceSize workspace_size, Algo* chosen) {
  for (int i = 0; i < count; ++i) {
    // The size is for the math that the descriptor asks for, which the size in
    // the list need not be.
    size_t bytes = 0;
    if (found[i].status == CUDNN_STATUS_SUCCESS &&
        found[i].mathType != CUDNN_TENSOR_OP_MATH &&
        found[i].mathType != CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION &&
        workspace_size(found[i].algo, &bytes) == CUDNN_STATUS_SUCCESS &&
        bytes <= limit) {
      *chosen = found[i].algo;
      return CUDNN_STATUS_SUCCESS;
    }
  }
  return CUDNN_STATUS_NOT_SUPPORTED;
}

}  // namespace cudnn
}  // namespace caffe

enum cudnnConvolutionFwdPreference_t {
  CUDNN_CONVOLUTION_FWD_NO_WORKSPACE,
  CUDNN_CONVOLUTION_FWD_PREFER_FASTEST,
  CUDNN_CONVOLUTION_FWD_SPECIFY_WORKSPACE_LIMIT
};
enum cudnnConvolutionBwdFilterPreference_t {
  CUDNN_CONVOLUTION_BWD_FILTER_NO_WORKSPACE,
  CUDNN_CONVOLUTION_BWD_FILTER_PREFER_FASTEST,
  CUDNN_CONVOLUTION_BWD_FILTER_SPECIFY_WORKSPACE_LIMIT
};
enum cudnnConvolutionBwdDataPreference_t {
  CUDNN_CONVOLUTION_BWD_DATA_NO_WORKSPACE,
  CUDNN_CONVOLUTION_BWD_DATA_PREFER_FASTEST,
  CUDNN_CONVOLUTION_BWD_DATA_SPECIFY_WORKSPACE_LIMIT
};

// A list has an algorithm twice, with and without Tensor Cores.
#define CAFFE_CUDNN_QUERY(Pass, Kind, KIND, First, Second, Third) \
inline cudnnStatus_t cudnnGetConvolution##Pass##Algorithm( \
    cudnnHandle_t handle, First first, Second second, \
    cudnnConvolutionDescriptor_t conv, Third third, \
    cudnnConvolution##Kind##Preference_t preference, size_t limit, \
    cudnnConvolution##Kind##Algo_t* algo) { \
  cudnnConvolution##Kind##AlgoPerf_t \
      found[2 * CUDNN_CONVOLUTION_##KIND##_ALGO_COUNT]; \
  int count = 0; \
  const cudnnStatus_t status = cudnnGetConvolution##Pass##Algorithm_v7( \
      handle, first, second, conv, third, \
      2 * CUDNN_CONVOLUTION_##KIND##_ALGO_COUNT, &count, found); \
  if (status != CUDNN_STATUS_SUCCESS) { return status; } \
  if (preference == CUDNN_CONVOLUTION_##KIND##_NO_WORKSPACE) { limit = 0; } \
  if (preference == CUDNN_CONVOLUTION_##KIND##_PREFER_FASTEST) { \
    limit = static_cast<size_t>(-1); \
  } \
  return caffe::cudnn::chooseAlgo(found, count, limit, \
      [=](cudnnConvolution##Kind##Algo_t candidate, size_t* bytes) { \
        return cudnnGetConvolution##Pass##WorkspaceSize( \
            handle, first, second, conv, third, candidate, bytes); \
      }, algo); \
}
CAFFE_CUDNN_QUERY(Forward, Fwd, FWD, cudnnTensorDescriptor_t,
    cudnnFilterDescriptor_t, cudnnTensorDescriptor_t)
CAFFE_CUDNN_QUERY(BackwardFilter, BwdFilter, BWD_FILTER,
    cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t)
CAFFE_CUDNN_QUERY(BackwardData, BwdData, BWD_DATA, cudnnFilterDescriptor_t,
    cudnnTensorDescriptor_t, cudnnTensorDescriptor_t)
#undef CAFFE_CUDNN_QUERY
#endif  // CUDNN_VERSION >= 8000
"""

CUDNN_MENDS = (
    Mend(
        "cudnn-8-queries",
        "cuDNN 8 has no query for an algorithm within a workspace limit",
        HEADER,
        (
            (
                # A fork may bring its own way from the new queries to the old.
                r"^#include <cudnn\.h>[^\n]*\n(?![\s\S]*cudnnGetConvolution)",
                r"\g<0>" + _QUERIES.replace("\\", r"\\"),
            ),
        ),
    ),
    Mend(
        "cudnn-8-errors",
        "cuDNN explains its errors itself, and cuDNN 9 has many more",
        HEADER,
        (
            (
                r"(?<!#if CUDNN_VERSION < 8000\n)"
                r"^inline const char\* cudnnGetErrorString\(cudnnStatus_t status\) \{\n"
                r"[\s\S]*?^\}\n",
                "#if CUDNN_VERSION < 8000\n" r"\g<0>" "#endif\n",
            ),
        ),
    ),
    Mend(
        "cudnn-8-float",
        "by default, cuDNN 8 rounds floats for Tensor Cores",
        HEADER,
        (
            (
                r"^( *)CUDNN_CHECK\(cudnnSetConvolution2dDescriptor\(\*(\w+),"
                r"[^;]*dataType<Dtype>::type\)\);\n(?!#if CUDNN_VERSION >= 8000\n)",
                r"\g<0>"
                "#if CUDNN_VERSION >= 8000\n"
                r"\1CUDNN_CHECK(cudnnSetConvolutionMathType(*\2, CUDNN_FMA_MATH));"
                "\n#endif\n",
            ),
        ),
    ),
    Mend(
        "cuda-13-thrust",
        "only nvcc finds Thrust's headers since CUDA 13, and this file uses nothing "
        "of it",
        "src/caffe/layers/cudnn_softmax_layer.cpp",
        (
            (
                r"(?<!#ifdef __CUDACC__\n)"
                r'^#include ["<]thrust/device_vector\.h[">][^\n]*\n',
                "#ifdef __CUDACC__\n" r"\g<0>" "#endif\n",
            ),
        ),
    ),
    Mend(
        "cudnn-8-version",
        "cuDNN 8 tells its version in cudnn_version.h; versions were compared as text",
        "cmake/Cuda.cmake",
        (
            (
                r"^( *)file\(READ \$\{CUDNN_INCLUDE\}/cudnn\.h "
                r"CUDNN_VERSION_FILE_CONTENTS\)\n(?! *if\(EXISTS )",
                r"\g<0>"
                r"\1if(EXISTS ${CUDNN_INCLUDE}/cudnn_version.h)"
                "\n"
                r"\1  file(READ ${CUDNN_INCLUDE}/cudnn_version.h "
                "CUDNN_VERSION_FILE_CONTENTS)\n"
                r"\1endif()"
                "\n",
            ),
            (
                r'^( *)string\(COMPARE LESS "\$\{CUDNN_VERSION_MAJOR\}" 3 '
                r"cuDNNVersionIncompatible\)\n *if\(cuDNNVersionIncompatible\)",
                r'\1if("${CUDNN_VERSION_MAJOR}" VERSION_LESS 3)',
            ),
        ),
    ),
)
