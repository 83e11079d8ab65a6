#ifndef CUDA_ON_CPU_STATE_HPP_
#define CUDA_ON_CPU_STATE_HPP_

#include <stddef.h>
#include <stdint.h>

#include <string>

#include "cuda_on_cpu.hpp"

namespace cuda_on_cpu {

const int kMostThreads = 1024;

/// @brief What runs now, for whoever looks at an access to memory. Times are
///        counted in things that bring threads together.
struct State {
  bool in_kernel;
  int thread;          // within the block, counted
  uint64_t now;
  uint64_t launch_begin, block_begin;
  uint64_t barrier;    // the last of the block
  uint64_t warp_barrier[kMostThreads / kWarp];  // the last of all lanes
  uintptr_t stack, stack_size;       // of the thread
  uintptr_t parameters, parameters_size;
};
extern State state;

/// @brief Says what is wrong, where and how to repeat it, and ends.
[[noreturn]] void Fail(const std::string& what, const void* code = NULL);

/// @brief The next number of the seed's, less than `below`.
uint64_t Draw(uint32_t below);
enum Kind { READ, WRITE, ATOMIC };
/// @brief Stops at an access that is wrong, and remembers one that is not.
void Check(Kind kind, uintptr_t address, size_t size, const void* code);

/// @brief What runs just this again; main.cpp knows the test.
std::string RepeatLine();

/// @brief The device's memory can be read and written while one is alive.
class DeviceIsMapped {
 public:
  DeviceIsMapped();
  ~DeviceIsMapped();
};

/// @brief Notes that the host or a library wrote to the device's memory, or
///        reads it; false where that is not all allocated.
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
