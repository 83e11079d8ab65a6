"""Validation on whole photographs during a training, and the best snapshot."""

import contextlib
import itertools
import json
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import every_script
import pytest
from small_training import command, run, weights

from randrop.errors import UserError
from randrop.files import ownership
from randrop.training import snapshots, validation
from randrop.training.validator import Validator

EVERY = ("--snapshot", 6, "--validate-every", 6)


@pytest.fixture(scope="module")
def validated(caffe, phantom, tmp_path_factory):
    """A training with two validations, which tests only read."""
    out = tmp_path_factory.mktemp("validated") / "run"
    result = run(phantom, out, *EVERY, "--lr", 0.01)
    assert result.returncode == 0, result.stderr
    return SimpleNamespace(out=out, said=result.stdout + result.stderr)


def points(out):
    """Return what was measured, without how long it took."""
    found = json.loads((out / "validation.json").read_text())["points"]
    return [{k: v for k, v in one.items() if k != "seconds"} for one in found]


def test_it_measures_what_predict_and_evaluate_measure(validated, phantom, tmp_path):
    data = ("--data", phantom)
    maps, out = tmp_path / "maps", tmp_path / "evaluation"
    own = ("--run", validated.out, *data, "--out")
    every_script.done(every_script.start("predict", *own, maps))
    more = ("--probabilities", maps, "--overlays", "telling")
    every_script.done(every_script.start("evaluate", *own, out, *more))
    metrics = json.loads((out / "metrics.json").read_text())
    assert [one["iteration"] for one in points(validated.out)] == [6, 12]
    last = points(validated.out)[-1]["lesions"]
    for lesion, measured in metrics["lesions"].items():
        assert last[lesion] == {
            "average_precision": measured["average_precision"],
            "froc_score": measured["froc"]["score"],
        }


def test_it_is_shown_in_log_bar_and_curves(validated):
    log = (validated.out / "log.txt").read_text()
    curves = json.loads((validated.out / "curves.json").read_text())
    for point in points(validated.out):
        value = point["lesions"]["MA"]["average_precision"]
        line = f"iteration {point['iteration']}: MA average precision {value:.4f}"
        assert line in log
        assert line in validated.said
        assert [point["iteration"], value] in curves["average_precision"]["MA"]
        froc = point["lesions"]["HE"]["froc_score"]
        assert [point["iteration"], froc] in curves["froc_score"]["HE"]
    assert f"AP MA={value:.3f}" in validated.said


def test_the_best_snapshot_is_kept_with_its_measures(caffe, validated):
    """Its weights equal those of the snapshot; equal to the last, its bytes do, too."""
    out = validated.out
    best = validation.best_of(points(out))
    known = json.loads((out / "run.json").read_text())["best"]
    assert known == best
    model = out / f"snapshots/net_iter_{best['iteration']}.caffemodel"
    assert (weights(caffe, out / "best.caffemodel") == weights(caffe, model)).all()
    assert snapshots.is_sealed(out / "best.caffemodel")
    assert ownership.sha256(out / "best.caffemodel") == best["weights_sha256"]
    validation.keep_best(out)
    assert json.loads((out / "run.json").read_text())["best"] == best


def test_weights_do_not_depend_on_it(validated, phantom, tmp_path):
    result = run(phantom, tmp_path, "--snapshot", 6, "--lr", 0.01)
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "validation.json").exists()
    name = "final.caffemodel"
    assert (tmp_path / name).read_bytes() == (validated.out / name).read_bytes()


def test_a_resumed_training_measures_what_an_earlier_part_left_out(
    validated, phantom, tmp_path
):
    """As after a kill: one snapshot was not validated, and the next not taken."""
    more = (*EVERY, "--lr", 0.01)
    assert run(phantom, tmp_path, *more).returncode == 0
    for path in (
        *tmp_path.glob("snapshots/net_iter_12.*"),
        *tmp_path.glob("best.*"),
        *(tmp_path / name for name in ("final.caffemodel", "validation.json")),
    ):
        path.unlink()
    result = run(phantom, tmp_path, *more, "--resume")
    assert result.returncode == 0, result.stderr
    assert points(tmp_path) == points(validated.out)
    for name in ("best.caffemodel", "final.caffemodel"):
        assert (tmp_path / name).read_bytes() == (validated.out / name).read_bytes()


