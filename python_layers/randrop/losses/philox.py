"""Philox4x32-10, the counter-based generator behind every random mask.

A counter-based generator has no state: a word is a function of (key, counter), so an
element's random number does not depend on threads, devices or earlier draws.

References
----------
J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw. Parallel random numbers: as easy as
1, 2, 3. SC 2011, doi:10.1145/2063384.2063405.
"""

import numpy as np

ROUNDS = 10
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint32)

# Elements are numbered in tiles of 64 = 16 counters of 4 words. Word w of counter b of
# a tile belongs to the tile's element 16 w + b, so that 16 SIMD lanes, each with its
# own counter, produce four runs of 16 neighbours without a transposition.
TILE = 64
_LANES = 16


def philox4x32(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Encrypt counters with a key.

    Parameters
    ----------
    counter : uint32 (..., 4)
        Counter words, least significant first.
    key : uint32 (2,)
        Key words, least significant first.

    Returns
    -------
    uint32 (..., 4)
        Four random words per counter.
    """
    words = np.asarray(counter, np.uint32).astype(np.uint64)
    c0, c1, c2, c3 = np.moveaxis(words, -1, 0)
    key = np.asarray(key, np.uint32).copy()
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for _ in range(ROUNDS):
        product0 = c0 * _MULTIPLIERS[0]
        product1 = c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> half) ^ c1 ^ key[0],
            product1 & low,
            (product0 >> half) ^ c3 ^ key[1],
            product0 & low,
        )
        key += _WEYL
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def uniforms(seed: int, iteration: int, count: int, first: int = 0) -> np.ndarray:
    """Return the uniform numbers of a blob's elements in one forward pass.

    Element i, counted from `first`, lies in tile i // 64 at position r = i % 64. Its
    number is word r // 16 of the counter (b, iteration) with b = 16 (i // 64) + r % 16,
    both 64 bits wide, under the key `seed`; u = (word >> 8) * 2^-24.
    caffe/randrop/math/philox.hpp has the same function.

    Parameters
    ----------
    seed : int
        Key, 0 to 2^64 - 1.
    iteration : int
        Number of the forward pass, 0 to 2^64 - 1.
    count : int
        Elements in the blob.
    first : int
        Number of its first element, a multiple of `TILE`.

    Returns
    -------
    float32 (count,)
        Numbers in [0, 1), multiples of 2^-24.
    """
    tiles = -(-count // TILE)
    block = np.arange(tiles * _LANES, dtype=np.uint64)
    block += np.uint64(first // TILE * _LANES)
    counter = np.empty((block.size, 4), np.uint32)
    counter[:, 0] = block & np.uint64(0xFFFFFFFF)
    counter[:, 1] = block >> np.uint64(32)
    counter[:, 2] = iteration & 0xFFFFFFFF
    counter[:, 3] = iteration >> 32
    words = philox4x32(counter, [seed & 0xFFFFFFFF, seed >> 32])
    in_order = words.reshape(tiles, _LANES, 4).transpose(0, 2, 1).reshape(-1)[:count]
    return (in_order >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
