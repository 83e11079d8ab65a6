// Device memory and the kernels' accesses to memory; told.cpp has the callers.
// This file is compiled without -fsanitize=thread.

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <sstream>
#include <utility>

#include "state.hpp"

namespace cuda_on_cpu {

namespace {

// The last writer and reader of each 4 bytes of device memory: a time, a thread
// of the block and flags. Accesses of fewer than 4 bytes use a cell per byte.
struct Cell {
  uint64_t write, read;
};
const size_t kWord = 4;
const uint64_t kFree = 0;          // as `write`: memory not allocated
const uint64_t kNeverWritten = 1;
const uint64_t kByHost = 2;
const uint64_t kInBytes = 3;
const int kThreadBits = 10;
const uint64_t kAtomic = 1 << kThreadBits;
const uint64_t kMany = kAtomic << 1;     // others of the block, unordered
const uint64_t kForeign = kAtomic << 2;  // other blocks before it
const int kTimeShift = kThreadBits + 3;

inline uint64_t Time(uint64_t tag) { return tag >> kTimeShift; }
inline int ThreadOf(uint64_t tag) { return tag & ((1 << kThreadBits) - 1); }

const size_t kDeviceBytes = 256 << 20;
const size_t kSharedBytes = 48 << 10;
const size_t kGap = 256;           // between allocations
const size_t kKeepFreed = 16 << 20;
const size_t kPage = 4096;

struct Region {
  char* memory;
  Cell* words;
  Cell* bytes;
  size_t size;

