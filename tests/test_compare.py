"""compare.py: real trainings, one of them failing, and the summary of them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from scipy import stats

from randrop.data.organ_set import write_organs
from randrop.evaluation import comparison, metrics
from randrop.report import comparison_tables


def run(loss, seed, **measures):
    return {"loss": loss, "seed": seed, "measures": measures}


RUNS = [
    run("ce", 1, dice=0.5, iou=0.3),
    run("ce", 2, dice=0.6, iou=None),
    run("ce", 3, dice=0.4, iou=0.2),
    run("dice", 1, dice=0.7, iou=0.4),
    run("dice", 3, dice=0.5, iou=0.1),
    run("dice", 4, dice=0.9, iou=0.9),
]


def test_means_and_spreads():
    losses = comparison.summary(RUNS)["losses"]
    assert losses["ce"]["dice"] == {
        "mean": pytest.approx(0.5),
        "sd": pytest.approx(0.1),
        "seeds": 3,
    }
    assert losses["ce"]["iou"]["seeds"] == 2


def test_differences_are_paired_by_seed():
    """Both losses have seeds 1 and 3; the interval is that of the paired t-test."""
    difference = comparison.summary(RUNS)["differences"]["dice"]
    found = difference["dice"]
    assert (found["seeds"], found["better"]) == (2, 2)
    test = stats.ttest_rel([0.7, 0.5], [0.5, 0.4]).confidence_interval()
    assert found["low"] == pytest.approx(test.low)
    assert found["high"] == pytest.approx(test.high)
    assert difference["iou"]["better"] == 1


def test_another_reference():
    content = comparison.summary(RUNS, "dice")
    assert list(content["differences"]) == ["ce"]
    assert content["differences"]["ce"]["dice"]["better"] == 0
    assert "Difference to dice with" in comparison_tables.markdown(content)


def test_one_seed_has_no_interval():
    content = comparison.summary([RUNS[0], RUNS[3]])
    found = content["differences"]["dice"]["dice"]
    assert (found["low"], found["seeds"]) == (None, 1)
    assert "| dice | +0.200, 1/1 |" in comparison_tables.markdown(content)


def test_tables_and_picture(tmp_path):
    content = comparison.summary(RUNS) | {
        "failed": [{"loss": "x", "seed": 9, "error": "why"}]
    }
    text = comparison_tables.markdown(content)
    assert "| ce | 0.500 ± 0.100 | 0.250 ± 0.071 |" in text
    assert "Failed: x, seed 9: why" in text
    json.dumps(content, allow_nan=False)
    comparison_tables.draw(tmp_path / "a.png", RUNS)
    many = [run("ce", 1, **{f"m{k}": 0.1 * k for k in range(8)})]
    comparison_tables.draw(tmp_path / "b.png", many)
    for name in "ab":
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def scored(shift, photographs=8, seed=0):
    """Return one histogram in bins per photograph; `shift` separates lesion scores."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(photographs):
        mask = rng.random((40, 50)) < 0.1
        score = rng.normal(0, 1, mask.shape) + shift * mask
        levels = np.rint(65535 / (1 + np.exp(-score))).astype(np.uint16)
        found.append(metrics.Compact.of(metrics.histogram(levels, mask)))
    return metrics.coarse(found)


def test_photographs_are_drawn_alike_for_all_losses():
    same = [{"MA": scored(1, seed=k)} for k in range(2)]
    content = comparison.by_photographs(
        {
            "ce": same,
            "twin": same,
            "better": [{"MA": scored(3, seed=k)} for k in (0, 1)],
        },
        "ce",
    )
    assert "difference" not in content["ce"]["MA"]
    # If nothing differs, the interval has no width, however wide each loss's own is.
    assert content["twin"]["MA"]["difference_interval"] == (0, 0)
    low, high = content["ce"]["MA"]["interval"]
    assert low < content["ce"]["MA"]["mean"] < high
    better = content["better"]["MA"]
    low, high = better["difference_interval"]
    assert 0 < low < better["difference"] < high
    text = comparison_tables.markdown(
        comparison.summary(RUNS) | {"photographs": content, "reference": "ce"}
    )
    assert f"+{better['difference']:.3f} [+{low:.3f}, +{high:.3f}]" in text