def test_ctrl_c_stops_a_validation_and_resuming_repeats_it(caffe, phantom, tmp_path):
    options = {"iterations": 4000, "interval": 4000}
    more = ("--snapshot", 40, "--validate-every", 40)
    process = subprocess.Popen(
        command(phantom, tmp_path, *more, **options), stderr=subprocess.PIPE, text=True
    )
    first = tmp_path / "snapshots/net_iter_40.sha256"
    for _ in range(600):
        if first.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert time.monotonic() - began < 20
    assert "Traceback" not in said
    plan = validation.Plan(40, 4000, tuple(validation.read(tmp_path)["photographs"]))
    assert validation.pending(tmp_path, plan, 40)


def validating(out):
    """Return whether a process validates a snapshot of a run."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes()
            if b"validation.main()" in words and str(out).encode() in words:
                return True
    return False


def test_a_kill_leaves_no_validation_behind(caffe, phantom, tmp_path):
    more = ("--snapshot", 40, "--validate-every", 40)
    process = subprocess.Popen(
        command(phantom, tmp_path, *more, iterations=40000, interval=40000),
        stderr=subprocess.DEVNULL,
    )
    for _ in range(1200):
        if validating(tmp_path):
            break
        time.sleep(0.05)
    else:
        pytest.fail("no validation began")
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while validating(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert not validating(tmp_path)


def test_a_validation_that_fails_does_not_stop_the_training(validated, tmp_path):
    """Its result is the reason."""
    plan = validation.Plan(6, 12, ("phantom_0001", "no such photograph"))
    state = tmp_path / "snapshots/net_iter_6.solverstate"
    state.parent.mkdir()
    state.with_suffix(".caffemodel").write_bytes(b"not a caffemodel")
    for name in ("run.json", "deploy.prototxt"):
        (tmp_path / name).write_bytes((validated.out / name).read_bytes())
    with Validator(tmp_path, plan) as validator:
        validator.offer(state)
        found = list(itertools.chain(*(validator.finished(60) for _ in range(1))))
        assert not validator.busy
    assert len(found) == 1
    assert isinstance(found[0], UserError)
    assert "iteration 6 could not be validated: " in str(found[0])
    assert "damaged or not a caffemodel" in str(found[0])


def point(iteration, *precisions):
    types = ("MA", "HE")
    lesions = {
        lesion: {"average_precision": value, "froc_score": value}
        for lesion, value in zip(types, precisions, strict=False)
    }
    return {
        "iteration": iteration,
        "lesions": lesions,
        "mean_average_precision": validation.mean(lesions),
    }


def test_the_best_is_the_first_of_the_highest_mean():
    found = [point(1, 0.2, 0.4), point(2, 0.5, 0.3), point(3, 0.4, 0.4)]
    assert validation.best_of(found)["iteration"] == 2
    assert validation.best_of([]) is None
    assert validation.best_of([point(1, None, None)]) is None
    # A type without a lesion in the photographs does not count.
    assert validation.mean(point(1, 0.25, None)["lesions"]) == 0.25


@pytest.mark.parametrize("count", [1, 2, 5, 7, 12, 30])
def test_photographs_are_spread_over_the_set(count):
    cases = range(12)
    found = validation.chosen(cases, count)
    assert len(set(found)) == len(found) == min(count, 12)
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("megapixels", "every"), [(0.1, 100), (1, 200), (1.9, 400), (1000, 1000)]
)
def test_the_interval_keeps_validations_below_a_tenth(megapixels, every):
    """A multiple of the snapshots' interval; at the end of the training at the latest.

    100 iterations of 100 x 100 pixels are 1 Mpixel; a pixel costs half as much.
    """
    case = SimpleNamespace(size=lambda: (1000, round(megapixels * 400)))
    assert validation.COST == 0.5
    found = validation.interval([case], 100 * 100, 100, 950)
    assert found == {100: 100, 200: 200, 400: 400, 1000: 1000}[every]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--validate-every", 7], "7 is not a multiple of --snapshot 1000"),
        (["--validate-every", -1000], "-1000: give a number of iterations, or 0"),
        (["--validate-photographs", 0], "must be at least 1; --validate-every 0"),
    ],
)
def test_what_cannot_be_validated_is_refused(phantom, tmp_path, more, message):
    result = run(phantom, tmp_path / "run", *more)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_damaged_file_of_points_is_measured_again(tmp_path, caplog):
    (tmp_path / "validation.json").write_text("{")
    assert validation.read(tmp_path)["points"] == []
    assert "validated again" in caplog.text
