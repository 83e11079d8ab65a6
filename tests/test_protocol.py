"""A comparison by a protocol: what is kept of a run, and real trainings of it."""

import json
import shutil

import every_script
import numpy as np
import pytest
from small_protocol import CONTENT, arm, folds, record

from randrop.errors import UserError
from randrop.evaluation import metrics, protocol_summary, run_record
from randrop.training import protocol

TYPES = ("MA", "HE", "EX")
EVERY_100 = np.arange(0, 65536, 100)


def scene(seed, size=(40, 50)):
    """Return levels and masks that overlap in places."""
    rng = np.random.default_rng(seed)
    masks = {name: (rng.random(size) < 0.15).astype(np.uint8) for name in TYPES}
    score = rng.normal(-1, 1, size) + 2 * masks["MA"] + masks["HE"]
    return np.rint(65535 / (1 + np.exp(-score))).astype(np.uint16), masks


def test_each_pixel_has_one_kind():
    levels, masks = scene(1)
    found = run_record.by_kind(levels, masks, "HE")
    assert found.names == ("HE", "MA", "EX", run_record.NOTHING)
    assert found.counts.sum() == levels.size
    kind = np.where(
        masks["HE"], 0, np.where(masks["MA"], 1, np.where(masks["EX"], 2, 3))
    )
    for k in range(4):
        expected = np.bincount(levels[kind == k], minlength=65536)
        assert np.array_equal(found.counts[k], expected)


def test_false_pixels_at_half_recall():
    levels, masks = scene(2)
    found = run_record.confusion(run_record.by_kind(levels, masks, "MA"))
    level = round(found["threshold"] * 65535)
    above, own = levels >= level, masks["MA"] == 1
    hits = (above & own).sum()
    assert hits >= 0.5 * own.sum() > (levels[own] > level).sum()
    haemorrhage = (masks["HE"] == 1) & ~own
    assert found["false_per_true"]["HE"] == (above & haemorrhage).sum() / hits
    total = sum(found["false_per_true"].values())
    assert found["precision"] == pytest.approx(1 / (1 + total))


def test_precision_without_another_type():
    """It is the precision of the pixels that remain when those are cut out."""
    levels, masks = scene(3)
    own = masks["MA"]
    found = run_record.confusion(run_record.by_kind(levels, masks, "MA"))
    rest = (masks["HE"] == 0) | (own == 1)
    counts = metrics.histogram(levels[rest][None], own[rest][None])
    expected = metrics.average_precision(metrics.curve(counts))
    assert found["without"]["HE"] == pytest.approx(expected)
    whole = metrics.curve(metrics.histogram(levels, own))
    assert found["without"]["HE"] > metrics.average_precision(whole)


def test_no_lesion_has_no_confusion():
    levels, masks = scene(4)
    masks["MA"][:] = 0
    assert run_record.confusion(run_record.by_kind(levels, masks, "MA")) is None


@pytest.mark.parametrize("seed", range(5))
def test_bins_keep_the_precision(seed):
    levels, masks = scene(seed, (300, 400))
    counts = run_record.two(run_record.by_kind(levels, masks, "MA"))
    exact = metrics.average_precision(metrics.curve(counts))
    few = metrics.binned(counts, run_record.edges_of(counts))
    assert few.shape[1] < 250
    binned = metrics.average_precision(metrics.curve(few))
    assert binned == pytest.approx(exact, abs=3e-3)


def fold(shift, seed, photographs=6):
    """Return the histograms of photographs; `shift` separates lesion pixels."""
    rng = np.random.default_rng(seed)
    found = {}
    for k in range(photographs):
        mask = rng.random((60, 60)) < 0.05
        score = rng.normal(0, 1, mask.shape) + shift * mask - 2
        levels = np.rint(65535 / (1 + np.exp(-score))).astype(np.uint16)
        counts = metrics.histogram(levels, mask)
        found[f"p{k}"] = metrics.binned(counts, EVERY_100)
    return found


