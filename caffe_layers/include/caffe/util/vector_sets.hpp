#ifndef CAFFE_UTIL_VECTOR_SETS_HPP_
#define CAFFE_UTIL_VECTOR_SETS_HPP_

// Vectors with the operators of numbers, among them ?:, and a set of
// instructions for a file are GCC's.
#if defined(__GNUC__) && !defined(__clang__)
#define CAFFE_VECTOR_KERNELS
#ifdef __x86_64__
#define CAFFE_X86_KERNELS
#endif
#endif

#endif  // CAFFE_UTIL_VECTOR_SETS_HPP_
