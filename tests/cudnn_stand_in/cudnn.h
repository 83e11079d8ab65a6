#ifndef CUDNN_STAND_IN_CUDNN_H_
#define CUDNN_STAND_IN_CUDNN_H_

// What Caffe's convolution layers use of cuDNN, as versions 5 to 9 declare it, for
// tests on machines without cuDNN. CUDNN_STAND_IN is the major version.

#include <cuda_runtime.h>

// What Caffe's core and our layers do without, and the emulation thus has not.
cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);

#define CUDNN_MAJOR CUDNN_STAND_IN
#if CUDNN_STAND_IN < 9
#define CUDNN_VERSION (CUDNN_MAJOR * 1000 + 100)
#else
#define CUDNN_VERSION (CUDNN_MAJOR * 10000 + 100)
#endif

extern "C" {

typedef struct cudnnContext* cudnnHandle_t;
typedef struct cudnnTensorStruct* cudnnTensorDescriptor_t;
typedef struct cudnnFilterStruct* cudnnFilterDescriptor_t;
typedef struct cudnnConvolutionStruct* cudnnConvolutionDescriptor_t;
typedef struct cudnnPoolingStruct* cudnnPoolingDescriptor_t;
typedef struct cudnnActivationStruct* cudnnActivationDescriptor_t;

enum cudnnStatus_t {
  CUDNN_STATUS_SUCCESS = 0,
#if CUDNN_STAND_IN < 9
  CUDNN_STATUS_NOT_INITIALIZED,
  CUDNN_STATUS_ALLOC_FAILED,
  CUDNN_STATUS_BAD_PARAM,
  CUDNN_STATUS_INTERNAL_ERROR,
  CUDNN_STATUS_INVALID_VALUE,
  CUDNN_STATUS_ARCH_MISMATCH,
  CUDNN_STATUS_MAPPING_ERROR,
  CUDNN_STATUS_EXECUTION_FAILED,
  CUDNN_STATUS_NOT_SUPPORTED,
  CUDNN_STATUS_LICENSE_ERROR,
#if CUDNN_STAND_IN >= 6
  CUDNN_STATUS_RUNTIME_PREREQUISITE_MISSING,
#endif
#if CUDNN_STAND_IN >= 7
  CUDNN_STATUS_RUNTIME_IN_PROGRESS,
  CUDNN_STATUS_RUNTIME_FP_OVERFLOW,
#endif
#else
  CUDNN_STATUS_NOT_INITIALIZED = 1001,
  CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED = 1008,
  CUDNN_STATUS_BAD_PARAM = 2000,
  CUDNN_STATUS_NOT_SUPPORTED = 3000,
  CUDNN_STATUS_INTERNAL_ERROR = 4000,
  CUDNN_STATUS_EXECUTION_FAILED = 5000
#endif
};
// All versions have it.
const char* cudnnGetErrorString(cudnnStatus_t status);

enum cudnnDataType_t { CUDNN_DATA_FLOAT, CUDNN_DATA_DOUBLE };
enum cudnnTensorFormat_t { CUDNN_TENSOR_NCHW };
enum cudnnConvolutionMode_t { CUDNN_CONVOLUTION, CUDNN_CROSS_CORRELATION };
enum cudnnNanPropagation_t { CUDNN_NOT_PROPAGATE_NAN, CUDNN_PROPAGATE_NAN };
enum cudnnPoolingMode_t {
  CUDNN_POOLING_MAX,
  CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING
};
enum cudnnActivationMode_t { CUDNN_ACTIVATION_SIGMOID, CUDNN_ACTIVATION_RELU };
enum cudnnConvolutionFwdAlgo_t {
  CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
  CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
  CUDNN_CONVOLUTION_FWD_ALGO_GEMM,
  CUDNN_CONVOLUTION_FWD_ALGO_DIRECT,
  CUDNN_CONVOLUTION_FWD_ALGO_FFT,
  CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING,
  CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD,
  CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED,
  CUDNN_CONVOLUTION_FWD_ALGO_COUNT
};
enum cudnnConvolutionBwdFilterAlgo_t {
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT
};
enum cudnnConvolutionBwdDataAlgo_t {
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT
};

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle);
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle);
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream);