def test_a_loss_does_not_differ_from_itself():
    same = [fold(1, k) for k in range(3)]
    assert np.array_equal(protocol_summary.nested(same, same, draws=50), np.zeros(50))


def test_folds_are_part_of_the_spread():
    """Seeds that disagree widen the interval; photographs alone would not."""
    alike = protocol_summary.nested([fold(1.5, k) for k in range(3)], draws=300)
    unlike = protocol_summary.nested([fold(s, 1) for s in (0.2, 1.5, 3)], draws=300)
    assert np.std(unlike) > 3 * np.std(alike)


def test_right_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, 3, (1000, 1000))
    mask = rng.random(p.shape) < p

    def measured(claimed):
        levels = np.rint(claimed * 65535).astype(np.uint16)
        counts = metrics.histogram(levels, mask)
        edges = run_record.edges_of(counts)
        rows = [" ".join(map(str, row)) for row in metrics.binned(counts, edges)]
        own = {"edges": " ".join(map(str, edges)), "photographs": {"a": rows}}
        return protocol_summary.calibration([own, own])

    right, twice = measured(p), measured(np.minimum(2 * p, 1))
    assert right["sum_ratio"] == pytest.approx(1, abs=0.02)
    assert right["error"] < 0.01
    assert twice["sum_ratio"] > 1.5
    assert twice["error"] > 0.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reference": "dice"}, "not among the arms"),
        ({"arms": [{"loss": "cross-entropy", "folds": 3}]}, "asks for 3 folds"),
        ({"arms": [{"loss": "cross-entropy", "folds": 1}] * 2}, "occurs twice"),
        (
            {"folds": [{"test": ["a"], "validation": ["a"]}] * 2},
            "in test and in validation",
        ),
        (
            {"arms": [{"loss": "cross-entropy", "training": ["--x"], "folds": 1}]},
            "needs a name",
        ),
        ({"learning_rates": []}, "learning_rates"),
        ({"learning_rates": [0.001, 0.0010000001]}, "the same record file"),
        (
            {"arms": [arm("cross-entropy"), arm("dice", name="Cross-Entropy")]},
            "the same record file",
        ),
        (
            {"arms": [arm("cross-entropy"), arm("dice", name="cross:entropy")]},
            "the same record file",
        ),
        ({"types": ["MA"]}, "types lacks some of lesions"),
        (
            {"folds": [{"test": ["a"], "validation": ["b"]}] * 2},
            "a is tested twice",
        ),
        ({"unknown": 1}, "unknown key unknown"),
        ({"curve": [4, 2]}, "must increase"),
        ({"curve": [4, 4]}, "must increase"),
    ],
)
def test_a_protocol_that_contradicts_itself(tmp_path, change, words):
    path = tmp_path / "protocol.json"
    path.write_text(json.dumps(CONTENT | {"folds": folds(list("abcd"))} | change))
    with pytest.raises(UserError, match=words):
        protocol.read(path)


