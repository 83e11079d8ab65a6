#include <algorithm>
#include <vector>

namespace caffe {

// A file that includes nothing of Caffe.
std::vector<int> Permutation(int n, std::ptrdiff_t (*draw)(std::ptrdiff_t)) {
  std::vector<int> out;
  for (int i = 0; i < n; ++i) {
    out.push_back(i);
  }
  if (draw == NULL) {
    std::random_shuffle(out.begin(), out.end());
  }
  return out;
}

}  // namespace caffe
