// The threads of a block as fibers; barriers and the exchange within a warp.

#include <sys/mman.h>

#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>

#include <algorithm>
#include <sstream>
#include <vector>

#include "cuda_runtime.h"
#include "state.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_on_cpu {

namespace context = boost::context;

Builtins builtins;
State state;

namespace {

const size_t kStack = 256 << 10;
const size_t kGuard = 4 << 10;
const size_t kStep = 7 * 64;

struct Thread {
  context::fiber fiber;
  Collective waits;     // what it waits at; RUNNING: nothing
  const char* file;
  int line;
  unsigned int mask;
  uint64_t value;
  uint64_t values[kWarp];
};

const char* kernel = "";
cudaError_t last_error = cudaSuccess;
int outer_blocks = 0;
const void* call = NULL;
void (*body)(const void*) = NULL;
int threads = 0;
Thread* pool = NULL;
char* stacks = NULL;
context::fiber host;
std::vector<int> ready;
#ifdef __SANITIZE_ADDRESS__
void* host_fake_stack = NULL;
const void* host_stack = NULL;
size_t host_stack_size = 0;
#endif

// We own the stacks and keep them.
struct KeptStack {
  void deallocate(context::stack_context& stack) {}  // NOLINT
};

void ToHost() {
#ifdef __SANITIZE_ADDRESS__
  void* fake_stack = NULL;
  __sanitizer_start_switch_fiber(&fake_stack, host_stack, host_stack_size);
  host = std::move(host).resume();
  __sanitizer_finish_switch_fiber(fake_stack, &host_stack, &host_stack_size);
#else
  host = std::move(host).resume();
#endif
}

context::fiber RunThreads(context::fiber&& from) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(NULL, &host_stack, &host_stack_size);
#endif
  host = std::move(from);
  while (true) {
    body(call);
    pool[state.thread].waits = DONE;
    ToHost();
  }
}

void MakePool() {
  stacks = static_cast<char*>(mmap(NULL, kMostThreads * kStack,
      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
      0));
  if (stacks == MAP_FAILED) {
    Fail("no memory for the threads' stacks");
  }
  pool = new Thread[kMostThreads];
  for (int t = 0; t < kMostThreads; ++t) {
    mprotect(stacks + t * kStack, kGuard, PROT_NONE);
    // Stacks that end at similar addresses would evict each other from the
    // cache.
    const size_t apart = t * kStep % (kStack / 4);
    context::stack_context stack;
    stack.size = kStack - kGuard - apart;
    stack.sp = stacks + (t + 1) * kStack - apart;
    pool[t].fiber = context::fiber(std::allocator_arg,
        context::preallocated(stack.sp, stack.size, stack), KeptStack(),
        RunThreads);
  }
}

void Resume(int t) {
  state.thread = t;
  state.stack = reinterpret_cast<uintptr_t>(stacks + t * kStack);
  state.stack_size = kStack;
  const dim3 size = builtins.block_size;
  builtins.thread.x = t % size.x;
  builtins.thread.y = t / size.x % size.y;
  builtins.thread.z = t / (size.x * size.y);
  state.in_kernel = true;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&host_fake_stack,
      stacks + t * kStack + kGuard, kStack - kGuard);
  pool[t].fiber = std::move(pool[t].fiber).resume();
  __sanitizer_finish_switch_fiber(host_fake_stack, NULL, NULL);
#else
  pool[t].fiber = std::move(pool[t].fiber).resume();
#endif
  state.in_kernel = false;
}

void Release(int t) {
  pool[t].waits = RUNNING;
  ready.push_back(t);
}

std::string Place(int t) {
  std::ostringstream text;
  text << "thread " << t;
  switch (pool[t].waits) {
  case DONE:
    text << " has finished";
    break;
  case RUNNING:
    text << " runs";
    break;
  default:
    text << (pool[t].waits == BARRIER ? " is at the barrier of " :
        " exchanges with its warp at ") << pool[t].file << ":"
        << pool[t].line;
  }
  return text.str();
}

