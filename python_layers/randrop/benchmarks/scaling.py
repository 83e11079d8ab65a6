"""What more ranks bring: times measured on one machine, and replayed for many.

An iteration lasts as long as the slowest rank computes, then as long as the gradients
need to be averaged, then as long as the weights are updated. The compute times of a
rank are drawn from measured ones. The average takes, as MPI libraries do it for large
messages (Rabenseifner's algorithm), 2 log2(R) messages and twice the gradient's bytes
times (R - 1) / R through each rank's network.

References
----------
R. Thakur, R. Rabenseifner, W. Gropp. Optimization of collective communication
operations in MPICH. IJHPCA 2005, doi:10.1177/1094342005051521.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NETWORKS = {"1 Gb/s": (1e9, 50e-6), "10 Gb/s": (1e10, 20e-6), "100 Gb/s": (1e11, 3e-6)}
"""Bits per second, and seconds that a message takes at least: typical of each kind."""


def averaging_seconds(ranks: int, size: int, bits: float, latency: float) -> float:
    """Return how long the gradients of so many ranks take to be averaged.

    Parameters
    ----------
    ranks : int
    size : int
        Bytes of the gradients.
    bits : float
        Bits per second of each rank's network.
    latency : float
        Seconds of a message without content.
    """
    if ranks == 1:
        return 0.0
    messages = 2 * math.ceil(math.log2(ranks))
    return messages * latency + 2 * (ranks - 1) / ranks * size * 8 / bits


def replayed(
    compute: Sequence[float],
    update: float,
    ranks: int,
    average: float,
    iterations: int = 2000,
    seed: int = 0,
) -> float:
    """Return the mean seconds of an iteration on so many ranks.

    Parameters
    ----------
    compute : sequence of float
        Measured seconds of one rank's forward and backward passes.
    update : float
        Seconds of what every rank does after them.
    ranks : int
    average : float
        Seconds until the gradients are averaged.
    iterations, seed : int
        Of the draw.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.choice(np.asarray(compute), (iterations, ranks))
    return float(drawn.max(axis=1).mean()) + update + average


def foretold(measured: Mapping[str, Any], ranks: Sequence[int]) -> list[dict[str, Any]]:
    """Return what the replay says for ranks that each have a share of one size.

    Parameters
    ----------
    measured : mapping
        `compute` (list of seconds), `update` (seconds), `bytes`.
    ranks : sequence of int

    Returns
    -------
    list of dict
        ranks, and for each of `NETWORKS` the efficiency: patches per second relative
        to so many times those of one rank.
    """
    compute, update = measured["compute"], measured["update"]
    alone = float(np.mean(compute)) + update
    rows = []
    for n in ranks:
        found = {}
        for name, (bits, latency) in NETWORKS.items():
            average = averaging_seconds(n, measured["bytes"], bits, latency)
            found[name] = alone / replayed(compute, update, n, average)
        rows.append({"ranks": n, "efficiency": found})
    return rows


def pays_until(measured: Mapping[str, Any], network: str, batch: int) -> int:
    """Return the largest number of ranks for a batch of one size that still pays.

    It pays while doubling the ranks makes the training at least 1.5 times as fast.
    The compute time is taken to be proportional to the share.

    Parameters
    ----------
    measured : mapping
        As in `foretold`, of a share of `patches`.
    network : str
        From `NETWORKS`.
    batch : int
        Patches, a power of 2.
    """
    bits, latency = NETWORKS[network]
    each = np.asarray(measured["compute"]) / measured["patches"]

    def seconds(ranks: int) -> float:
        average = averaging_seconds(ranks, measured["bytes"], bits, latency)
        return replayed(each * (batch // ranks), measured["update"], ranks, average)

    ranks = 1
    while 2 * ranks <= batch and seconds(ranks) >= 1.5 * seconds(2 * ranks):
        ranks *= 2
    return ranks
