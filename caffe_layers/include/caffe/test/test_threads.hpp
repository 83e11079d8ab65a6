#ifndef CAFFE_TEST_THREADS_HPP_
#define CAFFE_TEST_THREADS_HPP_

#ifdef _OPENMP
#include <omp.h>
#endif

namespace caffe {

/// Sets the number of threads for this thread's loops while it exists. Without
/// OpenMP the environment fixes that number.
class UseThreads {
 public:
#ifdef _OPENMP
  explicit UseThreads(int threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(threads);
  }
  ~UseThreads() { omp_set_num_threads(before_); }

 private:
  int before_;
#else
  explicit UseThreads(int) {}
  ~UseThreads() {}
#endif
};

}  // namespace caffe

#endif  // CAFFE_TEST_THREADS_HPP_
