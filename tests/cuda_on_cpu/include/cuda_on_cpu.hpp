#ifndef CUDA_ON_CPU_HPP_
#define CUDA_ON_CPU_HPP_

/**
 * CUDA C++ on a CPU, for tests.
 *
 * The threads of a block are fibers of one CPU thread; a barrier switches to
 * another. Blocks run one after the other. A seed (CUDA_ON_CPU_SEED) shuffles
 * the order of both. rewrite.py turns a .cu or .cuh file into C++ that uses the
 * declarations here; it changes nothing else.
 *
 * The kernels are compiled with -fsanitize=thread, but linked with our own
 * library (access.cpp), which sees every memory access and aborts on
 *  - a race: two threads access the same byte, at least one writes, not both
 *    accesses are atomic, and no barrier separates them (for two blocks: in the
 *    same kernel),
 *  - memory that is not the device's, is freed, or was never written,
 *  - shared memory that the block has not written.
 * It also aborts on a barrier that not all threads of a block reach, on a
 * shuffle with a lane that takes no part, and on host reads of device memory,
 * which is mapped only while a kernel runs.
 *
 * Not modelled: GPU rounding (fused multiply-add, its exp and log), memory that
 * other blocks see late, and speed.
 */

#include <stddef.h>
#include <stdint.h>

#include <tuple>
#include <type_traits>

#include "cuda_runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned int x, y, z;
};

struct dim3 {
  unsigned int x, y, z;
  dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1)
      : x(x), y(y), z(z) {}
};

const int warpSize = 32;

template <typename A, typename B>
typename std::common_type<A, B>::type max(A a, B b) { return a < b ? b : a; }
template <typename A, typename B>
typename std::common_type<A, B>::type min(A a, B b) { return b < a ? b : a; }

namespace cuda_on_cpu {

struct Builtins {
  uint3 thread, block;
  dim3 block_size, grid_size;
};
extern Builtins builtins;

/// @brief CUDA's limit on kernel parameters, in bytes.
const size_t kMostParameters = 4096;
const int kWarp = warpSize;

/// @brief A kernel launch: Launch(name, grid, block)(kernel, arguments).
class Launch {
 public:
  Launch(const char* name, dim3 grid, dim3 block, size_t dynamic_shared = 0,
      cudaStream_t stream = 0)
      : name_(name), grid_(grid), block_(block),
        dynamic_shared_(dynamic_shared) {}

  template <typename Kernel, typename... Arguments>
  void operator()(Kernel kernel, const Arguments&... arguments) {
    // Arguments are copied to the device byte by byte.
    static_assert((std::is_trivially_copyable<Arguments>::value && ...),
        "a kernel's parameters must be trivially copyable");
    typedef Call<Kernel, Arguments...> TheCall;
    static_assert(sizeof(TheCall) <= kMostParameters,
        "a kernel takes 4 KiB of parameters");
    const TheCall call = {std::tuple<Arguments...>(arguments...)};
    Run(&call, sizeof(call), &TheCall::RunThread);
  }

 private:
  template <typename Kernel, typename... Arguments>
  struct Call {
    std::tuple<Arguments...> arguments;

    static void RunThread(const void* call) {
      // A lambda without captures has no state, so it can be recreated.
      static_assert(std::is_empty<Kernel>::value, "what rewrite.py writes");
      std::apply(*static_cast<const Kernel*>(call),
          static_cast<const Call*>(call)->arguments);
    }
  };

  void Run(const void* call, size_t size, void (*thread)(const void*));

