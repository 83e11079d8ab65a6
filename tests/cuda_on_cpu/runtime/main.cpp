// The tests' main: sets the seed for each test and prints the command that
// repeats a failing one.

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

#include "gtest/gtest.h"

#include "caffe/common.hpp"

#include "state.hpp"

namespace cuda_on_cpu {

std::string Where();

namespace {

uint64_t random_state = 1;
std::string program;

const char* Variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}

std::string TestName() {
  const ::testing::TestInfo* test =
      ::testing::UnitTest::GetInstance()->current_test_info();
  return test ? std::string(test->test_case_name()) + "." + test->name() : "";
}

// The source line of an address in this program, if addr2line is available.
std::string SourceLine(const void* code) {
  Dl_info info;
  if (!code || !dladdr(code, &info) || !info.dli_fbase) {
    return "";
  }
  std::ostringstream command;
  command << "addr2line -i -e /proc/" << getpid() << "/exe 0x" << std::hex
      << static_cast<const char*>(code) - 1 -
          static_cast<const char*>(info.dli_fbase) << " 2>/dev/null";
  FILE* pipe = popen(command.str().c_str(), "r");
  if (!pipe) {
    return "";
  }
  std::string lines;
  char line[1024];
  while (fgets(line, sizeof(line), pipe)) {
    lines += std::string("\n  at ") + line;
    lines.erase(lines.find_last_not_of('\n') + 1);
  }
  pclose(pipe);
  return lines;
}

class Seeds : public ::testing::EmptyTestEventListener {
 public:
  // From the seed and the name, so that a test draws the same numbers alone and
  // among others.
  virtual void OnTestStart(const ::testing::TestInfo& test) {
    uint64_t seed =
        std::strtoull(Variable("CUDA_ON_CPU_SEED", "1"), NULL, 10);
    const std::string name = TestName();
    for (size_t i = 0; i < name.size(); ++i) {
      seed = (seed ^ static_cast<unsigned char>(name[i])) * 0x100000001b3u;
    }
    SetSeed(seed);
  }
  // With CUDA_ON_CPU_STOP, exits at the first failure. gtest holds a lock here:
  // do not call it.
  virtual void OnTestPartResult(const ::testing::TestPartResult& result) {
    if (result.failed() && *Variable("CUDA_ON_CPU_STOP", "")) {
      std::_Exit(1);
    }
  }
  virtual void OnTestEnd(const ::testing::TestInfo& test) {
    if (test.result()->Failed()) {
      std::fprintf(stderr, "%s\n", RepeatLine().c_str());
    }
  }
};

}  // namespace

void SetSeed(uint64_t seed) { random_state = seed ? seed : 1; }

// xorshift64*
uint64_t Draw(uint32_t below) {
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  const uint64_t word = random_state * 0x2545f4914f6cdd1dull >> 32;
  return word * below >> 32;
}

std::string RepeatLine() {
  return std::string("To repeat: CUDA_ON_CPU_SEED=") +
      Variable("CUDA_ON_CPU_SEED", "1") + " " + program + " --gtest_filter=" +
      TestName();
}

void Fail(const std::string& what, const void* code) {
  state.in_kernel = false;
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s%s\n%s\n", Where().c_str(), what.c_str(),
      SourceLine(code).c_str(), RepeatLine().c_str());
  std::fflush(stderr);
  std::_Exit(3);
}

bool Mutant(int number) {
  static const int chosen =
      std::atoi(Variable("CUDA_ON_CPU_MUTANT", "0"));
  return number == chosen;
}

}  // namespace cuda_on_cpu

int main(int argc, char** argv) {
  cuda_on_cpu::program = argv[0];
  ::testing::InitGoogleTest(&argc, argv);
  caffe::GlobalInit(&argc, &argv);
  ::testing::UnitTest::GetInstance()->listeners().Append(
      new cuda_on_cpu::Seeds);
  return RUN_ALL_TESTS();
}
