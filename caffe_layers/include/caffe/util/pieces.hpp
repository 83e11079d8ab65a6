#ifndef CAFFE_UTIL_PIECES_HPP_
#define CAFFE_UTIL_PIECES_HPP_

#include <algorithm>
#include <vector>

namespace caffe {

/// What a thread takes at a time.
const int kPiece = 1 << 15;

/// @brief Calls pass(first, last) for pieces of begin to end - 1, on all
///        threads.
template <typename Pass>
void InPieces(int begin, int end, const Pass& pass) {
  const int pieces = (end - begin + kPiece - 1) / kPiece;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) if (pieces > 1)
#endif
  for (int piece = 0; piece < pieces; ++piece) {
    const int first = begin + piece * kPiece;
    pass(first, std::min(end, first + kPiece));
  }
}

/// @brief The same with pass(first, last, sums), whose sums are then added up
///        in the order of the pieces: the result is that of one thread.
template <typename Sums, typename Pass>
void InPieces(int begin, int end, const Pass& pass, Sums* total) {
  std::vector<Sums> sums((end - begin + kPiece - 1) / kPiece);
  InPieces(begin, end, [&](int first, int last) {
    Sums* mine = &sums[(first - begin) / kPiece];
    mine->Clear();
    pass(first, last, mine);
  });
  total->Clear();
  for (int piece = 0; piece < sums.size(); ++piece) {
    total->Add(sums[piece]);
  }
}

}  // namespace caffe

#endif  // CAFFE_UTIL_PIECES_HPP_
