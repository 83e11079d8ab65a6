"""Reading Caffe's log: the numbers, and why a training failed."""

import pytest

from randrop.training.caffe_log import Curves, why_failed


def test_the_logs_numbers():
    curves = Curves()
    text = """\
I1120 22:59:05.000000  9 solver.cpp:239] Iteration 0 (-1.4e-45 iter/s, 0.4s/10 iters), loss = 12.5
I1120 22:59:05.000000  9 sgd_solver.cpp:112] Iteration 0, lr = 0.001
I1120 22:59:05.000000  9 solver.cpp:347] Iteration 5, Testing net (#0)
I1120 22:59:05.000000  9 solver.cpp:414]     Test net output #0: loss = 7.25 (* 1 = 7.25 loss)
randrop.data: waited 0.12 s of 60.1 s (0.2 %) for 200 patches
I1120 22:59:05.000000  9 solver.cpp:239] Iteration 10 (1 iter/s, 10s/10 iters), loss = nan
"""  # noqa: E501
    told = [curves.read(line) for line in text.splitlines()]
    assert told == [True, False, False, False, False, True]
    content = curves.to_json()
    assert content["training_loss"] == [[0, 12.5], [10, None]]
    assert content["validation_loss"] == [[5, 7.25]]
    assert content["learning_rate"] == [[0, 0.001]]
    assert content["data_waiting"]["share_percent"] == 0.2


def test_several_losses_are_summed_by_their_weights():
    curves = Curves()
    for line in (
        "] Iteration 5, Testing net (#0)",
        "]     Test net output #0: loss_cross-entropy = 2 (* 1 = 2 loss)",
        "]     Test net output #1: loss_top-k-dice@2 = 0.5 (* 0.5 = 0.25 loss)",
        "]     Test net output #2: accuracy = 0.9",
        "] Iteration 10, Testing net (#0)",
        "]     Test net output #0: loss = 7",
    ):
        curves.read(line)
    assert curves.validation == [(5, 2.25), (10, 7)]


def test_a_resumed_run_replaces_what_it_repeats():
    curves = Curves()
    for iteration, loss in ((0, 9), (10, 8), (20, 7), (10, 6)):
        curves.read(f"] Iteration {iteration} (1 iter/s), loss = {loss}")
    assert curves.training == [(0, 9), (10, 6)]


@pytest.mark.parametrize(
    ("loss", "diverged"), [("-nan", True), ("nan", True), ("inf", False), ("1", False)]
)
def test_only_nan_is_divergence(loss, diverged):
    curves = Curves()
    assert not curves.diverged
    curves.read(f"] Iteration 10 (1 iter/s), loss = {loss}")
    assert curves.diverged == diverged


PREFIX = "F20261121 01:17:40.553853 25220 "


@pytest.mark.parametrize(
    ("status", "lines", "cause", "remedy"),
    [
        (
            -6,
            [
                "F1120 10:00:00.000000  1 layer_factory.hpp:81] Check failed: registry."
                "count(type) == 1 (0 vs. 1) Unknown layer type: Python (known types: "
                "AbsVal)",
                "*** Check failure stack trace: ***",
            ],
            "Unknown layer type: Python",
            "WITH_PYTHON_LAYER := 1",
        ),
        (
            -6,
            [
                PREFIX + "io.cpp:76] Check failed: proto.SerializeToOstream(&output) ",
                "*** Check failure stack trace: ***",
                "    @     0x56300a8d0241  _start",
            ],
            "Check failed: proto.Serialize",
            "the disk is full, or its folder is missing",
        ),
        (
            -6,
            [PREFIX + "common.cpp:36] Cannot use GPU in CPU-only Caffe: check mode."],
            "status -6: Cannot use GPU",
            "build_caffe.py --gpu",
        ),
        (
            -6,
            [
                "Traceback (most recent call last):",
                '  File "layer.py", line 56, in setup',
                "randrop.errors.UserError: no mask has a lesion",
                "of two images",
                "terminate called after throwing an instance of 'boost'",
            ],
            "status -6: no mask has a lesion\nof two images\nIts log",
            "",
        ),
        (-9, ["I20261121 01:17:40.5 1 solver.cpp:1] Iteration 3"], "-9", "memory"),
    ],
)
def test_a_failure_says_cause_and_remedy(tmp_path, status, lines, cause, remedy):
    message = why_failed(lines, status, tmp_path / "log.txt")
    assert cause in message
    assert remedy in message
    assert str(tmp_path / "log.txt") in message