def test_a_type_that_is_nowhere_has_no_precision():
    none = [counts * [[1], [0]] for counts in scored(1)]
    losses = {"ce": [{"MA": scored(1), "SE": none, "EX": []}]}
    assert list(comparison.by_photographs(losses, "ce")["ce"]) == ["MA"]


def test_few_photographs_have_no_interval(tmp_path):
    losses = {"ce": [{"MA": scored(1, 3)}], "dice": [{"MA": scored(2, 3)}]}
    content = comparison.by_photographs(losses, "ce")
    assert content["dice"]["MA"]["difference_interval"] is None
    runs = [run(n, 1, **{"MA average precision": 0.3, "other": 0.1}) for n in losses]
    comparison_tables.draw(tmp_path / "a.png", runs, content)
    assert (tmp_path / "a.png").exists()


def test_nothing_at_all_is_no_error():
    empty = {"losses": {}, "reference": None, "differences": {}}
    assert comparison.summary([]) == empty
    assert comparison_tables.markdown({**comparison.summary([]), "failed": []})


def compare(*arguments):
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts/compare.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def organs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "organs"
    write_organs(folder, 32, 2, 3, 0.1, train=4, validation=2)
    return folder


def test_a_comparison_goes_on_after_a_failure(caffe, organs, tmp_path):
    out = tmp_path / "out"
    # The obstacles of two trainings are found when their turn comes.
    (out / "exp-log-seed1").mkdir(parents=True)
    in_the_way = [out / "exp-log-seed1" / "run", out / "exp-log-seed2"]
    for path in in_the_way:
        path.write_text("mine")
    command = [
        *("--data", organs, "--losses", "cross-entropy", "dice", "exp-log"),
        *("--seeds", 1, 2, "--out", out, "--jobs", 2, "--results", tmp_path / "r.json"),
        *("--", "--iterations", 20, "--base-channels", 2, "--depth", 2),
        *("--test-interval", 10, "--snapshot", 10),
    ]
    result = compare(*command)
    assert result.returncode == 1
    assert "error: exp-log, seed 1: train.py ended with 2" in result.stderr
    assert "error: exp-log, seed 2: " in result.stderr
    assert "Traceback" not in result.stderr
    assert all(path.read_text() == "mine" for path in in_the_way)
    summary = json.loads((out / "summary.json").read_text())
    assert [(r["loss"], r["seed"]) for r in summary["runs"]] == [
        ("cross-entropy", 1),
        ("cross-entropy", 2),
        ("dice", 1),
        ("dice", 2),
    ]
    assert len(summary["failed"]) == 2
    assert list(summary["differences"]) == ["dice"]
    for run_ in summary["runs"]:
        assert set(run_["measures"]) == {
            *("mean Dice", "mean IoU", "Dice organ1", "Dice organ2")
        }
    for suffix in (".json", ".md", ".png"):
        assert (tmp_path / "r").with_suffix(suffix).exists()

    # Again: finished runs are left alone, stopped ones continue.
    finished = out / "dice-seed1" / "run"
    before = (finished / "final.caffemodel").stat().st_mtime_ns
    stopped = out / "dice-seed2" / "run"
    whole = (stopped / "final.caffemodel").read_bytes()
    (stopped / "final.caffemodel").unlink()
    for path in stopped.glob("snapshots/*_iter_20.*"):
        path.unlink()
    (out / "dice-seed2" / "evaluation" / "metrics.json").unlink()
    result = compare(*command)
    assert (finished / "final.caffemodel").stat().st_mtime_ns == before
    assert (stopped / "final.caffemodel").exists()
    assert "Resuming" in (stopped / "log.txt").read_text()
    assert len(whole) == (stopped / "final.caffemodel").stat().st_size
    again = json.loads((out / "summary.json").read_text())
    assert len(again["runs"]) == 4
    dice = [r["measures"]["mean Dice"] for r in again["runs"]]
    assert np.isfinite(dice).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["exp-log:gamma_dice=-1"], "exp-log:gamma_dice=-1: gamma_dice is -1"),
        (["dise"], "loss 'dise' is unknown: choose from cross-entropy"),
        (["focal:alpha=0.3"], "unknown parameter 'alpha'"),
        (["exp-log:label_frequency=1/2"], "label_frequency has 2 values for 3 classes"),
        (["dice", "--", "--out", "x"], "--out after -- is not possible"),
        (["dice", "--", "--seed", "3"], "--seed after -- is not possible"),
        (["dice", "--", "--batch", "0"], "--batch must be at least 1"),
        (
            ["dice", "--", "--no-such-option"],
            "unrecognized arguments: --no-such-option",
        ),
    ],
)
def test_mistakes_are_found_before_the_first_training(organs, tmp_path, change, words):
    out = tmp_path / "out"
    result = compare(
        "--data", organs, "--out", out, "--losses", "cross-entropy", *change
    )
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()