  bool Has(uintptr_t address) const {
    return address - reinterpret_cast<uintptr_t>(memory) < size;
  }
};
Region device = {NULL, NULL, NULL, 0};
Region shared = {NULL, NULL, NULL, 0};

void* Reserve(size_t size, int protection) {
  void* memory = mmap(NULL, size, protection,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    Fail("no address space for the device's memory");
  }
  return memory;
}

void MakeRegion(Region* region, size_t size, int protection) {
  region->size = size;
  region->memory = static_cast<char*>(Reserve(size, protection));
  const int both = PROT_READ | PROT_WRITE;
  region->bytes = static_cast<Cell*>(Reserve(size * sizeof(Cell), both));
  region->words =
      static_cast<Cell*>(Reserve(size / kWord * sizeof(Cell), both));
}

// Calls visit(cell, its bytes) for the cells of size bytes from begin on.
template <typename Visit>
inline void ForCells(const Region& region, size_t begin, size_t size,
    bool whole_words, const Visit& visit) {
  const size_t end = begin + size;
  for (size_t i = begin; i < end;) {
    Cell* word = region.words + i / kWord;
    const bool whole = i % kWord == 0 && i + kWord <= end;
    if (whole && (whole_words || word->write != kInBytes)) {
      visit(word, kWord);
      i += kWord;
      continue;
    }
    if (word->write != kInBytes) {
      for (size_t k = 0; k < kWord; ++k) {
        region.bytes[i / kWord * kWord + k] = *word;
      }
      word->write = kInBytes;
    }
    visit(region.bytes + i, 1);
    ++i;
  }
}

void SetCells(const Region& region, size_t begin, size_t size, uint64_t write) {
  ForCells(region, begin, size, true, [=](Cell* cell, size_t) {
    cell->write = write;
    cell->read = 0;
  });
}

size_t used = kGap;                      // high-water mark in device memory
int mapped = 0;
std::map<size_t, size_t> allocated;      // begin to size
std::map<size_t, size_t> holes;
std::deque<std::pair<size_t, size_t> > freed;
size_t freed_bytes = 0;

size_t Rounded(size_t size) { return (size + kGap - 1) / kGap * kGap + kGap; }

void Protect() {
  if (used > 0) {
    mprotect(device.memory, (used + kPage - 1) / kPage * kPage,
        mapped ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

struct Variable {
  const void* key;
  size_t begin;
};
Variable variables[64];
int variable_count = 0;
size_t shared_used = 0, dynamic_begin = 0;

}  // namespace

#ifdef __SANITIZE_ADDRESS__

DeviceIsMapped::DeviceIsMapped() {}
DeviceIsMapped::~DeviceIsMapped() {}
bool IsDevice(const void* address) { return false; }
void* AllocateDevice(size_t size) { return std::malloc(size); }
bool FreeDevice(void* address) {
  std::free(address);
  return true;
}
bool HostWrites(void* address, size_t size) { return true; }
bool HostReads(const void* address, size_t size) { return true; }

#else

DeviceIsMapped::DeviceIsMapped() {
  if (mapped++ == 0) {
    Protect();
  }
}
DeviceIsMapped::~DeviceIsMapped() {
  if (--mapped == 0) {
    Protect();
  }
}

bool IsDevice(const void* address) {
  return device.Has(reinterpret_cast<uintptr_t>(address));
}

void* AllocateDevice(size_t size) {
  if (!device.memory) {
    MakeRegion(&device, kDeviceBytes, PROT_NONE);
  }
  const size_t rounded = Rounded(size);
  size_t begin = used;
  std::map<size_t, size_t>::iterator hole = holes.begin();
  while (hole != holes.end() && hole->second != rounded) {
    ++hole;
  }
  if (hole != holes.end()) {
    begin = hole->first;
    holes.erase(hole);
  } else if (rounded > device.size - used) {
    return NULL;
  } else {
    used += rounded;
  }
  allocated[begin] = size;
  SetCells(device, begin, size, kNeverWritten);
  const DeviceIsMapped mapped_here;
  Protect();
  std::memset(device.memory + begin, 0xa5, size);
  return device.memory + begin;
}

bool FreeDevice(void* address) {
  if (!address) {
    return true;
  }
  const size_t begin = static_cast<char*>(address) - device.memory;
  std::map<size_t, size_t>::iterator found = allocated.find(begin);
  if (!IsDevice(address) || found == allocated.end()) {
    return false;
  }
  SetCells(device, begin, found->second, kFree);
  // Resident pages make mapping slow.
  const size_t pages = (begin + kPage - 1) / kPage * kPage;
  const size_t pages_end = (begin + found->second) / kPage * kPage;
  if (pages < pages_end) {
    madvise(device.memory + pages, pages_end - pages, MADV_DONTNEED);
  }
  freed.push_back(std::make_pair(begin, Rounded(found->second)));
  freed_bytes += freed.back().second;
  allocated.erase(found);
  if (allocated.empty()) {
    // Between tests: less resident memory maps faster.
    Protect();
    madvise(device.memory, (used + kPage - 1) / kPage * kPage, MADV_DONTNEED);
    holes.clear();
    freed.clear();
    freed_bytes = 0;
    used = kGap;
  }
  while (freed_bytes > kKeepFreed) {
    holes.insert(freed.front());
    freed_bytes -= freed.front().second;
    freed.pop_front();
  }
  return true;
}

static bool IsAllocated(const void* address, size_t size) {
  const size_t begin = static_cast<const char*>(address) - device.memory;
  if (size > device.size - begin) {
    return false;
  }
  bool all = true;
  ForCells(device, begin, size, false, [&](Cell* cell, size_t) {
    all = all && cell->write != kFree;
  });
  return all;
}

bool HostReads(const void* address, size_t size) {
  return IsDevice(address) && IsAllocated(address, size);
}

bool HostWrites(void* address, size_t size) {
  if (!HostReads(address, size)) {
    return false;
  }
  SetCells(device, static_cast<char*>(address) - device.memory, size, kByHost);
  return true;
}

#endif

void BeginShared(size_t dynamic) {
  if (!shared.memory) {
    MakeRegion(&shared, kSharedBytes + kGap, PROT_READ | PROT_WRITE);
  }
  SetCells(shared, 0, shared_used, kFree);
  variable_count = 0;
  shared_used = 0;
  if (dynamic > 0) {
    SharedMemory(&dynamic_begin, dynamic, 16);
  }
}

void ClearShared() { std::memset(shared.memory, 0xa5, shared_used); }

void* DynamicSharedMemory() {
  if (variable_count == 0 || variables[0].key != &dynamic_begin) {
    Fail("the launch gives no dynamic shared memory");
  }
  return shared.memory + variables[0].begin;
}

void* SharedMemory(const void* key, size_t size, size_t alignment) {
  for (int v = 0; v < variable_count; ++v) {
    if (variables[v].key == key) {
      return shared.memory + variables[v].begin;
    }
  }
  const size_t begin =
      (shared_used + 16 + alignment - 1) / alignment * alignment;
  if (variable_count == 64 || begin + size > kSharedBytes) {
    Fail("more shared memory than 48 KiB");
  }
  variables[variable_count].key = key;
  variables[variable_count].begin = begin;
  ++variable_count;
  SetCells(shared, begin, size, kNeverWritten);
  std::memset(shared.memory + begin, 0xa5, size);
  shared_used = begin + size;
  return shared.memory + begin;
}

namespace {

// Whether an earlier access is ordered before an access of this thread now.
// Anything before `begin` (of the kernel; for shared memory, the block) is.
inline bool IsBefore(uint64_t tag, uint64_t begin) {
  const uint64_t time = Time(tag);
  if (time < begin) {
    return true;
  }
  if (time < state.block_begin || (tag & kForeign)) {
    return false;  // by another block
  }
  const int other = ThreadOf(tag);
  if (!(tag & kMany)) {
    if (other == state.thread) {
      return true;
    }
    if (other / kWarp == state.thread / kWarp &&
        time < state.warp_barrier[other / kWarp]) {
      return true;
    }
  }
  return time < state.barrier;
}

inline uint64_t Tag(uint64_t last, uint64_t begin, uint64_t flags) {
  uint64_t tag = state.now << kTimeShift | flags | state.thread;
  const uint64_t time = Time(last);
  if (time >= begin) {
    if (time < state.block_begin || (last & kForeign)) {
      tag |= kForeign;
    }
    if (time >= state.barrier && ((last & kMany) ||
        ThreadOf(last) != state.thread)) {
      tag |= kMany;
    }
  }
  return tag;
}

void Race(const char* now, const char* before, uint64_t tag,
    const void* code) {
  std::ostringstream text;
  text << "a race: it " << now << " what ";
  if (Time(tag) < state.block_begin || (tag & kForeign)) {
    text << "another block " << before << " in this kernel";
  } else {
    text << "thread " << ThreadOf(tag) << " " << before
        << ", and no barrier is between them";
  }
  Fail(text.str(), code);
}

std::string Describe(const Region& region, uintptr_t address) {
  std::ostringstream text;
  const size_t place = address - reinterpret_cast<uintptr_t>(region.memory);
  if (&region == &shared) {
    for (int v = variable_count - 1; v >= 0; --v) {
      if (variables[v].begin <= place) {
        text << "byte " << place - variables[v].begin
            << " of a shared variable";
        return text.str();
      }
    }
    return "shared memory before the first variable";
  }
  std::map<size_t, size_t>::iterator next = allocated.upper_bound(place);
  if (next == allocated.begin()) {
    return "device memory before the first allocation";
  }
  --next;
  text << "byte " << place - next->first << " of an allocation of "
      << next->second;
  return text.str();
}

void CheckRegion(const Region& region, Kind kind, uintptr_t address,
    size_t size, const void* code) {
  const uint64_t begin =
      &region == &shared ? state.block_begin : state.launch_begin;
  size_t unwritten = 0;
  ForCells(region, address - reinterpret_cast<uintptr_t>(region.memory), size,
      false, [&](Cell* cell, size_t bytes) {
    if (cell->write == kFree) {
      Fail(std::string(kind == READ ? "it reads " : "it writes to ") +
          std::to_string(size) + " bytes of which some are not allocated: " +
          Describe(region, address), code);
    }
    if (kind != WRITE && (cell->write == kNeverWritten ||
        (&region == &shared && Time(cell->write) < state.block_begin))) {
      // Copies of objects also read the padding between members.
      unwritten += bytes;
      if (unwritten == size) {
        Fail("it reads what was never written: " + Describe(region, address),
            code);
      }
    }
    const bool both_atomic = kind == ATOMIC && (cell->write & kAtomic);
    if (!both_atomic && !IsBefore(cell->write, begin)) {
      Race(kind == READ ? "reads" : "writes", "wrote", cell->write, code);
    }
    if (kind == READ) {
      cell->read = Tag(cell->read, begin, 0);
      return;
    }
    if (!IsBefore(cell->read, begin)) {
      Race("writes", "read", cell->read, code);
    }
    cell->write = kind == ATOMIC ? Tag(cell->write, begin, kAtomic) :
        Tag(0, begin, 0);
  });
}

}  // namespace

void Check(Kind kind, uintptr_t address, size_t size, const void* code) {
  if (address - state.stack < state.stack_size) {
    return;
  }
  if (device.Has(address)) {
    CheckRegion(device, kind, address, size, code);
  } else if (shared.Has(address)) {
    CheckRegion(shared, kind, address, size, code);
  } else if (kind != READ ||
      (address - state.parameters >= state.parameters_size &&
       address - reinterpret_cast<uintptr_t>(&builtins) >= sizeof(builtins))) {
    Fail(std::string(kind == READ ? "it reads" : "it writes to") +
        " memory of the host, or of another thread's stack", code);
  }
}

void AtomicAccess(const void* address, size_t size) {
#ifndef __SANITIZE_ADDRESS__
  if (reinterpret_cast<uintptr_t>(address) % size) {
    Fail("an atomic operation on an address that is not aligned",
        __builtin_return_address(0));
  }
  Check(ATOMIC, reinterpret_cast<uintptr_t>(address), size,
      __builtin_return_address(0));
#endif
}

}  // namespace cuda_on_cpu
