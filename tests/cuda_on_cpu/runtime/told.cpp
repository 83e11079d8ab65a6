// The functions that -fsanitize=thread calls before each memory access, in
// place of its own library.

#include "state.hpp"

#ifndef __SANITIZE_ADDRESS__

#define CUDA_ON_CPU_TOLD(name, kind, size) \
extern "C" void __tsan_##name(void* address) { \
  if (cuda_on_cpu::state.in_kernel) { \
    cuda_on_cpu::Check(cuda_on_cpu::kind, \
        reinterpret_cast<uintptr_t>(address), size, \
        __builtin_return_address(0)); \
  } \
}
#define CUDA_ON_CPU_TOLD_SIZE(size) \
CUDA_ON_CPU_TOLD(read##size, READ, size) \
CUDA_ON_CPU_TOLD(write##size, WRITE, size) \
CUDA_ON_CPU_TOLD(unaligned_read##size, READ, size) \
CUDA_ON_CPU_TOLD(unaligned_write##size, WRITE, size)
CUDA_ON_CPU_TOLD_SIZE(1)
CUDA_ON_CPU_TOLD_SIZE(2)
CUDA_ON_CPU_TOLD_SIZE(4)
CUDA_ON_CPU_TOLD_SIZE(8)
CUDA_ON_CPU_TOLD_SIZE(16)

#define CUDA_ON_CPU_TOLD_RANGE(name, kind) \
extern "C" void __tsan_##name(void* address, size_t size) { \
  if (cuda_on_cpu::state.in_kernel) { \
    cuda_on_cpu::Check(cuda_on_cpu::kind, \
        reinterpret_cast<uintptr_t>(address), size, \
        __builtin_return_address(0)); \
  } \
}
CUDA_ON_CPU_TOLD_RANGE(read_range, READ)
CUDA_ON_CPU_TOLD_RANGE(write_range, WRITE)

extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}

// Host code in the same files uses these for reference counts.
#define CUDA_ON_CPU_HOST_ATOMICS(bits) \
typedef uint##bits##_t u##bits; \
extern "C" u##bits __tsan_atomic##bits##_load(const volatile u##bits* a, \
    int order) { \
  return __atomic_load_n(a, __ATOMIC_SEQ_CST); \
} \
extern "C" void __tsan_atomic##bits##_store(volatile u##bits* a, u##bits v, \
    int order) { \
  __atomic_store_n(a, v, __ATOMIC_SEQ_CST); \
} \
extern "C" u##bits __tsan_atomic##bits##_fetch_add(volatile u##bits* a, \
    u##bits v, int order) { \
  return __atomic_fetch_add(a, v, __ATOMIC_SEQ_CST); \
} \
extern "C" u##bits __tsan_atomic##bits##_fetch_sub(volatile u##bits* a, \
    u##bits v, int order) { \
  return __atomic_fetch_sub(a, v, __ATOMIC_SEQ_CST); \
} \
extern "C" int __tsan_atomic##bits##_compare_exchange_strong( \
    volatile u##bits* a, u##bits* expected, u##bits v, int order, int other) { \
  return __atomic_compare_exchange_n(a, expected, v, false, \
      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
}
CUDA_ON_CPU_HOST_ATOMICS(8)
CUDA_ON_CPU_HOST_ATOMICS(32)
CUDA_ON_CPU_HOST_ATOMICS(64)

#endif  // __SANITIZE_ADDRESS__