  const char* name_;
  dim3 grid_, block_;
  size_t dynamic_shared_;
};

/// @brief While one is alive, launches run only this many of their first and of
///        their last blocks: for index tests on grids of millions.
class OnlyOuterBlocks {
 public:
  explicit OnlyOuterBlocks(int blocks);
  ~OnlyOuterBlocks();
};

/// @brief From here on, this seed determines the order of threads and blocks.
void SetSeed(uint64_t seed);

void* SharedMemory(const void* key, size_t size, size_t alignment);
void* DynamicSharedMemory();

template <typename T, typename Key>
T& Shared(Key) {
  typedef typename std::remove_all_extents<T>::type Element;
  static_assert(std::is_trivially_default_constructible<Element>::value,
      "a shared variable has no initialisation");
  static const char key = 0;
  return *static_cast<T*>(SharedMemory(&key, sizeof(T), alignof(T)));
}
template <typename T>
T* DynamicShared() { return static_cast<T*>(DynamicSharedMemory()); }

enum Collective { BARRIER, WARP_BARRIER, SHUFFLE, VOTE, RUNNING, DONE };

void BlockBarrier(const char* file, int line);
/// @brief Waits until all lanes of `mask` have passed a value of `size` bytes;
///        returns the values, 8 bytes for each lane of the warp.
const uint64_t* MeetLanes(Collective what, unsigned int mask,
    const void* value, size_t size, const char* file, int line);
/// @brief The lane to read from; aborts if it takes no part.
int CheckedLane(int lane, unsigned int mask);

template <typename T>
__attribute__((no_sanitize_thread, noinline))
T Shuffle(unsigned int mask, T value, int from, const char* file, int line) {
  static_assert(sizeof(T) <= 8, "a shuffle takes up to 8 bytes");
  const uint64_t* values =
      MeetLanes(SHUFFLE, mask, &value, sizeof(T), file, line);
  T result;
  __builtin_memcpy(&result, values + CheckedLane(from, mask), sizeof(T));
  return result;
}

[[noreturn]] void Trap(const char* file, int line);

unsigned int Ballot(unsigned int mask, int predicate, const char* file,
    int line);
int Lane();
/// @brief Source lanes of shuffles by an offset, within groups of `width`.
int LaneUp(int lane, int by, int width);
int LaneDown(int lane, int by, int width);
int LaneXor(int lane, int by, int width);
int LaneOf(int lane, int from, int width);

void AtomicAccess(const void* address, size_t size);

#define CUDA_ON_CPU_ATOMIC(name, expression) \
template <typename T, typename U> \
__attribute__((no_sanitize_thread, noinline)) \
T name(T* address, U operand) { \
  AtomicAccess(address, sizeof(T)); \
  const T value = static_cast<T>(operand); \
  const T old = *address; \
  *address = (expression); \
  return old; \
}
CUDA_ON_CPU_ATOMIC(Add, old + value)
CUDA_ON_CPU_ATOMIC(Sub, old - value)
CUDA_ON_CPU_ATOMIC(Min, value < old ? value : old)
CUDA_ON_CPU_ATOMIC(Max, value > old ? value : old)
CUDA_ON_CPU_ATOMIC(And, old & value)
CUDA_ON_CPU_ATOMIC(Or, old | value)
CUDA_ON_CPU_ATOMIC(Xor, old ^ value)
CUDA_ON_CPU_ATOMIC(Exch, value)

template <typename T>
__attribute__((no_sanitize_thread, noinline))
T CompareAndSwap(T* address, T compare, T value) {
  AtomicAccess(address, sizeof(T));
  const T old = *address;
  if (old == compare) {
    *address = value;
  }
  return old;
}

/// @brief Whether the environment (CUDA_ON_CPU_MUTANT) asks for this fault, in
///        sources rewritten with --mutants.
bool Mutant(int number);
/// @brief A non-atomic addition, as a fault.
template <typename T, typename U>
T PlainAdd(T* address, U value) {
  const T old = *address;
  *address = old + static_cast<T>(value);
  return old;
}

}  // namespace cuda_on_cpu

#define threadIdx (::cuda_on_cpu::builtins.thread)
#define blockIdx (::cuda_on_cpu::builtins.block)
#define blockDim (::cuda_on_cpu::builtins.block_size)
#define gridDim (::cuda_on_cpu::builtins.grid_size)

#define __syncthreads() ::cuda_on_cpu::BlockBarrier(__FILE__, __LINE__)
#define CUDA_ON_CPU_ALL 0xffffffffu
#define CUDA_ON_CPU_MASK(mask, ...) mask
#define __syncwarp(...) \
  ((void)::cuda_on_cpu::MeetLanes(::cuda_on_cpu::WARP_BARRIER, \
      CUDA_ON_CPU_MASK(__VA_ARGS__ __VA_OPT__(,) CUDA_ON_CPU_ALL), \
      0, 0, __FILE__, __LINE__))
#define CUDA_ON_CPU_SHUFFLE(lanes, mask, value, by, width, ...) \
  ::cuda_on_cpu::Shuffle(mask, value, ::cuda_on_cpu::lanes( \
      ::cuda_on_cpu::Lane(), by, width), __FILE__, __LINE__)
#define __shfl_sync(mask, ...) \
  CUDA_ON_CPU_SHUFFLE(LaneOf, mask, __VA_ARGS__, warpSize, 0)
#define __shfl_up_sync(mask, ...) \
  CUDA_ON_CPU_SHUFFLE(LaneUp, mask, __VA_ARGS__, warpSize, 0)
#define __shfl_down_sync(mask, ...) \
  CUDA_ON_CPU_SHUFFLE(LaneDown, mask, __VA_ARGS__, warpSize, 0)
#define __shfl_xor_sync(mask, ...) \
  CUDA_ON_CPU_SHUFFLE(LaneXor, mask, __VA_ARGS__, warpSize, 0)
#define __ballot_sync(mask, predicate) \
  ::cuda_on_cpu::Ballot(mask, predicate, __FILE__, __LINE__)
#define __any_sync(mask, predicate) (__ballot_sync(mask, predicate) != 0)
#define __all_sync(mask, predicate) \
  (__ballot_sync(mask, !(predicate)) == 0)

#define __trap() ::cuda_on_cpu::Trap(__FILE__, __LINE__)

#define atomicAdd ::cuda_on_cpu::Add
#define atomicSub ::cuda_on_cpu::Sub
#define atomicMin ::cuda_on_cpu::Min
#define atomicMax ::cuda_on_cpu::Max
#define atomicAnd ::cuda_on_cpu::And
#define atomicOr ::cuda_on_cpu::Or
#define atomicXor ::cuda_on_cpu::Xor
#define atomicExch ::cuda_on_cpu::Exch
#define atomicCAS ::cuda_on_cpu::CompareAndSwap

#endif  // CUDA_ON_CPU_HPP_
