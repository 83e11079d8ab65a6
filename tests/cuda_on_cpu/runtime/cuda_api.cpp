// The functions of CUDA's runtime, cuBLAS and cuRAND that Caffe calls.

#include <cblas.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "cublas_v2.h"
#include "cuda_runtime.h"
#include "curand.h"
#include "state.hpp"

using cuda_on_cpu::DeviceIsMapped;

namespace cuda_on_cpu {
cudaError_t LastError(bool forget);
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
  case cudaSuccess:
    return "no error";
  case cudaErrorInvalidValue:
    return "invalid argument";
  case cudaErrorMemoryAllocation:
    return "out of memory";
  case cudaErrorInvalidConfiguration:
    return "invalid configuration argument";
  default:
    return "invalid device ordinal";
  }
}

cudaError_t cudaGetLastError() { return cuda_on_cpu::LastError(true); }
cudaError_t cudaPeekAtLastError() { return cuda_on_cpu::LastError(false); }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  std::memset(properties, 0, sizeof(*properties));
  std::strncpy(properties->name, "cuda_on_cpu", sizeof(properties->name) - 1);
  properties->warpSize = cuda_on_cpu::kWarp;
  properties->maxThreadsPerBlock = cuda_on_cpu::kMostThreads;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return cudaSuccess; }

cudaError_t cudaMalloc(void** address, size_t size) {
  *address = size ? cuda_on_cpu::AllocateDevice(size) : NULL;
  return *address || !size ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* address) {
  return cuda_on_cpu::FreeDevice(address) ? cudaSuccess :
      cudaErrorInvalidValue;
}
cudaError_t cudaMallocHost(void** address, size_t size) {
  *address = std::malloc(size);
  return *address ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* address) {
  std::free(address);
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes,
    const void* address) {
  attributes->device = 0;
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* target, const void* source, size_t size,
    cudaMemcpyKind kind) {
  const DeviceIsMapped mapped;
#ifndef __SANITIZE_ADDRESS__
  const bool from_device = cuda_on_cpu::IsDevice(source);
  const bool to_device = cuda_on_cpu::IsDevice(target);
  const bool from_wanted = kind == cudaMemcpyDeviceToHost ||
      kind == cudaMemcpyDeviceToDevice;
  const bool to_wanted = kind == cudaMemcpyHostToDevice ||
      kind == cudaMemcpyDeviceToDevice;
  if ((kind != cudaMemcpyDefault &&
       (from_device != from_wanted || to_device != to_wanted)) ||
      (from_device && !cuda_on_cpu::HostReads(source, size)) ||
      (to_device && !cuda_on_cpu::HostWrites(target, size))) {
    return cudaErrorInvalidValue;
  }
#endif
  std::memcpy(target, source, size);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t size,
    cudaMemcpyKind kind, cudaStream_t stream) {
  return cudaMemcpy(target, source, size, kind);
}
cudaError_t cudaMemset(void* target, int value, size_t size) {
  const DeviceIsMapped mapped;
  if (!cuda_on_cpu::HostWrites(target, size)) {
    return cudaErrorInvalidValue;
  }
  std::memset(target, value, size);
  return cudaSuccess;
}

// These handles are never dereferenced.
cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = reinterpret_cast<cublasHandle_t>(1);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t* stream) {
  *stream = 0;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  return CUBLAS_STATUS_SUCCESS;
}

namespace {

CBLAS_TRANSPOSE Transposed(cublasOperation_t operation) {
  return operation == CUBLAS_OP_N ? CblasNoTrans : CblasTrans;
}

template <typename T>
bool Writes(T* vector, int n, int step = 1) {
  return n == 0 ||
      cuda_on_cpu::HostWrites(vector, ((n - 1) * step + 1) * sizeof(T));
}
template <typename T>
bool Reads(const T* vector, int n, int step = 1) {
  return n == 0 ||
      cuda_on_cpu::HostReads(vector, ((n - 1) * step + 1) * sizeof(T));
}

}  // namespace

#define BLAS_NEEDS(condition) \
  const DeviceIsMapped mapped; \
  if (!(condition)) { \
    return CUBLAS_STATUS_EXECUTION_FAILED; \
  }

