#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/common.hpp"
#include "caffe/randrop/loops/parallel.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_threads.hpp"

namespace caffe {

using randrop::ParallelFor;
using randrop::ParallelThreads;

/// Whether each task is done exactly once in each loop.
bool DoesEachOnce(int tasks, int loops) {
  bool right = true;
  for (int loop = 0; loop < loops; ++loop) {
    vector<int> done(tasks);
    ParallelFor(tasks, [&](int task) { done[task] += task + 1; });
    for (int task = 0; task < tasks; ++task) {
      right = right && done[task] == task + 1;
    }
  }
  return right;
}

class RandropParallelTest : public ::testing::TestWithParam<int> {
 protected:
  RandropParallelTest() : threads_(GetParam()) {}
  const UseThreads threads_;
};

TEST_P(RandropParallelTest, EachTaskIsDoneOnce) {
  const int tasks[] = {0, 1, 2, 3, 7, 100, 10000};
  for (int count : tasks) {
    EXPECT_TRUE(DoesEachOnce(count, 50)) << count;
  }
}

/// Whether the number reaches `wanted` within a minute.
bool Reaches(const std::atomic<int>& number, int wanted) {
  for (int i = 0; i < 60000 && number < wanted; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return number >= wanted;
}

TEST_P(RandropParallelTest, SoManyTasksAtTheSameTime) {
  const int threads = ParallelThreads();
  std::atomic<int> begun(0), met(0);
  ParallelFor(threads, [&](int) {
    ++begun;
    met += Reaches(begun, threads);
  });
  EXPECT_EQ(threads, met);
}

// As if another program occupied the processors of all other threads.
TEST_P(RandropParallelTest, NoLoopWaitsForThreadsThatDoNotCome) {
  const int threads = ParallelThreads();
  std::atomic<int> begun(0), released(0);
  std::thread other([&, this]() {
    const UseThreads use(GetParam());
    ParallelFor(threads, [&](int) {
      ++begun;
      Reaches(released, 1);
    });
  });
  EXPECT_TRUE(Reaches(begun, threads));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(DoesEachOnce(100, 100));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(50));
  released = 1;
  other.join();
}

TEST_P(RandropParallelTest, LoopsWithinLoops) {
  vector<int> done(30 * 40);
  ParallelFor(30, [&](int outer) {
    ParallelFor(40, [&](int inner) { ++done[outer * 40 + inner]; });
  });
  EXPECT_EQ(vector<int>(30 * 40, 1), done);
}

TEST_P(RandropParallelTest, SeveralCallers) {
  const int callers = 5;
  vector<int> right(callers);
  vector<std::thread> threads;
  for (int caller = 0; caller < callers; ++caller) {
    threads.emplace_back([&right, caller, this]() {
      const UseThreads use(GetParam());
      right[caller] = DoesEachOnce(20 + caller, 300);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(vector<int>(callers, 1), right);
}

TEST_P(RandropParallelTest, WhatATaskThrowsReachesTheCaller) {
  for (int thrower = 0; thrower < 40; ++thrower) {
    vector<int> done(40);
    EXPECT_THROW(ParallelFor(40, [&](int task) {
      if (task == thrower) {
        throw std::runtime_error("task");
      }
      ++done[task];
    }), std::runtime_error);
    EXPECT_EQ(0, done[thrower]);
    // No earlier task was left out.
    EXPECT_EQ(vector<int>(thrower, 1),
        vector<int>(done.begin(), done.begin() + thrower));
  }
  EXPECT_TRUE(DoesEachOnce(100, 10));
}

// Python's multiprocessing forks: the child has none of the threads.
TEST_P(RandropParallelTest, AForkedProcessMakesItsOwnThreads) {
  ASSERT_TRUE(DoesEachOnce(100, 10));
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // ends a child that waits for threads it does not have
    _exit(DoesEachOnce(100, 10) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
  EXPECT_TRUE(DoesEachOnce(100, 10));
}

#ifdef _OPENMP
TEST_P(RandropParallelTest, AThreadOfOpenMPIsOneOfItsMany) {
  int threads[3] = {0};
#pragma omp parallel for num_threads(3)
  for (int i = 0; i < 3; ++i) {
    threads[i] = ParallelThreads() + 10 * DoesEachOnce(20, 20);
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(11, threads[i]);
  }
}
#endif

INSTANTIATE_TEST_CASE_P(
    Threads, RandropParallelTest, ::testing::Values(1, 2, 3, 7));

}  // namespace caffe
