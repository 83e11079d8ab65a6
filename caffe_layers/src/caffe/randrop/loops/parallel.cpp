#include "caffe/randrop/loops/parallel.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace caffe {
namespace randrop {

namespace {

/// Iterations of busy-waiting, some ten microseconds, before a thread sleeps:
/// loops follow each other closely, and waking up takes as long.
const int kTurns = 500;

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

/// A running loop, on its caller's stack.
struct Loop {
  Loop(int tasks, void (*run)(const void* body, int task), const void* body,
      int room)
      : tasks(tasks), run(run), body(body), next(0), room(room), helpers(0) {}

  bool IsTaken() const {
    return next.load(std::memory_order_relaxed) >= tasks;
  }
  /// Runs tasks until none is left; returns an exception if one was thrown.
  std::exception_ptr Work() {
    try {
      // Checked before next++, which would otherwise overflow.
      while (!IsTaken()) {
        const int task = next++;
        if (task < tasks) {
          run(body, task);
        }
      }
    } catch (...) {
      next = tasks;
      return std::current_exception();
    }
    return std::exception_ptr();
  }

  const int tasks;
  void (*const run)(const void* body, int task);
  const void* const body;
  std::atomic<int> next;
  // Changed while the pool is locked.
  int room;  // how many more helpers may join
  std::atomic<int> helpers;  // at work on it
  std::exception_ptr thrown;
  std::condition_variable left;
};

/// OpenMP may bind the caller to one processor, which our threads would inherit
/// and share.
void LeaveBoundProcessor() {
#if defined(_OPENMP) && _OPENMP >= 201511 && defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  for (int place = 0; place < omp_get_num_places(); ++place) {
    std::vector<int> processors(omp_get_place_num_procs(place));
    omp_get_place_proc_ids(place, processors.data());
    for (size_t i = 0; i < processors.size(); ++i) {
      CPU_SET(processors[i], &allowed);
    }
  }
  if (CPU_COUNT(&allowed) > 0) {
    pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
  }
#endif
}

/// The thread pool. Never destroyed: its threads sleep in it when the program
/// ends.
class Pool {
 public:
  Pool() : news_(0), threads_(0), sleeping_(0), no_more_(false) {}

  void Run(Loop* loop) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      MakeThreads(loop->room);
      loops_.push_back(loop);
      ++news_;
      Wake(*loop);
    }
    std::exception_ptr thrown = loop->Work();
    for (int turn = 0; turn < kTurns && loop->helpers > 0; ++turn) {
      Pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    loops_.erase(std::find(loops_.begin(), loops_.end(), loop));
    while (loop->helpers > 0) {
      loop->left.wait(lock);
    }
    if (!thrown) {
      thrown = loop->thrown;
    }
    lock.unlock();
    if (thrown) {
      std::rethrow_exception(thrown);
    }
  }

 private:
  void MakeThreads(int wanted) {
    while (threads_ < wanted && !no_more_) {
      try {
        std::thread([this]() { Help(); }).detach();
        ++threads_;
      } catch (const std::system_error&) {
        no_more_ = true;  // the system's limit: continue with those started
      }
    }
  }

  /// Wakes two threads, which wake others in turn: one waker would be slow.
  void Wake(const Loop& loop) {
    for (int i = 0; i < std::min(2, std::min(loop.room, sleeping_)); ++i) {
      wake_.notify_one();
    }
  }

  /// A loop with tasks left to take.
  Loop* Find() {
    for (size_t i = 0; i < loops_.size(); ++i) {
      if (loops_[i]->room > 0 && !loops_[i]->IsTaken()) {
        return loops_[i];
      }
    }
    return NULL;
  }

  /// The body of each thread.
  void Help() {
    LeaveBoundProcessor();
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      if (Loop* loop = Find()) {
        --loop->room;
        ++loop->helpers;
        Wake(*loop);
        lock.unlock();
        const std::exception_ptr thrown = loop->Work();
        lock.lock();
        if (thrown) {
          loop->thrown = thrown;
        }
        ++loop->room;
        if (--loop->helpers == 0) {
          loop->left.notify_one();
        }
        continue;
      }
      const unsigned seen = news_;
      lock.unlock();
      for (int turn = 0; turn < kTurns && news_ == seen; ++turn) {
        Pause();
      }
      lock.lock();
      if (news_ == seen) {
        ++sleeping_;
        wake_.wait(lock);
        --sleeping_;
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Loop*> loops_;
  std::atomic<unsigned> news_;  // number of loops so far
  int threads_, sleeping_;
  bool no_more_;
};

std::atomic<Pool*> the_pool(NULL);

/// A forked process does not inherit the threads: it starts its own.
void ForgetPool() { the_pool = NULL; }

Pool* GetPool() {
  static const int handler = pthread_atfork(NULL, NULL, ForgetPool);
  static_cast<void>(handler);
  Pool* pool = the_pool;
  if (!pool) {
    Pool* const made = new Pool;
    if (the_pool.compare_exchange_strong(pool, made)) {
      return made;
    }
    delete made;  // another thread was first, and pool points to its pool
  }
  return pool;
}

#ifndef _OPENMP
int ThreadsByEnvironment() {
  // In OpenMP's format: "8", or "8,2" for nested loops.
  const char* variable = std::getenv("OMP_NUM_THREADS");
  const int wanted = variable ? std::atoi(variable) : 0;
  if (wanted > 0) {
    return wanted;
  }
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    return CPU_COUNT(&allowed);
  }
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}
#endif

}  // namespace

int ParallelThreads() {
#ifdef _OPENMP
  return omp_in_parallel() ? 1 : omp_get_max_threads();
#else
  static const int threads = ThreadsByEnvironment();
  return threads;
#endif
}

void ParallelFor(int tasks, void (*run)(const void* body, int task),
    const void* body) {
  const int threads = tasks > 1 ? std::min(tasks, ParallelThreads()) : 1;
  if (threads > 1) {
    Loop loop(tasks, run, body, threads - 1);
    GetPool()->Run(&loop);
    return;
  }
  for (int task = 0; task < tasks; ++task) {
    run(body, task);
  }
}

}  // namespace randrop
}  // namespace caffe
