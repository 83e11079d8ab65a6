#ifndef CUDA_ON_CPU_STATE_HPP_
#define CUDA_ON_CPU_STATE_HPP_

#include <stddef.h>
#include <stdint.h>

#include <string>

#include "cuda_on_cpu.hpp"

namespace cuda_on_cpu {

const int kMostThreads = 1024;

/// @brief What runs now, for checks of memory accesses. Time counts the events
///        that synchronise threads.
struct State {
  bool in_kernel;
  int thread;          // number within the block
  uint64_t now;
  uint64_t launch_begin, block_begin;
  uint64_t barrier;    // last one of the block
  uint64_t warp_barrier[kMostThreads / kWarp];  // last one of all lanes
  uintptr_t stack, stack_size;       // of the thread
  uintptr_t parameters, parameters_size;
};
extern State state;

/// @brief Says what is wrong, where and how to repeat it, and exits.
[[noreturn]] void Fail(const std::string& what, const void* code = NULL);

/// @brief The seed's next random number, less than `below`.
uint64_t Draw(uint32_t below);
enum Kind { READ, WRITE, ATOMIC };
/// @brief Aborts on a faulty access and records a correct one.
void Check(Kind kind, uintptr_t address, size_t size, const void* code);

/// @brief The command that repeats just this test (from main.cpp).
std::string RepeatLine();

/// @brief While one is alive, device memory can be read and written.
class DeviceIsMapped {
 public:
  DeviceIsMapped();
  ~DeviceIsMapped();
};

/// @brief Records that the host or a library wrote to or reads device memory;
///        false if not all of it is allocated.
bool HostWrites(void* address, size_t size);
bool HostReads(const void* address, size_t size);
bool IsDevice(const void* address);
void* AllocateDevice(size_t size);
bool FreeDevice(void* address);
/// @brief Memory for the shared variables of a block.
void BeginShared(size_t dynamic);
void ClearShared();

}  // namespace cuda_on_cpu

#endif  // CUDA_ON_CPU_STATE_HPP_
