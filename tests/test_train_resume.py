"""train.py interrupted and resumed, with the real `caffe train`."""

import json
import random
import signal
import subprocess
import time

import every_script
import numpy as np
import pytest
from small_training import command, kept, losses, run, weights

from randrop.errors import UserError
from randrop.training import caffe_train, continuing, snapshots


def start(data, out, *more, until, **options):
    """Start a training and return it when its log reports an iteration."""
    process = subprocess.Popen(
        command(data, out, *more, **options), stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        log = out / "log.txt"
        if log.exists() and until in log.read_text():
            break
        time.sleep(0.1)
    return process


def forget(out, *iterations):
    """Make a run as if it had been killed before these snapshots."""
    for iteration in iterations:
        for path in out.glob(f"snapshots/*_iter_{iteration}.*"):
            path.unlink()
    (out / "final.caffemodel").unlink()


@pytest.mark.parametrize("layer", ["native", "python"])
def test_a_resumed_training_equals_an_uninterrupted_one(
    caffe, phantom, tmp_path, layer
):
    """Bit for bit: weights, patches and masks continue where they stopped."""
    more = ["--snapshot", 5, "--watch-mask", "--workers", 2]
    more += ["--python-layer"] if layer == "python" else []
    assert run(phantom, tmp_path, *more, iterations=20).returncode == 0
    final = tmp_path / "final.caffemodel"
    whole, content = weights(caffe, final), final.read_bytes()
    watched, curve = kept(tmp_path), losses(tmp_path)
    forget(tmp_path, 15, 20)
    result = run(phantom, tmp_path, *more, "--resume", iterations=20)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(weights(caffe, final), whole)
    assert final.read_bytes() == content
    assert kept(tmp_path) == watched
    assert [i for i, _ in losses(tmp_path)] == [i for i, _ in curve]


def test_a_training_goes_on_with_other_workers_and_snapshots(caffe, phantom, tmp_path):
    """Settings without effect on the result may change, and the result stays."""
    more = ["--snapshot", 5, "--workers", 2]
    assert run(phantom, tmp_path, *more, iterations=20).returncode == 0
    whole = weights(caffe, tmp_path / "final.caffemodel")
    forget(tmp_path, 15, 20)
    more = ["--snapshot", 4, "--workers", 1, "--resume"]
    result = run(phantom, tmp_path, *more, iterations=20, interval=3)
    assert result.returncode == 0, result.stderr
    assert "snapshot: 4" in (tmp_path / "solver.prototxt").read_text()
    np.testing.assert_array_equal(weights(caffe, tmp_path / "final.caffemodel"), whole)
    known = json.loads((tmp_path / "run.json").read_text())
    assert (known["workers"], known["snapshot"], known["test_interval"]) == (1, 4, 3)
    assert continuing.same_settings(tmp_path, known | {"gpu": True})
    with pytest.raises(UserError, match=r"other settings \(batch 2 -> 3\)"):
        continuing.same_settings(tmp_path, known | {"gpu": True, "batch": 3})


def test_interrupted_it_snapshots_and_resumes(caffe, phantom, tmp_path):
    options = {"iterations": 3000, "interval": 3000}
    process = start(phantom, tmp_path, until="Iteration 20 ", **options)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    (state,) = (tmp_path / "snapshots").glob("*.solverstate")
    at = caffe_train.iteration_of(state)
    assert 20 <= at < 3000
    assert f"Run the same command with --resume to continue from iteration {at}" in said
    result = run(phantom, tmp_path, **options)
    assert result.returncode == 2
    assert "continue with --resume" in result.stderr
    assert not (tmp_path / "final.caffemodel").exists()

    soon = f"Iteration {at // 10 * 10 + 20} "
    process = start(phantom, tmp_path, "--resume", until=soon, **options)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert "Resuming from" in (tmp_path / "log.txt").read_text()


def test_interrupted_twice_it_ends_at_once(caffe, phantom, tmp_path):
    """While caffe is in an iteration that takes seconds, without a snapshot yet."""
    large = ["--patch", 256, "--batch", 8, "--base-channels", 64, "--depth", 3]
    process = start(phantom, tmp_path, *large, until="Iteration 0 ", iterations=500)
    # The line comes at the end of iteration 0, where Caffe would still take a snapshot.
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Stopped before the first snapshot" in said


def test_a_snapshot_that_fails_at_ctrl_c_is_no_clean_stop(caffe, phantom, tmp_path):
    options = {"iterations": 100000, "interval": 100000}
    more = ["--snapshot", 100000]
    process = start(phantom, tmp_path, *more, until="Iteration 20 ", **options)
    (tmp_path / "snapshots").rmdir()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert "caffe could not write the snapshot" in said
    assert "to continue from" not in said


def test_resume_passes_over_a_damaged_snapshot(caffe, phantom, tmp_path):
    assert run(phantom, tmp_path, "--snapshot", 6).returncode == 0
    folder = tmp_path / "snapshots"
    (tmp_path / "final.caffemodel").unlink()
    model = folder / "net_iter_12.caffemodel"
    content = model.read_bytes()
    model.write_bytes(content[: len(content) - 20])
    with pytest.raises(UserError, match="not one of iteration 12"):
        caffe_train.finish(tmp_path, 12)
    model.write_bytes(content)
    state = folder / "net_iter_12.solverstate"
    # Cut at this length, the rest still parses, with fewer moments.
    state.write_bytes(state.read_bytes()[:500])
    assert caffe_train.iteration_of(snapshots.newest(tmp_path)) == 6
    result = run(phantom, tmp_path, "--snapshot", 6, "--resume")
    assert result.returncode == 0, result.stderr
    assert "net_iter_12.solverstate or its .caffemodel is damaged" in result.stderr
    assert (tmp_path / "final.caffemodel").read_bytes()


def test_a_training_from_weights_resumes(caffe, phantom, tmp_path):
    assert run(phantom, tmp_path / "a").returncode == 0
    more = ["--weights", tmp_path / "a" / "final.caffemodel", "--snapshot", 6]
    assert run(phantom, tmp_path / "b", *more).returncode == 0
    forget(tmp_path / "b", 12)
    result = run(phantom, tmp_path / "b", *more, "--resume")
    assert result.returncode == 0, result.stderr


def test_resume_refusals(caffe, phantom, tmp_path):
    result = run(phantom, tmp_path, "--resume")
    assert result.returncode == 2
    assert "has no snapshot to resume from" in result.stderr
    assert run(phantom, tmp_path, "--snapshot", 6).returncode == 0
    forget(tmp_path, 12)
    result = run(phantom, tmp_path, "--snapshot", 6, "--resume", "--lr", 0.5)
    assert result.returncode == 2
    assert "other settings (lr 0.001 -> 0.5)" in result.stderr
    (tmp_path / "run.json").unlink()
    result = run(phantom, tmp_path, "--snapshot", 6, "--resume")
    assert result.returncode == 2
    assert "has no run.json" in result.stderr


def test_a_finished_training_is_extended(caffe, phantom, tmp_path):
    """On the learning rates of the new length; killed on the way, to the same bits."""
    more = ["--snapshot", 6]
    assert run(phantom, tmp_path, *more).returncode == 0
    short = (tmp_path / "final.caffemodel").read_bytes()
    result = run(phantom, tmp_path, *more, iterations=24)
    assert result.returncode == 2
    assert "is one of 12 iterations: add --resume to extend it" in result.stderr
    assert (tmp_path / "final.caffemodel").read_bytes() == short

    every_script.done(
        every_script.start("average_snapshots", "--run", tmp_path, "--last", 2)
    )
    result = run(phantom, tmp_path, *more, "--resume", iterations=24)
    assert result.returncode == 0, result.stderr
    assert "is the mean of snapshots of the shorter training" in result.stderr
    whole = (tmp_path / "final.caffemodel").read_bytes()
    assert whole != short
    assert snapshots.weights_of(tmp_path / "snapshots/net_iter_12.caffemodel") == short
    rates = json.loads((tmp_path / "curves.json").read_text())["learning_rate"]
    # It falls to 0 at the end of each length.
    expected = [(0, 1), (10, 1 - 10 / 12), (20, 1 - 20 / 24)]
    assert rates == [
        [i, pytest.approx(1e-3 * share, rel=1e-5)] for i, share in expected
    ]
    known = json.loads((tmp_path / "run.json").read_text())
    assert known["iterations"] == 24
    assert known["extended"] == [{"iterations": 12, "at": 12}]

    forget(tmp_path, 18, 24)
    result = run(phantom, tmp_path, *more, "--resume", iterations=24)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "final.caffemodel").read_bytes() == whole
    again = json.loads((tmp_path / "run.json").read_text())
    assert again["extended"] == known["extended"]

    result = run(phantom, tmp_path, *more, "--resume", iterations=12)
    assert result.returncode == 2
    assert "which can be extended, but not shortened" in result.stderr
    assert (tmp_path / "final.caffemodel").read_bytes() == whole


