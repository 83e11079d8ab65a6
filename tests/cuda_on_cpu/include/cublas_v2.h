#ifndef CUDA_ON_CPU_CUBLAS_V2_H_
#define CUDA_ON_CPU_CUBLAS_V2_H_

// The part of cuBLAS that Caffe's math functions call, based on the CPU's BLAS.

#include "cuda_runtime.h"

typedef struct CudaOnCpuBlas* cublasHandle_t;
enum cublasStatus_t {
  CUBLAS_STATUS_SUCCESS,
  CUBLAS_STATUS_NOT_INITIALIZED,
  CUBLAS_STATUS_ALLOC_FAILED,
  CUBLAS_STATUS_INVALID_VALUE,
  CUBLAS_STATUS_ARCH_MISMATCH,
  CUBLAS_STATUS_MAPPING_ERROR,
  CUBLAS_STATUS_EXECUTION_FAILED,
  CUBLAS_STATUS_INTERNAL_ERROR,
  CUBLAS_STATUS_NOT_SUPPORTED,
  CUBLAS_STATUS_LICENSE_ERROR
};
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };

cublasStatus_t cublasCreate(cublasHandle_t* handle);
cublasStatus_t cublasDestroy(cublasHandle_t handle);
cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t* stream);
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream);

#define CUDA_ON_CPU_BLAS(S, T) \
cublasStatus_t cublas##S##gemm(cublasHandle_t handle, cublasOperation_t a_is, \
    cublasOperation_t b_is, int m, int n, int k, const T* alpha, const T* a, \
    int lda, const T* b, int ldb, const T* beta, T* c, int ldc); \
cublasStatus_t cublas##S##gemv(cublasHandle_t handle, cublasOperation_t a_is, \
    int m, int n, const T* alpha, const T* a, int lda, const T* x, int incx, \
    const T* beta, T* y, int incy); \
cublasStatus_t cublas##S##axpy(cublasHandle_t handle, int n, const T* alpha, \
    const T* x, int incx, T* y, int incy); \
cublasStatus_t cublas##S##scal(cublasHandle_t handle, int n, const T* alpha, \
    T* x, int incx); \
cublasStatus_t cublas##S##dot(cublasHandle_t handle, int n, const T* x, \
    int incx, const T* y, int incy, T* result); \
cublasStatus_t cublas##S##asum(cublasHandle_t handle, int n, const T* x, \
    int incx, T* result); \
cublasStatus_t cublas##S##copy(cublasHandle_t handle, int n, const T* x, \
    int incx, T* y, int incy);
CUDA_ON_CPU_BLAS(S, float)
CUDA_ON_CPU_BLAS(D, double)
#undef CUDA_ON_CPU_BLAS

#endif  // CUDA_ON_CPU_CUBLAS_V2_H_
