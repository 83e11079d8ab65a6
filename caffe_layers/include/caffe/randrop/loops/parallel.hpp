#ifndef CAFFE_RANDROP_LOOPS_PARALLEL_HPP_
#define CAFFE_RANDROP_LOOPS_PARALLEL_HPP_

/**
 * Loops on several threads, for machines that other programs use, too:
 *
 *     ParallelFor(tasks, [&](int task) { ... });
 *
 * Threads take tasks, one at a time, until none is left. The caller is one of
 * them, and never waits for one that has not begun: only for tasks that others
 * are at. So a thread whose processor another program has holds up the loop for
 * one task at most, where the end of an OpenMP region waits for all threads,
 * whatever they did. Tasks should take some ten microseconds or more. What each
 * of them writes must not depend on which thread does it: sums go to a place of
 * each task, and are added up afterwards in the order of the tasks.
 *
 * Loops may be within loops, and be run by several threads at the same time;
 * they share the threads that help. These are made when they are first needed,
 * sleep between loops, and are made anew in a process that was forked. An
 * exception that a task throws ends the loop and is thrown on to the caller.
 */
namespace caffe {
namespace randrop {

/// @brief How many threads a loop of the calling thread uses: those of OpenMP
///        (OMP_NUM_THREADS, omp_set_num_threads), or without it OMP_NUM_THREADS
///        or one for each processor that the process may use.
int ParallelThreads();

/// @brief Calls run(body, task) for task from 0 to tasks - 1 on all threads, in
///        any order, and returns when all calls have.
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