def test_stopped_and_continued(caffe, protocol_data, protocol_file, tmp_path):
    """Every run is made once, whatever stops it; the summary needs records alone."""
    records = tmp_path / "records"
    words = (protocol_file, "--data", protocol_data, "--out", tmp_path / "out")
    words += ("--records", records)
    first = every_script.start("run_protocol", *words, "--minutes", 1e-9)
    assert "minutes are over" in first.stderr, first.stderr
    assert not list(records.glob("*.json"))
    first = every_script.start("run_protocol", *words, "--minutes", 1e-9, "--jobs", 2)
    assert "minutes are over" in first.stderr, first.stderr
    assert not list(records.glob("*.json"))
    unknown = every_script.start("run_protocol", *words, "--arms", "dice")
    assert "which has: cross-entropy, drop more" in unknown.stderr
    first_one = every_script.start("run_protocol", *words, "--arms", "drop more")
    every_script.done(first_one)
    assert {path.name[:9] for path in records.glob("*.json")} == {"drop-more"}
    at_once = every_script.start("run_protocol", *words, "--jobs", 2, "--minutes", 9)
    every_script.done(at_once)
    found = {path.name: path.read_bytes() for path in records.glob("*.json")}
    rates = {
        name.split("-lr")[1].split("-fold")[0]
        for name in found
        if name.startswith("cross-entropy") and "fold2" in name
    }
    assert len(found) == 5
    assert len(rates) == 1

    # One record less is one run more, and the others stay as they are.
    again = "drop-more-lr0.001-fold1.json"
    (records / again).unlink()
    result = every_script.done(every_script.start("run_protocol", *words))
    assert "lr0.01-fold1:" not in result.stderr
    after = {path.name: path.read_bytes() for path in records.glob("*.json")}
    assert set(after) == set(found)
    assert all(after[n] == found[n] for n in found if n != again)
    ours, theirs = (json.loads(files[again])["lesions"] for files in (after, found))
    assert ours == theirs

    for name in found:
        # With --jobs and without.
        said = at_once.stderr + first_one.stderr + result.stderr
        assert f"{name.removesuffix('.json')}: MA 0." in said

    summary = tmp_path / "summary.json"
    every_script.done(
        every_script.start(
            *("run_protocol", protocol_file, "--records", records, "--summary", summary)
        )
    )
    content = json.loads(summary.read_text())
    assert content["done"] == {"cross-entropy": [3, 3], "drop more": [2, 2]}
    origin = json.loads((records / again).read_text())["origin"]
    assert origin["training"][-4:] == [*("--lesion-share", "0.3", "--lr", "0.001")]
    cell = content["losses"]["drop more"]["MA"]
    assert cell["common"] == 1
    assert len(content["losses"]["cross-entropy"]["HE"]["folds"]) == 2
    assert "| `drop more` |" in summary.with_suffix(".md").read_text()
    other = tmp_path / "other.json"
    words = ("run_protocol", protocol_file, "--records", records, "--summary", other)
    words += ("--reference", "drop more")
    every_script.done(every_script.start(*words, "--arms", "cross-entropy"))
    turned = json.loads(other.read_text())["losses"]
    assert set(turned) == {"cross-entropy", "drop more"}
    assert turned["cross-entropy"]["MA"]["difference"] == -cell["difference"]
    assert "difference" not in turned["drop more"]["MA"]
    unknown = every_script.start(*words[:-1], "dice")
    assert "--reference dice is not in" in unknown.stderr
    assert summary.with_suffix(".png").stat().st_size > 1000


@pytest.mark.parametrize("jobs", [(), ("--jobs", 2)], ids=["one", "two"])
def test_a_rate_that_diverges_is_taken_out_as_the_message_says(
    caffe, protocol_data, protocol_file, tmp_path, jobs
):
    content = json.loads(protocol_file.read_text())
    content |= {"learning_rates": [1e30, 1e-2], "arms": content["arms"][:1]}
    protocol_file.write_text(json.dumps(content))
    words = (protocol_file, "--data", protocol_data, "--out", tmp_path / "out", *jobs)
    words += ("--records", tmp_path / "records")
    result = every_script.start("run_protocol", *words)
    assert result.returncode == 1
    told = "cross-entropy: fold 2 waits for cross-entropy-lr1e+30-fold1"
    assert told in result.stderr
    assert "remove its rate from learning_rates" in result.stderr
    protocol_file.write_text(json.dumps(content | {"learning_rates": [1e-2]}))
    every_script.done(every_script.start("run_protocol", *words))
    names = {path.stem for path in (tmp_path / "records").glob("*.json")}
    assert names == {f"cross-entropy-lr0.01-fold{k}" for k in (1, 2)}


