"""Random and damaged networks; tests/random_networks.py tries more of them."""

import itertools
import subprocess
import sys
from collections import Counter

import pytest
import random_networks


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_networks_compute_what_caffe_computes(caffe, tmp_path, first):
    ends = Counter()
    for seed in range(first, first + 10):
        ends.update(random_networks.compare(caffe, tmp_path, seed) or ["equal"])
    assert ends["equal"] >= 5, ends


def test_random_networks_are_of_all_kinds():
    texts = [random_networks.make(seed)[0] for seed in range(40)]
    for words in (
        *("Deconvolution", "Pooling", "Eltwise", "Concat", "Softmax", "Reshape"),
        *("operation: MAX", "operation: PROD", "pool: AVE", "dilation: 2", "stride: 2"),
    ):
        assert sum(words in text for text in texts) >= 2, words
    shared = [text for text in texts if _has_shared_weights(text)]
    assert len(shared) >= 3


def _has_shared_weights(text):
    words = text.split()
    names = [b for a, b in itertools.pairwise(words) if a == "name:"]
    return any(count > 1 for name, count in Counter(names).items() if name[1] == "w")


def test_damaged_networks_are_named_or_translated(tmp_path):
    ends = Counter(
        random_networks.assert_damaged_is_refused_or_translated(tmp_path, seed)[1]
        for seed in range(200)
    )
    assert min(ends.values()) > 20


def test_the_program_finds_what_differs(caffe, tmp_path):
    command = [sys.executable, random_networks.__file__]
    numbers = ["--networks", "0", "--damaged", "4"]
    result = subprocess.run([*command, *numbers], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "failed: 0" in result.stdout