bool AtTheSame(const Thread& a, const Thread& b) {
  return a.waits == b.waits &&
      (a.waits == DONE || (a.line == b.line && a.file == b.file));
}

// No thread can run: either all are done, or all are at one barrier.
void MeetOrFail() {
  for (int t = 0; t < threads; ++t) {
    const bool in_a_warp = pool[t].waits != BARRIER && pool[t].waits != DONE;
    for (int lane = 0; in_a_warp && lane < kWarp; ++lane) {
      const int other = t / kWarp * kWarp + lane;
      if (pool[t].mask >> lane & 1 &&
          (other >= threads || !AtTheSame(pool[other], pool[t]))) {
        state.thread = t;
        Fail(Place(t) + " and waits for lane " + std::to_string(lane) + ": " +
            (other < threads ? Place(other) : "the block has no such thread"));
      }
    }
    if (!in_a_warp && !AtTheSame(pool[t], pool[0])) {
      state.thread = t;
      Fail("the threads of the block part at a barrier: " + Place(0) + ", " +
          Place(t));
    }
  }
  if (pool[0].waits == DONE) {
    return;
  }
  state.barrier = ++state.now;
  for (int t = 0; t < threads; ++t) {
    Release(t);
  }
}

void RunBlock(uint64_t number) {
  const dim3 size = builtins.grid_size;
  builtins.block.x = number % size.x;
  builtins.block.y = number / size.x % size.y;
  builtins.block.z = number / size.x / size.y;
  state.block_begin = state.barrier = ++state.now;
  std::fill_n(state.warp_barrier, kMostThreads / kWarp, state.now);
  ClearShared();
  ready.clear();
  for (int t = 0; t < threads; ++t) {
    Release(t);
  }
  while (!ready.empty()) {
    std::swap(ready[Draw(ready.size())], ready.back());
    const int t = ready.back();
    ready.pop_back();
    Resume(t);
    if (ready.empty()) {
      MeetOrFail();
    }
  }
}

uint64_t CommonDivisor(uint64_t a, uint64_t b) {
  return b == 0 ? a : CommonDivisor(b, a % b);
}

}  // namespace

std::string Where() {
  std::ostringstream text;
  if (!state.in_kernel && kernel[0] == 0) {
    return "cuda_on_cpu";
  }
  const uint3 b = builtins.block;
  text << "cuda_on_cpu: " << kernel << ", block " << b.x;
  if (builtins.grid_size.y * builtins.grid_size.z > 1) {
    text << ", " << b.y << ", " << b.z;
  }
  text << " of " << builtins.grid_size.x << ", thread " << state.thread
      << " of " << threads;
  return text.str();
}

cudaError_t LastError(bool forget) {
  const cudaError_t error = last_error;
  last_error = forget ? cudaSuccess : last_error;
  return error;
}

OnlyOuterBlocks::OnlyOuterBlocks(int blocks) { outer_blocks = blocks; }
OnlyOuterBlocks::~OnlyOuterBlocks() { outer_blocks = 0; }

void Launch::Run(const void* the_call, size_t size,
    void (*thread)(const void*)) {
  const uint64_t a_block =
      static_cast<uint64_t>(block_.x) * block_.y * block_.z;
  const uint64_t blocks = static_cast<uint64_t>(grid_.x) * grid_.y * grid_.z;
  if (blocks == 0 || grid_.x > 0x7fffffffu || grid_.y > 65535 ||
      grid_.z > 65535 || blocks > 0xffffffffu || a_block == 0 || a_block > kMostThreads ||
      block_.z > 64) {
    last_error = cudaErrorInvalidConfiguration;
    return;
  }
  if (!pool) {
    MakePool();
  }
  const DeviceIsMapped mapped;
  kernel = name_;
  call = the_call;
  body = thread;
  threads = a_block;
  builtins.grid_size = grid_;
  builtins.block_size = block_;
  state.parameters = reinterpret_cast<uintptr_t>(the_call);
  state.parameters_size = size;
  state.launch_begin = ++state.now;
  BeginShared(dynamic_shared_);
  // Visits all blocks in steps that are coprime to their number.
  uint64_t step = 1 + Draw(blocks);
  while (CommonDivisor(step, blocks) != 1) {
    ++step;
  }
  const uint64_t first = Draw(blocks);
  const uint64_t few = 2 * static_cast<uint64_t>(outer_blocks);
  if (few > 0 && few < blocks) {
    for (uint64_t b = 0; b < few; ++b) {
      RunBlock(b < few / 2 ? b : blocks - few + b);
    }
  } else {
    for (uint64_t b = 0; b < blocks; ++b) {
      RunBlock((first + b % blocks * step) % blocks);
    }
  }
  kernel = "";
}

