#ifndef CAFFE_RANDROP_MATH_HOST_DEVICE_HPP_
#define CAFFE_RANDROP_MATH_HOST_DEVICE_HPP_

// Functions marked so are compiled for the CPU by the C++ compiler and for both
// sides by nvcc: one text for .cpp and .cu.
#ifdef __CUDACC__
#define RANDROP_HOST_DEVICE __host__ __device__
#else
#define RANDROP_HOST_DEVICE
#endif

#endif  // CAFFE_RANDROP_MATH_HOST_DEVICE_HPP_
