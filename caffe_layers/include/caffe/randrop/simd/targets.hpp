#ifndef CAFFE_RANDROP_SIMD_TARGETS_HPP_
#define CAFFE_RANDROP_SIMD_TARGETS_HPP_

// GCC and Clang: vectors with arithmetic operators and ?:, and an instruction
// set chosen for each file.
#ifdef __GNUC__
#define RANDROP_VECTOR_KERNELS
#ifdef __x86_64__
#define RANDROP_X86_KERNELS
#endif
#endif

#endif  // CAFFE_RANDROP_SIMD_TARGETS_HPP_