#define CUDNN_STAND_IN_DESCRIPTOR(Name) \
cudnnStatus_t cudnnCreate##Name##Descriptor(cudnn##Name##Descriptor_t*); \
cudnnStatus_t cudnnDestroy##Name##Descriptor(cudnn##Name##Descriptor_t);
CUDNN_STAND_IN_DESCRIPTOR(Tensor)
CUDNN_STAND_IN_DESCRIPTOR(Filter)
CUDNN_STAND_IN_DESCRIPTOR(Convolution)
CUDNN_STAND_IN_DESCRIPTOR(Pooling)
CUDNN_STAND_IN_DESCRIPTOR(Activation)

cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t,
    cudnnDataType_t, int, int, int, int, int, int, int, int);
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t,
    cudnnDataType_t, cudnnTensorFormat_t, int, int, int, int);
cudnnStatus_t cudnnSetPooling2dDescriptor(cudnnPoolingDescriptor_t,
    cudnnPoolingMode_t, cudnnNanPropagation_t, int, int, int, int, int, int);
cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t,
    cudnnActivationMode_t, cudnnNanPropagation_t, double);
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t,
    int, int, int, int, int, int, cudnnConvolutionMode_t
#if CUDNN_STAND_IN >= 6
    , cudnnDataType_t
#endif
);  // NOLINT(whitespace/parens)

#if CUDNN_STAND_IN >= 7
enum cudnnMathType_t {
  CUDNN_DEFAULT_MATH,
  CUDNN_TENSOR_OP_MATH,
  CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION,
#if CUDNN_STAND_IN >= 8
  CUDNN_FMA_MATH
#endif
};
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t,
    cudnnMathType_t);
#endif

// The three queries: by a limit until 7, as a list since then.
#if CUDNN_STAND_IN < 8
#define CUDNN_STAND_IN_BY_LIMIT(Pass, Kind, KIND, First, Second, Third) \
enum cudnnConvolution##Kind##Preference_t { \
  CUDNN_CONVOLUTION_##KIND##_NO_WORKSPACE, \
  CUDNN_CONVOLUTION_##KIND##_PREFER_FASTEST, \
  CUDNN_CONVOLUTION_##KIND##_SPECIFY_WORKSPACE_LIMIT \
}; \
cudnnStatus_t cudnnGetConvolution##Pass##Algorithm(cudnnHandle_t, First, \
    Second, cudnnConvolutionDescriptor_t, Third, \
    cudnnConvolution##Kind##Preference_t, size_t, \
    cudnnConvolution##Kind##Algo_t*);
#else
#define CUDNN_STAND_IN_BY_LIMIT(Pass, Kind, KIND, First, Second, Third)
#endif
#if CUDNN_STAND_IN >= 7
#define CUDNN_STAND_IN_LIST(Pass, Kind, First, Second, Third) \
struct cudnnConvolution##Kind##AlgoPerf_t { \
  cudnnConvolution##Kind##Algo_t algo; \
  cudnnStatus_t status; \
  float time; \
  size_t memory; \
  int determinism; \
  cudnnMathType_t mathType; \
  int reserved[3]; \
}; \
cudnnStatus_t cudnnGetConvolution##Pass##Algorithm_v7(cudnnHandle_t, First, \
    Second, cudnnConvolutionDescriptor_t, Third, int, int*, \
    cudnnConvolution##Kind##AlgoPerf_t*);
#else
#define CUDNN_STAND_IN_LIST(Pass, Kind, First, Second, Third)
#endif
#define CUDNN_STAND_IN_QUERY(Pass, Kind, KIND, First, Second, Third) \
CUDNN_STAND_IN_BY_LIMIT(Pass, Kind, KIND, First, Second, Third) \
CUDNN_STAND_IN_LIST(Pass, Kind, First, Second, Third) \
cudnnStatus_t cudnnGetConvolution##Pass##WorkspaceSize(cudnnHandle_t, First, \
    Second, cudnnConvolutionDescriptor_t, Third, \
    cudnnConvolution##Kind##Algo_t, size_t*);
CUDNN_STAND_IN_QUERY(Forward, Fwd, FWD, cudnnTensorDescriptor_t,
    cudnnFilterDescriptor_t, cudnnTensorDescriptor_t)
CUDNN_STAND_IN_QUERY(BackwardFilter, BwdFilter, BWD_FILTER,
    cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t)
CUDNN_STAND_IN_QUERY(BackwardData, BwdData, BWD_DATA, cudnnFilterDescriptor_t,
    cudnnTensorDescriptor_t, cudnnTensorDescriptor_t)

}  // extern "C"

#endif  // CUDNN_STAND_IN_CUDNN_H_
