"""Random nets, and nets that once were wrong, give the same results through oneDNN.

A failure prints the command that repeats it; `--shrink` makes the net smaller.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_property.acting import draw_case
from engine_property.comparing import first_difference, mistrusted
from engine_property.named import NAMED
from engine_property.shapes import net_shapes
from test_engine import NO_ENGINE, has_engine

THOROUGH = pytest.mark.thorough
PROGRAM = Path(__file__).with_name("engine_nets.py")


def run(*options):
    """Run the program; return how many nets were compared and found equal."""
    if not has_engine():
        pytest.skip(NO_ENGINE)
    done = subprocess.run(
        [sys.executable, PROGRAM, "--quiet", *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"(\d+) ok", done.stdout)[1])


def test_nets_that_once_were_wrong(caffe):
    assert run("--named") == len(NAMED)


def test_random_nets(caffe):
    assert run("--seed", 1, "--count", 40) > 25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "count"), [(1000, 150), pytest.param(1000, 500, marks=THOROUGH)]
)
def test_many_random_nets(caffe, seed, count):
    assert run("--seed", seed, "--count", count, "--jobs", 2) > 0.7 * count


def test_a_seed_is_a_net_that_caffe_takes():
    for seed in range(100):
        case = draw_case(seed)
        assert case == draw_case(seed)
        for net in case["nets"]:
            net_shapes(net["layers"])


def test_a_difference_in_one_number_is_told():
    rng = np.random.default_rng(0)
    caffes = [("9 all: 0 conv diff", rng.normal(0, 1, (2, 3, 4)).astype("f"))]
    size = np.abs(caffes[0][1]).max()
    for off, told in ((3e-4, True), (3e-5, False), (np.nan, True)):
        ours = caffes[0][1].copy()
        ours[1, 2, 3] += off * size
        found, count = first_difference(
            [(caffes[0][0], ours)], caffes, [0.0], lambda label: False
        )
        assert (found is not None) == told
        assert count == told


def test_gradients_that_are_all_zero_are_mistrusted():
    layers = [{"name": x, "type": "Power", "top": [x]} for x in "ab"]
    case = {"nets": [{"layers": layers}], "steps": [{"op": "backward", "net": 0}]}
    zero, one = np.zeros((4, 4), "f"), np.ones((4, 4), "f")
    assert mistrusted([("1 all: 0 a diff", zero), ("1 all: 0 b diff", zero)], case)
    assert not mistrusted([("1 all: 0 a diff", one), ("1 all: 0 b diff", zero)], case)
    # The same place, read again later.
    later = [("1 look: 0 a diff", zero), ("2 all: 0 a diff", one)]
    assert not mistrusted(later, case)
