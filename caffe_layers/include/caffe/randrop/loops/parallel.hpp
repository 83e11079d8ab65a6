#ifndef CAFFE_RANDROP_LOOPS_PARALLEL_HPP_
#define CAFFE_RANDROP_LOOPS_PARALLEL_HPP_

/**
 * Multithreaded loops for machines shared with other programs:
 *
 *     ParallelFor(tasks, [&](int task) { ... });
 *
 * Threads take tasks, one at a time, until none is left. The caller is one of
 * them. It never waits for a thread that has not begun, only for tasks that
 * others are running. So a preempted thread delays the loop by at most one
 * task, whereas the end of an OpenMP region waits for all threads, even idle
 * ones. A task should take some ten microseconds or more. Its output must not
 * depend on the thread that runs it: each task stores its own sums, and the
 * caller adds them up afterwards in task order.
 *
 * Loops may be nested, and several threads may run loops at the same time; all
 * share one thread pool. Its threads start when they are first needed and sleep
 * between loops; a forked process starts its own. An exception thrown by a task
 * ends the loop and is rethrown in the caller.
 */
namespace caffe {
namespace randrop {

/// @brief How many threads a loop of the calling thread uses: OpenMP's number
///        (OMP_NUM_THREADS, omp_set_num_threads); without OpenMP,
///        OMP_NUM_THREADS or one for each processor that the process may use.
int ParallelThreads();

/// @brief Calls run(body, task) for task from 0 to tasks - 1 on all threads, in
///        any order, and returns when all calls have returned.
void ParallelFor(int tasks, void (*run)(const void* body, int task),
    const void* body);

/// @brief The same for body(task).
template <typename Body>
inline void ParallelFor(int tasks, const Body& body) {
  struct Call {
    static void Run(const void* body, int task) {
      (*static_cast<const Body*>(body))(task);
    }
  };
  ParallelFor(tasks, Call::Run, &body);
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOOPS_PARALLEL_HPP_