def test_each_loss_gets_the_learning_rate_that_suits_it(caffe, phantom, tmp_path):
    out = tmp_path / "out"
    command = [
        *("--data", phantom, "--losses", "cross-entropy", "exp-log", "--out", out),
        *("--learning-rates", 1e-9, 1e-2, "--search-iterations", 40, "--jobs", 2),
        "--costs",
        *("--", "--iterations", 10, "--base-channels", 2, "--depth", 2),
        *("--patch", 32, "--test-interval", 10, "--test-iterations", 1),
    ]
    result = compare(*command)
    assert result.returncode == 0, result.stderr
    summary = json.loads((out / "summary.json").read_text())
    for loss, by_rate in summary["search"].items():
        assert set(by_rate) == {"1e-09", "0.01"}
        assert summary["learning_rates"][loss] == max(by_rate, key=by_rate.get)
    # Two lesion types, with one sigmoid each or a softmax over them.
    for run_ in summary["runs"]:
        assert {"MA average precision", "HE FROC score"} <= set(run_["measures"])
        own = summary["photographs"][run_["loss"]]["HE"]["mean"]
        assert own == pytest.approx(run_["measures"]["HE average precision"], abs=2e-3)
        solver = (out / f"{run_['loss']}-seed1/run/solver.prototxt").read_text()
        assert f"base_lr: {summary['learning_rates'][run_['loss']]}" in solver
    held_out = json.loads((out / "search/split.json").read_text())
    names = set(json.loads((phantom / "split.json").read_text())["validation"])
    assert not names & set(held_out["train"] + held_out["validation"])
    assert "chosen" in result.stdout
    # Existing measurements stay unchanged.
    report = out / "exp-log-seed1/evaluation/report.html"
    before = report.stat().st_mtime_ns
    assert compare(*command).returncode == 0
    assert report.stat().st_mtime_ns == before
    for cost in summary["costs"].values():
        assert 0 < cost["loss_share"] < 1
        assert 0 < cost["data_share"] < 1
    assert set(summary["costs"]) == set(summary["search"])


def test_bad_arguments_are_named(tmp_path):
    common = ("--losses", "dice", "--out", tmp_path / "o")
    result = compare("--data", tmp_path / "none", *common)
    assert result.returncode == 2
    assert "the folder does not exist" in result.stderr
    result = compare("--data", tmp_path, *common, "--jobs", 0)
    assert "--jobs must be at least 1" in result.stderr
    result = compare("--data", tmp_path, *common, "--reference", "focal")
    assert "--reference focal is not among the --losses" in result.stderr
    assert not (tmp_path / "o").exists()
