#ifndef CAFFE_RANDROP_MATH_PHILOX_HPP_
#define CAFFE_RANDROP_MATH_PHILOX_HPP_

#include <stdint.h>

#include "caffe/randrop/math/host_device.hpp"

namespace caffe {
namespace randrop {

/// @brief High and low halves of the products with a constant; Words is
///        uint32_t or a vector of it.
template <typename Words>
RANDROP_HOST_DEVICE inline void MultiplyWords(Words a, uint32_t by, Words* high,
    Words* low) {
  const uint64_t product = static_cast<uint64_t>(by) * a;
  *high = static_cast<uint32_t>(product >> 32);
  *low = static_cast<uint32_t>(product);
}

/**
 * @brief Philox4x32-10: four random words as a function of a 128-bit counter
 *        and a 64-bit key, without state (Salmon et al., Parallel random
 *        numbers: as easy as 1, 2, 3, SC 2011, doi:10.1145/2063384.2063405).
 *
 * @param word the counter, least significant word first; the random words
 */
template <typename Words>
RANDROP_HOST_DEVICE inline void PhiloxRounds(uint64_t key, Words word[4]) {
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    Words high0, low0, high1, low1;
    MultiplyWords(word[0], 0xD2511F53u, &high0, &low0);
    MultiplyWords(word[2], 0xCD9E8D57u, &high1, &low1);
    word[0] = high1 ^ word[1] ^ key0;
    word[1] = low1;
    word[2] = high0 ^ word[3] ^ key1;
    word[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

/// @brief The words of the counter (block, forward), both 64 bits wide.
RANDROP_HOST_DEVICE inline void Philox4x32(uint64_t key, uint64_t block,
    uint64_t forward, uint32_t word[4]) {
  word[0] = static_cast<uint32_t>(block);
  word[1] = static_cast<uint32_t>(block >> 32);
  word[2] = static_cast<uint32_t>(forward);
  word[3] = static_cast<uint32_t>(forward >> 32);
  PhiloxRounds(key, word);
}

// Elements of a blob are numbered in tiles of 64 = 16 lanes x 4 words: word w
// of lane l of tile t belongs to element 64 t + 16 w + l, and lane l of tile t
// has the counter block 16 t + l. Sixteen SIMD lanes thus produce four runs of
// 16 neighbours without a transposition. randrop.losses.philox.uniforms in
// Python is the same function.
const int kPhiloxLanes = 16;
const int kPhiloxWords = 4;
const int kPhiloxTile = kPhiloxLanes * kPhiloxWords;

/// @brief Maps a word to a uniform number in [0, 1): a multiple of 2^-24, exact
///        in float and double.
RANDROP_HOST_DEVICE inline float PhiloxUniform(uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f);
}

/// @brief The 64 uniform numbers of a tile, in element order.
inline void PhiloxUniformTile(uint64_t key, uint64_t tile, uint64_t forward,
    float uniform[kPhiloxTile]) {
  for (int lane = 0; lane < kPhiloxLanes; ++lane) {
    uint32_t word[kPhiloxWords];
    Philox4x32(key, tile * kPhiloxLanes + lane, forward, word);
    for (int w = 0; w < kPhiloxWords; ++w) {
      uniform[w * kPhiloxLanes + lane] = PhiloxUniform(word[w]);
    }
  }
}

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_MATH_PHILOX_HPP_
