#ifndef CAFFE_RANDROP_SIMD_TARGETS_HPP_
#define CAFFE_RANDROP_SIMD_TARGETS_HPP_

// GCC's own: vectors with arithmetic operators and ?:, and an instruction set
// chosen per file.
#if defined(__GNUC__) && !defined(__clang__)
#define RANDROP_VECTOR_KERNELS
#ifdef __x86_64__
#define RANDROP_X86_KERNELS
#endif
#endif

#endif  // CAFFE_RANDROP_SIMD_TARGETS_HPP_
