#ifndef CAFFE_RANDROP_MATH_PHILOX_HPP_
#define CAFFE_RANDROP_MATH_PHILOX_HPP_

#include <stdint.h>

#include "caffe/randrop/math/host_device.hpp"

namespace caffe {
namespace randrop {

/**
 * @brief Philox4x32-10: four random words as a function of a 128-bit counter
 *        and a 64-bit key, without state (Salmon et al., Parallel random
 *        numbers: as easy as 1, 2, 3, SC 2011, doi:10.1145/2063384.2063405).
 *
 * The counter is (block, forward), both 64 bits wide, least significant words
 * first.
 */
RANDROP_HOST_DEVICE inline void Philox4x32(uint64_t key, uint64_t block,
    uint64_t forward, uint32_t word[4]) {
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  uint32_t c0 = static_cast<uint32_t>(block);
  uint32_t c1 = static_cast<uint32_t>(block >> 32);
  uint32_t c2 = static_cast<uint32_t>(forward);
  uint32_t c3 = static_cast<uint32_t>(forward >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t product1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key0;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key1;
    c3 = static_cast<uint32_t>(product0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  word[0] = c0;
  word[1] = c1;
  word[2] = c2;
  word[3] = c3;
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