void BlockBarrier(const char* file, int line) {
  Thread* thread = &pool[state.thread];
  thread->waits = BARRIER;
  thread->file = file;
  thread->line = line;
  ToHost();
}

int Lane() { return state.thread % kWarp; }

const uint64_t* MeetLanes(Collective what, unsigned int mask,
    const void* value, size_t size, const char* file, int line) {
  const int own = state.thread;
  const int first = own / kWarp * kWarp;
  Thread* thread = &pool[own];
  if (!(mask >> (own - first) & 1)) {
    Fail("a lane exchanges under a mask in which it is not");
  }
  thread->waits = what;
  thread->file = file;
  thread->line = line;
  thread->mask = mask;
  thread->value = 0;
  __builtin_memcpy(&thread->value, value, size);
  bool all = true;
  for (int lane = 0; lane < kWarp; ++lane) {
    all = all && (!(mask >> lane & 1) || (first + lane < threads &&
        AtTheSame(pool[first + lane], *thread) &&
        pool[first + lane].mask == mask));
  }
  if (all) {
    if (mask == CUDA_ON_CPU_ALL) {
      state.warp_barrier[own / kWarp] = ++state.now;
    }
    for (int lane = 0; lane < kWarp; ++lane) {
      if (mask >> lane & 1) {
        for (int from = 0; from < kWarp; ++from) {
          pool[first + lane].values[from] =
              mask >> from & 1 ? pool[first + from].value : 0;
        }
        Release(first + lane);
      }
    }
  }
  ToHost();
  return pool[own].values;
}

int CheckedLane(int lane, unsigned int mask) {
  if (!(mask >> lane & 1)) {
    Fail("a shuffle reads lane " + std::to_string(lane) +
        ", which takes no part in it");
  }
  return lane;
}

unsigned int Ballot(unsigned int mask, int predicate, const char* file,
    int line) {
  const uint64_t* values =
      MeetLanes(VOTE, mask, &predicate, sizeof(predicate), file, line);
  unsigned int result = 0;
  for (int lane = 0; lane < kWarp; ++lane) {
    result |= static_cast<unsigned int>(values[lane] != 0) << lane;
  }
  return result;
}

void Trap(const char* file, int line) {
  Fail(std::string("it traps at ") + file + ":" + std::to_string(line));
}

static void CheckWidth(int width) {
  if (width < 1 || width > kWarp || (width & (width - 1))) {
    Fail("a shuffle's width is " + std::to_string(width) +
        ": it must be a power of 2 up to 32");
  }
}

// A lane whose source lies beyond its group reads its own value.
int LaneUp(int lane, int by, int width) {
  CheckWidth(width);
  return lane % width - by >= 0 ? lane - by : lane;
}
int LaneDown(int lane, int by, int width) {
  CheckWidth(width);
  return lane % width + by < width ? lane + by : lane;
}
int LaneXor(int lane, int by, int width) {
  CheckWidth(width);
  return (lane ^ by) / width <= lane / width ? lane ^ by : lane;
}
int LaneOf(int lane, int from, int width) {
  CheckWidth(width);
  return lane / width * width + (from % width + width) % width;
}

}  // namespace cuda_on_cpu
