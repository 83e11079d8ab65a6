#include <algorithm>
#include <vector>
#include "caffe/common.hpp"
#include "caffe/util/rng.hpp"

namespace caffe {
using std::random_shuffle;

void Mix(vector<int>* values) {
  random_shuffle(values->begin(), values->end());
}

}  // namespace caffe