#define CUDA_ON_CPU_BLAS(S, s, T) \
cublasStatus_t cublas##S##gemm(cublasHandle_t handle, cublasOperation_t a_is, \
    cublasOperation_t b_is, int m, int n, int k, const T* alpha, const T* a, \
    int lda, const T* b, int ldb, const T* beta, T* c, int ldc) { \
  BLAS_NEEDS(Reads(a, m * k) && Reads(b, k * n) && Writes(c, m * n)); \
  cblas_##s##gemm(CblasColMajor, Transposed(a_is), Transposed(b_is), m, n, k, \
      *alpha, a, lda, b, ldb, *beta, c, ldc); \
  return CUBLAS_STATUS_SUCCESS; \
} \
cublasStatus_t cublas##S##gemv(cublasHandle_t handle, cublasOperation_t a_is, \
    int m, int n, const T* alpha, const T* a, int lda, const T* x, int incx, \
    const T* beta, T* y, int incy) { \
  const bool plain = a_is == CUBLAS_OP_N; \
  BLAS_NEEDS(Reads(a, m * n) && Reads(x, plain ? n : m, incx) && \
      Writes(y, plain ? m : n, incy)); \
  cblas_##s##gemv(CblasColMajor, Transposed(a_is), m, n, *alpha, a, lda, x, \
      incx, *beta, y, incy); \
  return CUBLAS_STATUS_SUCCESS; \
} \
cublasStatus_t cublas##S##axpy(cublasHandle_t handle, int n, const T* alpha, \
    const T* x, int incx, T* y, int incy) { \
  BLAS_NEEDS(Reads(x, n, incx) && Writes(y, n, incy)); \
  cblas_##s##axpy(n, *alpha, x, incx, y, incy); \
  return CUBLAS_STATUS_SUCCESS; \
} \
cublasStatus_t cublas##S##scal(cublasHandle_t handle, int n, const T* alpha, \
    T* x, int incx) { \
  BLAS_NEEDS(Writes(x, n, incx)); \
  cblas_##s##scal(n, *alpha, x, incx); \
  return CUBLAS_STATUS_SUCCESS; \
} \
cublasStatus_t cublas##S##dot(cublasHandle_t handle, int n, const T* x, \
    int incx, const T* y, int incy, T* result) { \
  BLAS_NEEDS(Reads(x, n, incx) && Reads(y, n, incy)); \
  *result = cblas_##s##dot(n, x, incx, y, incy); \
  return CUBLAS_STATUS_SUCCESS; \
} \
cublasStatus_t cublas##S##asum(cublasHandle_t handle, int n, const T* x, \
    int incx, T* result) { \
  BLAS_NEEDS(Reads(x, n, incx)); \
  *result = cblas_##s##asum(n, x, incx); \
  return CUBLAS_STATUS_SUCCESS; \
} \
cublasStatus_t cublas##S##copy(cublasHandle_t handle, int n, const T* x, \
    int incx, T* y, int incy) { \
  BLAS_NEEDS(Reads(x, n, incx) && Writes(y, n, incy)); \
  cblas_##s##copy(n, x, incx, y, incy); \
  return CUBLAS_STATUS_SUCCESS; \
}
CUDA_ON_CPU_BLAS(S, s, float)
CUDA_ON_CPU_BLAS(D, d, double)

struct CudaOnCpuGenerator {
  std::mt19937_64 numbers;
};

curandStatus_t curandCreateGenerator(curandGenerator_t* generator,
    curandRngType_t type) {
  *generator = new CudaOnCpuGenerator;
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandDestroyGenerator(curandGenerator_t generator) {
  delete generator;
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t generator,
    unsigned long long seed) {  // NOLINT(runtime/int)
  generator->numbers.seed(seed);
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetGeneratorOffset(curandGenerator_t generator,
    unsigned long long offset) {  // NOLINT(runtime/int)
  generator->numbers.discard(offset);
  return CURAND_STATUS_SUCCESS;
}

namespace {

template <typename T, typename Distribution>
curandStatus_t Generate(curandGenerator_t generator, T* target, size_t count,
    Distribution distribution) {
  const DeviceIsMapped mapped;
  if (!cuda_on_cpu::HostWrites(target, count * sizeof(T))) {
    return CURAND_STATUS_LAUNCH_FAILURE;
  }
  for (size_t i = 0; i < count; ++i) {
    target[i] = distribution(generator->numbers);
  }
  return CURAND_STATUS_SUCCESS;
}

}  // namespace

curandStatus_t curandGenerate(curandGenerator_t generator,
    unsigned int* target, size_t count) {
  return Generate(generator, target, count,
      std::uniform_int_distribution<unsigned int>());
}
curandStatus_t curandGenerateUniform(curandGenerator_t generator,
    float* target, size_t count) {
  return Generate(generator, target, count,
      std::uniform_real_distribution<float>());
}
curandStatus_t curandGenerateUniformDouble(curandGenerator_t generator,
    double* target, size_t count) {
  return Generate(generator, target, count,
      std::uniform_real_distribution<double>());
}
curandStatus_t curandGenerateNormal(curandGenerator_t generator,
    float* target, size_t count, float mean, float deviation) {
  return Generate(generator, target, count,
      std::normal_distribution<float>(mean, deviation));
}
curandStatus_t curandGenerateNormalDouble(curandGenerator_t generator,
    double* target, size_t count, double mean, double deviation) {
  return Generate(generator, target, count,
      std::normal_distribution<double>(mean, deviation));
}
