#ifndef CUDA_ON_CPU_CUDA_RUNTIME_H_
#define CUDA_ON_CPU_CUDA_RUNTIME_H_

// The part of CUDA's runtime that Caffe's core and our layers call. Host code
// includes this header, so it declares only CUDA's names.

#include <stddef.h>

#define CUDART_VERSION 13000
#define CUDA_VERSION 13000

typedef struct CudaOnCpuStream* cudaStream_t;
typedef struct CudaOnCpuEvent* cudaEvent_t;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidDevice = 101
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlock, memPitch, totalConstMem;
  size_t textureAlignment;
  int regsPerBlock, warpSize, maxThreadsPerBlock, maxThreadsDim[3];
  int maxGridSize[3], major, minor, multiProcessorCount;
};
struct cudaPointerAttributes {
  int device;
};
enum { cudaStreamDefault = 0, cudaStreamNonBlocking = 1 };

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMalloc(void** address, size_t size);
template <typename T>
cudaError_t cudaMalloc(T** address, size_t size) {
  return cudaMalloc(reinterpret_cast<void**>(address), size);
}
cudaError_t cudaFree(void* address);
cudaError_t cudaMallocHost(void** address, size_t size);
cudaError_t cudaFreeHost(void* address);
cudaError_t cudaMemcpy(void* target, const void* source, size_t size,
    cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t size,
    cudaMemcpyKind kind, cudaStream_t stream = 0);
cudaError_t cudaMemset(void* target, int value, size_t size);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes,
    const void* address);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);

#endif  // CUDA_ON_CPU_CUDA_RUNTIME_H_
