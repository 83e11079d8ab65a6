#ifndef CAFFE_RANDROP_MATH_HOST_DEVICE_HPP_
#define CAFFE_RANDROP_MATH_HOST_DEVICE_HPP_

// The C++ compiler compiles functions marked RANDROP_HOST_DEVICE for the CPU,
// nvcc for both CPU and GPU: one source for .cpp and .cu.
#ifdef __CUDACC__
#define RANDROP_HOST_DEVICE __host__ __device__
#elif defined(__GNUC__)
// Always inlined: a file of simd/ compiles these functions for its instruction
// set, and the linker must not use them for all processors.
#define RANDROP_HOST_DEVICE __attribute__((always_inline))
#else
#define RANDROP_HOST_DEVICE
#endif

#endif  // CAFFE_RANDROP_MATH_HOST_DEVICE_HPP_
