#ifndef CAFFE_RANDROP_SIMD_CLONES_HPP_
#define CAFFE_RANDROP_SIMD_CLONES_HPP_

/**
 * @brief Marks a function to be compiled for several vector instruction sets;
 *        the program picks the processor's at startup.
 */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && \
    defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define RANDROP_VECTOR_CLONES \
    __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define RANDROP_VECTOR_CLONES
#endif

#endif  // CAFFE_RANDROP_SIMD_CLONES_HPP_
