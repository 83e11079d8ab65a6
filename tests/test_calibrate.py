"""scripts/calibrate.py: fits on photographs, and what predict.py makes of it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import small_unet
from conftest import REPOSITORY

from randrop.data import read_dataset
from randrop.errors import UserError
from randrop.evaluation import calibrating, calibration, photographs
from randrop.exchange import onnx_model
from randrop.files import ownership
from randrop.prediction import ensemble, maps
from randrop.prediction.calibration import Platt

SCRIPTS = REPOSITORY / "scripts"
TILES = ("--tile", "128", "--overlap", "16")
LESIONS = ("MA", "HE")
SEED = 5
"""Of weights whose both outputs rise with their lesions."""
THRESHOLDS = {"MA": 0.4, "HE": 0.6}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_unet.write_data(tmp_path_factory.mktemp("calibrate") / "data", count=5)


@pytest.fixture
def run(caffe, tmp_path):
    """A small network with random weights, and thresholds."""
    folder = small_unet.write_run(caffe, tmp_path / "run", seed=SEED)
    facts = {"lesions": list(LESIONS), "thresholds": THRESHOLDS}
    (folder / "run.json").write_text(json.dumps(facts))
    for path in folder.iterdir():
        ownership.record(path, ownership.sha256(path))
    return folder


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)

    def start(name, *arguments):
        module = __import__(name)
        return module.main([str(a) for a in arguments])

    return start


def facts_of(run):
    return json.loads((run / "run.json").read_text())


def levels_of(root):
    return {
        lesion: np.stack(
            [maps.read_map(path)[0] for path in sorted((root / lesion).iterdir())]
        )
        for lesion in LESIONS
    }


def calibrate(scripts, run, data, *more):
    words = ("--run", run, "--data", data, "--subset", "all", "--check", "all", *TILES)
    return scripts("calibrate", *words, *more)


def predict(scripts, run, data, out, *more):
    words = ("--run", run, "--data", data, "--subset", "all", "--out", out, *TILES)
    scripts("predict", *words, *more)
    return levels_of(out), json.loads((out / "prediction.json").read_text())


def test_predictions_are_calibrated_from_then_on(scripts, run, data, tmp_path):
    before, record = predict(scripts, run, data, tmp_path / "before")
    assert record["calibration"] == {}
    assert calibrate(scripts, run, data) == 0
    after, record = predict(scripts, run, data, tmp_path / "after")
    stored = facts_of(run)["calibration"]
    assert record["calibration"] == stored["types"]
    assert stored["weights_sha256"] == ownership.sha256(run / "final.caffemodel")
    for lesion in LESIONS:
        scaling = Platt(**stored["types"][lesion])
        expected = scaling.apply(before[lesion] / 65535)
        assert np.abs(after[lesion] / 65535 - expected).max() < 1e-3
        assert (after[lesion][before[lesion] == 0] == 0).all()
    raw, record = predict(scripts, run, data, tmp_path / "raw", "--uncalibrated")
    assert record["calibration"] == {}
    for lesion in LESIONS:
        np.testing.assert_array_equal(raw[lesion], before[lesion])


def test_the_mean_probability_becomes_the_share_of_lesion(scripts, run, data, tmp_path):
    calibrate(scripts, run, data)
    predict(scripts, run, data, tmp_path / "maps")
    cases = read_dataset(data).cases
    for counts in photographs.pooled(cases, LESIONS, tmp_path / "maps").values():
        measures = calibration.measures(counts)
        share = counts[1].sum() / counts.sum()
        assert measures["mean_probability"] == pytest.approx(share, rel=0.03)
    content = json.loads((run / "calibration/calibration.json").read_text())
    for lesion in LESIONS:
        checked = content["checked"]["lesions"][lesion]
        assert checked["after"]["ece"] < checked["before"]["ece"]
        assert checked["after"]["log_loss"] < checked["before"]["log_loss"]
    assert (run / "calibration/calibration.png").stat().st_size > 10_000


def test_thresholds_call_the_same_pixels(scripts, run, data, tmp_path):
    before, old = predict(scripts, run, data, tmp_path / "before")
    calibrate(scripts, run, data)
    after, new = predict(scripts, run, data, tmp_path / "after")
    assert new["thresholds"] == facts_of(run)["thresholds"] != old["thresholds"]
    for lesion in LESIONS:
        called = [
            levels[lesion] / 65535 >= record["thresholds"][lesion]
            for levels, record in ((before, old), (after, new))
        ]
        assert called[0].any()
        assert (called[0] != called[1]).mean() < 1e-3
    _, raw = predict(scripts, run, data, tmp_path / "raw", "--uncalibrated")
    for lesion, threshold in old["thresholds"].items():
        assert raw["thresholds"][lesion] == pytest.approx(threshold)


def test_calibrating_again_gives_the_same(scripts, run, data):
    calibrate(scripts, run, data)
    first = facts_of(run)
    calibrate(scripts, run, data)
    again = facts_of(run)
    assert again["calibration"] == first["calibration"]
    assert again["thresholds"] == pytest.approx(first["thresholds"])


def test_types_that_are_left_out_stay_calibrated(scripts, run, data):
    calibrate(scripts, run, data)
    before = facts_of(run)
    calibrate(scripts, run, data, "--lesions", "HE")
    after = facts_of(run)
    assert after["calibration"]["types"] == before["calibration"]["types"]
    assert after["thresholds"] == pytest.approx(before["thresholds"])


def test_a_type_can_be_left_out(scripts, run, data, tmp_path):
    calibrate(scripts, run, data, "--lesions", "HE")
    assert set(facts_of(run)["calibration"]["types"]) == {"HE"}
    assert facts_of(run)["thresholds"]["MA"] == THRESHOLDS["MA"]
    _, record = predict(scripts, run, data, tmp_path / "maps")
    assert set(record["calibration"]) == {"HE"}


def test_maps_of_others_are_fitted_in_place_of_a_prediction(
    scripts, run, data, tmp_path
):
    root = tmp_path / "maps"
    predict(scripts, run, data, root)
    calibrate(scripts, run, data)
    first = facts_of(run)["calibration"]["types"]
    calibrate(scripts, run, data, "--probabilities", root, "--lesions", "MA")
    assert facts_of(run)["calibration"]["types"] == first
    assert facts_of(run)["calibration"]["maps"] == "maps"
    calibrated = tmp_path / "calibrated"
    predict(scripts, run, data, calibrated)
    with pytest.raises(UserError, match="are calibrated: predict them with --uncal"):
        calibrate(scripts, run, data, "--probabilities", calibrated)


def test_an_ensemble_is_refused_before_any_work(scripts, run, data, tmp_path):
    ensemble.write(tmp_path, [run], [["a"]], 50)
    with pytest.raises(UserError, match="is an ensemble"):
        calibrate(scripts, tmp_path, data)
    assert not (tmp_path / "calibration").exists()


def test_the_folder_of_the_network_is_no_output(scripts, run, data):
    before = sorted(run.iterdir())
    with pytest.raises(UserError, match="is the folder of the network"):
        calibrate(scripts, run, data, "--out", run)
    assert sorted(run.iterdir()) == before


def test_other_flips_than_at_calibration_are_said(scripts, run, data, tmp_path, caplog):
    calibrate(scripts, run, data)
    predict(scripts, run, data, tmp_path / "same")
    assert "somewhat off" not in caplog.text
    predict(scripts, run, data, tmp_path / "other", "--flips")
    assert "calibrated without --flips, and predicts with" in caplog.text


def test_what_an_ensemble_does_not_use_is_said(scripts, run, data, tmp_path, caplog):
    calibrate(scripts, run, data)
    ensemble.write(tmp_path, [run], [["a"]], 50)
    caplog.set_level("INFO")
    predict(scripts, tmp_path, data, tmp_path / "maps")
    assert "calibrations of single networks" in caplog.text


def test_a_dry_run_changes_nothing(scripts, run, data, tmp_path):
    before = (run / "run.json").read_bytes()
    calibrate(scripts, run, data, "--dry-run", "--out", tmp_path / "out")
    assert (run / "run.json").read_bytes() == before
    assert not (run / "calibration").exists()
    assert (tmp_path / "out/calibration.json").is_file()


def test_a_calibration_counts_for_its_weights_alone(
    caffe, scripts, run, data, tmp_path, caplog
):
    calibrate(scripts, run, data)
    other = small_unet.write_run(caffe, tmp_path / "other", seed=SEED + 1)
    more = ("--weights", other / "final.caffemodel")
    _, record = predict(scripts, run, data, tmp_path / "maps", *more)
    assert record["calibration"] == {}
    assert record["thresholds"] == pytest.approx(THRESHOLDS)
    assert "is of other weights" in caplog.text
    out = tmp_path / "other.onnx"
    scripts("export_onnx", run, out, *more)
    model = onnx_model.read(out)
    assert "calibration" not in {prop.key for prop in model.metadata_props}
    assert "calibration" not in onnx_model.facts_of(model)


def test_a_file_in_onnx_takes_the_calibration_along(scripts, run, data, tmp_path):
    calibrate(scripts, run, data)
    scripts("export_onnx", run, tmp_path / "lesions.onnx")
    expected, _ = predict(scripts, run, data, tmp_path / "run")
    found, record = predict(scripts, tmp_path / "lesions.onnx", data, tmp_path / "onnx")
    assert record["calibration"] == facts_of(run)["calibration"]["types"]
    assert record["thresholds"] == facts_of(run)["thresholds"]
    for lesion in LESIONS:
        assert np.abs(found[lesion].astype(int) - expected[lesion]).max() <= 1
    (tmp_path / "lesions.onnx").rename(tmp_path / "LESIONS.ONNX")
    again, _ = predict(scripts, tmp_path / "LESIONS.ONNX", data, tmp_path / "again")
    assert all((again[lesion] == found[lesion]).all() for lesion in LESIONS)
    (tmp_path / "LESIONS.ONNX").rename(tmp_path / "lesions.onnx")
    words = ("--weights", run / "final.caffemodel")
    with pytest.raises(UserError, match="has its weights in itself"):
        predict(scripts, tmp_path / "lesions.onnx", data, tmp_path / "x", *words)
    with pytest.raises(UserError, match="keeps its calibration in itself"):
        calibrate(scripts, tmp_path / "lesions.onnx", data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"types": {"MA": {"slope": 0, "intercept": 1}}}, "slope"),
        ({"types": {"XX": {"slope": 1, "intercept": 1}}}, "XX"),
        ({"types": {"MA": {"slope": 1}}}, "intercept"),
        ({"weights_sha256": None, "types": {}}, "weights_sha256"),
    ],
)
def test_a_damaged_calibration_is_named(scripts, run, data, tmp_path, text, message):
    damaged = {"calibration": {"weights_sha256": "a"} | text}
    (run / "run.json").write_text(json.dumps(facts_of(run) | damaged))
    with pytest.raises(UserError, match=rf"run\.json.*{message}"):
        predict(scripts, run, data, tmp_path / "maps")


def test_a_model_that_was_passed_on_keeps_its_settings(scripts, run, data):
    """It comes without our list of files, and somebody may have added to it."""
    (run / ownership.LIST).unlink()
    facts = facts_of(run) | {"mine": "a note"}
    (run / "run.json").write_text(json.dumps(facts))
    scripts("calibrate", "--run", run, "--data", data)
    assert facts_of(run)["mine"] == "a note"
    assert set(facts_of(run)["calibration"]["types"]) == set(LESIONS)


def test_types_of_other_networks_and_missing_runs_are_refused(
    scripts, run, data, tmp_path
):
    with pytest.raises(UserError, match="was trained for MA HE"):
        calibrate(scripts, run, data, "--lesions", "EX")
    with pytest.raises(UserError, match=r"run\.json is missing"):
        calibrate(scripts, tmp_path, data)
    (run / "final.caffemodel").unlink()
    with pytest.raises(UserError, match=r"final\.caffemodel is missing"):
        calibrate(scripts, run, data)


def test_too_few_lesions_name_the_type(scripts, run, tmp_path):
    empty = small_unet.write_data(tmp_path / "empty", count=2, lesions=("HE",))
    with pytest.raises(UserError, match=r"^MA: 0 lesion pixel.*--lesions"):
        calibrate(scripts, run, empty)


def test_thresholds_follow_a_new_calibration():
    facts = {"thresholds": {"MA": 0.5, "HE": 0.3}, "loss": "x"}
    once = calibrating.changed(facts, {"MA": Platt(2.0, -1.0)}, "d", subset="train")
    assert once["thresholds"]["MA"] == pytest.approx(1 / (1 + np.e))
    assert once["thresholds"]["HE"] == 0.3
    assert once["calibration"] == {
        "weights_sha256": "d", "subset": "train",
        "types": {"MA": {"slope": 2.0, "intercept": -1.0}},
    }  # fmt: skip
    twice = calibrating.changed(once, {"HE": Platt(0.5, 1.0)}, "e")
    assert twice["thresholds"]["MA"] == pytest.approx(0.5)
    assert set(twice["calibration"]["types"]) == {"HE"}
    assert twice["loss"] == "x"


def test_bad_input_ends_with_status_two_and_one_sentence(tmp_path):
    command = [sys.executable, SCRIPTS / "calibrate.py", "--run", tmp_path / "none"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 2
    assert child.stderr.startswith("error: ")
    assert "Traceback" not in child.stderr