def test_what_was_trained_is_not_lost_by_extending_it(caffe, phantom, tmp_path):
    """Where the last snapshot is gone, final.caffemodel is the only copy."""
    assert run(phantom, tmp_path, "--snapshot", 6).returncode == 0
    before = (tmp_path / "final.caffemodel").read_bytes()
    for path in tmp_path.glob("snapshots/net_iter_12.*"):
        path.unlink()
    result = run(phantom, tmp_path, "--snapshot", 6, "--resume", iterations=24)
    assert result.returncode == 2
    assert "snapshot of iteration 12 is missing or damaged" in result.stderr
    assert (tmp_path / "final.caffemodel").read_bytes() == before
    assert json.loads((tmp_path / "run.json").read_text())["iterations"] == 12


SEEDS = [
    *(0, pytest.param(1, marks=pytest.mark.slow)),
    *(pytest.param(k, marks=pytest.mark.thorough) for k in range(2, 7)),
]


@pytest.fixture(scope="module")
def uninterrupted(caffe, phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(phantom, out, *OFTEN, iterations=60).returncode == 0
    return out


# The CPU engine and two threads, with snapshots so often that a kill hits some.
OFTEN = ("--snapshot", 3, "--workers", 2, "--threads", 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_any_time_it_goes_on_as_if_nothing_had_been(
    caffe, phantom, uninterrupted, tmp_path, seed
):
    """Bit for bit, however often."""
    draw = random.Random(seed)
    for kill in range(2):
        out = tmp_path
        more = (*OFTEN, *(("--resume",) if list(out.glob(RESUMABLE)) else ()))
        until = f"Iteration {draw.choice([10, 20, 30]) + 20 * kill} "
        process = start(phantom, out, *more, until=until, iterations=60)
        time.sleep(draw.uniform(0, 0.2))
        process.kill()
        process.communicate()
    if not (tmp_path / "final.caffemodel").exists():
        more = ("--resume",) if list(tmp_path.glob(RESUMABLE)) else ("--force",)
        result = run(phantom, tmp_path, *OFTEN, *more, iterations=60)
        assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(
        weights(caffe, tmp_path / "final.caffemodel"),
        weights(caffe, uninterrupted / "final.caffemodel"),
    )
    # The losses in the log are running means that start again.
    times = [[i for i, _ in losses(out)] for out in (tmp_path, uninterrupted)]
    assert times[0] == times[1]


RESUMABLE = "snapshots/*.sha256"


def test_a_run_of_an_older_version_has_the_defaults_of_newer_options(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"lesions": ["MA"], "lr": 0.001}))
    settings = {"lesions": ["MA"], "lr": 0.001, "lesion_draw": "pixel"}
    settings |= {"bf16": False, "max_channels": None}
    assert continuing.same_settings(tmp_path, settings)
    with pytest.raises(UserError, match="lesion_draw 'pixel' -> 'lesion'"):
        continuing.same_settings(tmp_path, settings | {"lesion_draw": "lesion"})


def test_what_is_known_of_earlier_parts_stays(tmp_path):
    """The best snapshot, and every length that the training was planned with."""
    known = {"iterations": 8, "best": {"iteration": 6}}
    known["extended"] = [{"iterations": 4, "at": 3}]
    (tmp_path / "run.json").write_text(json.dumps(known))
    kept = {name: known[name] for name in ("best", "extended")}
    assert continuing.history(tmp_path, 8, 6) == kept
    kept["extended"] = [*known["extended"], {"iterations": 8, "at": 6}]
    assert continuing.history(tmp_path, 20, 6) == kept
    (tmp_path / "run.json").write_text(json.dumps({"iterations": 8}))
    assert continuing.history(tmp_path, 8, 6) == {}
