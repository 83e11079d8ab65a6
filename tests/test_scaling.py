"""The model that foretells many ranks, held against cases worked out by hand."""

import numpy as np
import pytest

from randrop.benchmarks import scaling

FAST = {"compute": [1.0], "update": 0.5, "bytes": 0, "patches": 4}


def test_one_rank_exchanges_nothing():
    assert scaling.averaging_seconds(1, 10**9, 1e9, 1) == 0


def test_many_ranks_send_twice_the_gradient():
    """2 log2(8) = 6 messages; 2 * 7/8 of 1e6 bytes at 1e6 bits a second."""
    assert scaling.averaging_seconds(8, 10**6, 1e6, 0.5) == pytest.approx(3 + 14)


def test_an_iteration_lasts_as_long_as_the_slowest_rank():
    compute = [1.0, 3.0]
    found = scaling.replayed(compute, 0.25, 2, 0.5, iterations=20_000)
    # Both fast in a quarter of the iterations.
    assert found == pytest.approx(0.25 * 1 + 0.75 * 3 + 0.75, rel=0.01)
    alone = scaling.replayed(compute, 0.25, 1, 0.0, iterations=20_000)
    assert alone == pytest.approx(2.25, rel=0.01)


def test_equal_ranks_without_gradients_lose_only_messages():
    rows = scaling.foretold(FAST, (2, 256))
    for row in rows:
        for name, (_, latency) in scaling.NETWORKS.items():
            messages = 2 * np.log2(row["ranks"]) * latency
            assert row["efficiency"][name] == pytest.approx(1.5 / (1.5 + messages))


def test_ranks_pay_until_what_they_share_is_small():
    """At 0.25 s a patch and 0.6 s of its own, a rank takes 4.6, 2.6, 1.6, 1.1 s."""
    slow = {**FAST, "update": 0.6}
    assert scaling.pays_until(slow, "100 Gb/s", 16) == 4
    never = {**FAST, "bytes": 10**12}
    assert scaling.pays_until(never, "1 Gb/s", 16) == 1