@pytest.mark.parametrize("records", ["file", "file/in", "/proc/none"])
def test_records_that_cannot_be_kept_are_told_first(
    caffe, protocol_data, protocol_file, tmp_path, records
):
    (tmp_path / "file").write_text("somebody's")
    result = every_script.start(
        *(
            "run_protocol",
            protocol_file,
            "--data",
            protocol_data,
            "--out",
            tmp_path / "out",
        ),
        *("--records", tmp_path / records),
    )
    assert result.returncode == 2
    assert f"{tmp_path / records}" in result.stderr
    assert not list(tmp_path.glob("out/*/*"))
    assert (tmp_path / "file").read_text() == "somebody's"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arms": [arm("cross-entropi")], "reference": "cross-entropi"}, "cross-entr"),
        (
            {"arms": [arm("cross-entropy", training=["--seed", "3"], name="a")]},
            "--seed after --",
        ),
        ({"curve": [3]}, "no snapshot at 3"),
        ({"curve": [6]}, "no snapshot at 6"),
        ({"curve": [2]}, "the curve ends at 2, where the rate is chosen"),
        (
            {"arms": [arm("dice", training=["--iterations=8"], name="a")]},
            "has --iterations 8",
        ),
        ({"types": ["MA", "HE", "EX", "SE"], "lesions": ["MA", "SE"]}, "mask of SE"),
    ],
)
def test_what_could_fail_later_fails_first(
    caffe, protocol_data, protocol_file, tmp_path, change, words
):
    content = json.loads(protocol_file.read_text()) | change
    content["reference"] = content["arms"][0].get("name") or content["arms"][0]["loss"]
    protocol_file.write_text(json.dumps(content))
    result = every_script.start(
        *(
            "run_protocol",
            protocol_file,
            "--data",
            protocol_data,
            "--out",
            tmp_path / "out",
        ),
        *("--records", tmp_path / "records"),
    )
    assert result.returncode == 2
    assert words in result.stderr
    assert not list(tmp_path.glob("out/*/*"))


@pytest.mark.parametrize(
    "given",
    [
        {"--out": "records"},
        {"--out": "data"},
        {"--records": "data"},
        {"--summary": "records/summary.json"},
    ],
)
def test_a_folder_has_one_purpose(protocol_data, protocol_file, tmp_path, given):
    (tmp_path / "data").symlink_to(protocol_data)
    paths = {"--data": "data", "--out": "out", "--records": "records", **given}
    words = [str(tmp_path / w) if w[0] != "-" else w for p in paths.items() for w in p]
    result = every_script.start("run_protocol", protocol_file, *words)
    assert result.returncode == 2
    assert "together: choose another folder for one of them" in result.stderr
    assert not (tmp_path / "records").exists()


def test_a_summary_does_not_replace_a_manifest(protocol_data, protocol_file, tmp_path):
    data = shutil.copytree(protocol_data, tmp_path / "data")
    before = (data / "manifest.json").read_bytes()
    result = every_script.start(
        *("run_protocol", protocol_file, "--records", tmp_path / "records"),
        *("--summary", data / "manifest.json"),
    )
    assert result.returncode == 2
    assert "manifest.json" in result.stderr
    assert (data / "manifest.json").read_bytes() == before


def test_other_photographs_are_not_mixed(protocol_data, protocol_file, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    content = record(protocol.read(protocol_file))
    (records / "a-lr1-fold1.json").write_text(json.dumps(content))
    result = every_script.start(
        *(
            "run_protocol",
            protocol_file,
            "--data",
            protocol_data,
            "--out",
            tmp_path / "out",
        ),
        *("--records", records),
    )
    assert result.returncode == 2
    assert "measured on other photographs" in result.stderr


def test_another_width_is_refused(phantom, protocol_file, tmp_path):
    result = every_script.start(
        *("run_protocol", protocol_file, "--data", phantom, "--out", tmp_path / "out"),
        *("--records", tmp_path / "records"),
    )
    assert result.returncode == 2
    assert "--width" in result.stderr
