import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_unet
from official_idrid import write_official_idrid

from randrop.data import read_dataset
from randrop.errors import UserError
from randrop.evaluation import calibrating, metrics
from randrop.files import ownership
from randrop.files.split_file import digest
from randrop.prediction import maps, model
from randrop.prediction.calibration import Platt
from randrop.report import model_card

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
IDRID = SCRIPTS.parents[1] / "shared" / "data" / "idrid_original"
ABOUT = {
    "title": "Discs",
    "data": "Drawn discs.",
    "licence": "Public domain.",
    "limits": ["Two colours.", "No eyes."],
}


@pytest.fixture(scope="module")
def run(caffe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    data = small_unet.write_data(folder / "data", count=6)
    run = small_unet.write_run(caffe, folder / "run")
    settings = {
        **{"data": str(data), "split": None, "lesions": ["MA", "HE"], "net": "unet"},
        **{"loss": "random-drop:LOG", "iterations": 9, "batch": 2, "patch": 64},
        **{"base_channels": 4, "depth": 3, "lr": 0.001, "lesion_share": 0.5, "seed": 1},
        "prior": 0.01,
        "max_channels": 8,
        **{"lesion_weights": {"MA": 2}, "bf16": True},
        **{"lesion_draw": "lesion", "paste": 1.5, "blur": 0.0},
        **{"false_alarms": "/home/me/alarms.json", "false_alarm_share": 0.1},
    }
    (run / "run.json").write_text(json.dumps(settings))
    return run


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(SCRIPTS)
    import export_model
    import predict

    about = tmp_path / "about.json"
    about.write_text(json.dumps(ABOUT))

    def export(*words):
        words = ("--about", about, *words)
        return export_model.main([str(word) for word in words])

    return export, lambda *words: predict.main([str(word) for word in words])


@pytest.fixture
def exported(scripts, run, tmp_path):
    out = tmp_path / "exported"
    assert scripts[0]("--run", run, "--out", out) == 0
    return out


def test_the_model_predicts_what_the_run_does(scripts, run, exported, tmp_path):
    predict = scripts[1]
    photo = Path(json.loads((run / "run.json").read_text())["data"], "images/eye0.png")
    predict("--run", run, "--out", tmp_path / "run", photo)
    predict("--run", exported, "--out", tmp_path / "model", photo)
    first, second = (
        maps.read_map(tmp_path / name / "HE/eye0.png")[0] for name in ("run", "model")
    )
    np.testing.assert_array_equal(first, second)
    listed = json.loads((tmp_path / "model" / "eye0.json").read_text())
    known = json.loads((exported / "run.json").read_text())["thresholds"]
    assert listed["thresholds"] == known != {"MA": 0.5, "HE": 0.5}


def test_a_calibration_goes_along_with_the_weights_it_is_of(
    scripts, run, exported, tmp_path
):
    own = shutil.copytree(run, tmp_path / "own")
    scaling = Platt(0.5, -2.0)
    digest = ownership.sha256(own / "final.caffemodel")
    facts = json.loads((run / "run.json").read_text())
    changed = calibrating.changed(facts, {"HE": scaling}, digest, subset="train")
    (own / "run.json").write_text(json.dumps(changed))
    out = tmp_path / "calibrated"
    scripts[0]("--run", own, "--out", out)
    settings = json.loads((out / "run.json").read_text())
    plain = json.loads((exported / "run.json").read_text())
    stored = settings["calibration"]
    assert stored["weights_sha256"] == settings["weights_sha256"]
    assert stored["types"] == {"HE": scaling._asdict()}
    assert "calibration" not in plain
    # The thresholds are those of calibrated probabilities.
    known, before = settings["thresholds"], plain["thresholds"]
    assert known["MA"] == before["MA"]
    assert known["HE"] == pytest.approx(float(scaling.apply(before["HE"])), abs=1e-3)
    photo = Path(facts["data"], "images/eye0.png")
    scripts[1]("--run", out, "--out", tmp_path / "prediction", photo)
    record = json.loads((tmp_path / "prediction/prediction.json").read_text())
    assert record["calibration"] == stored["types"]


def test_photographs_of_the_training_never_pass_for_held_out_ones(
    scripts, run, tmp_path, caplog
):
    """With --data, too: of the same folder, or of one that moved."""
    own = shutil.copytree(run, tmp_path / "own")
    facts = json.loads((run / "run.json").read_text())
    names = sorted(case.name for case in read_dataset(facts["data"]).subset("all"))
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": names[2:], "validation": names[:2]}))
    (own / "run.json").write_text(json.dumps(facts | {"split": str(split)}))
    moved = shutil.copytree(facts["data"], tmp_path / "moved")
    for data in (facts["data"], moved):
        out = tmp_path / f"of-{Path(data).name}"
        scripts[0]("--run", own, "--data", data, "--out", out)
        subsets = json.loads((out / "metrics.json").read_text())["subsets"]
        assert subsets["validation"]["photographs"] == names[:2]
        assert subsets["train"]["photographs"] == names[2:]
    scripts[1]("--run", own, "--data", facts["data"], "--out", tmp_path / "maps")
    record = json.loads((tmp_path / "maps/prediction.json").read_text())
    assert sorted(record["seconds"]) == names[:2]
    assert "was trained on" not in caplog.text
    # The model has no split, but names what it was trained on.
    chosen = read_dataset(facts["data"]).subset("validation")
    seen = {case.name for case in chosen} & {*names[2:]}
    assert seen
    scripts[1]("--run", out, "--data", moved, "--out", tmp_path / "of-model")
    told = f"was trained on {len(seen)} of these {len(chosen)} photographs"
    assert told in caplog.text
    assert f"({min(seen)} for one)" in caplog.text
    caplog.clear()
    words = ("--data", moved, "--split", split, "--out", tmp_path / "unseen")
    scripts[1]("--run", out, *words)
    assert "was trained on" not in caplog.text
    split.rename(tmp_path / "other.json")
    with pytest.raises(UserError, match=r"split\.json"):
        scripts[0]("--run", own, "--out", tmp_path / "out")
    given = ("--split", tmp_path / "other.json", "--out", tmp_path / "out")
    assert scripts[0]("--run", own, *given) == 0


def test_it_is_measured_on_the_split_of_its_training(scripts, run, tmp_path):
    """Of a file, or of the data; and a copy of the names beside the network tells."""
    data = json.loads((run / "run.json").read_text())["data"]
    names = sorted(case.name for case in read_dataset(data).subset("all"))
    splits = {
        name: {"train": names[k:] + names[: k - 2], "validation": names[k - 2 : k]}
        for name, k in (("own", 2), ("other", 4))
    }
    files = {name: tmp_path / f"{name}.json" for name in splits}
    for name, path in files.items():
        path.write_text(json.dumps(splits[name]))
    moved = shutil.copytree(data, tmp_path / "moved")
    shutil.copy(files["other"], moved / "split.json")
    wanted = {"split": str(files["own"]), "split_sha256": digest(files["own"])}
    for facts in (wanted, wanted | {"split": None}):
        own = shutil.copytree(run, tmp_path / f"run-{facts['split'] is None}")
        old = json.loads((run / "run.json").read_text())
        (own / "run.json").write_text(json.dumps(old | facts))
        with pytest.raises(UserError, match="has other photographs in train and"):
            words = ("--data", moved, "--split", files["other"])
            scripts[0]("--run", own, *words, "--out", tmp_path / "refused")
        if facts["split"] is None:
            with pytest.raises(UserError, match="has other photographs in train and"):
                scripts[0]("--run", own, "--data", moved, "--out", tmp_path / "refused")
            shutil.copy(files["own"], own / "split.json")
        out = tmp_path / f"out-{facts['split'] is None}"
        scripts[0]("--run", own, "--data", moved, "--out", out)
        subsets = json.loads((out / "metrics.json").read_text())["subsets"]
        assert subsets["validation"]["photographs"] == splits["own"]["validation"]
    assert not (tmp_path / "refused").exists()


def test_a_model_is_not_exported_again(scripts, run, exported, tmp_path):
    data = json.loads((run / "run.json").read_text())["data"]
    with pytest.raises(UserError, match="is an exported model"):
        scripts[0]("--run", exported, "--data", data, "--out", tmp_path / "again")


def test_no_path_of_this_machine_goes_along(run, exported):
    data = json.loads((run / "run.json").read_text())["data"]
    for path in exported.iterdir():
        assert str(Path(data).parent).encode() not in path.read_bytes(), path
    weights = (exported / "final.caffemodel").read_bytes()
    settings = json.loads((exported / "run.json").read_text())
    assert settings["weights_sha256"] == hashlib.sha256(weights).hexdigest()


def test_figures_at_thresholds_are_those_of_the_maps(scripts, exported, run, tmp_path):
    data = json.loads((run / "run.json").read_text())["data"]
    content = json.loads((exported / "metrics.json").read_text())
    held_out = read_dataset(data).subset("validation")
    assert content["subsets"]["validation"]["photographs"] == [c.name for c in held_out]
    scripts[1]("--run", run, "--data", data, "--out", tmp_path / "maps")
    for number, lesion in enumerate(("MA", "HE")):
        fixed = content["lesions"][lesion]["at_threshold"]
        level = round(fixed["threshold"] * 65535)
        hits = predicted = positives = 0
        for case in held_out:
            path = maps.path_of(tmp_path / "maps", lesion, case.name)
            called = maps.read_map(path)[0] >= level
            mask = case.masks(("MA", "HE"))[number] > 0
            hits += (called & mask).sum()
            predicted += called.sum()
            positives += mask.sum()
        assert fixed["sensitivity"] == pytest.approx(hits / positives)
        assert fixed["precision"] == pytest.approx(hits / predicted)


def test_the_card_says_what_was_measured(exported):
    card = (exported / "README.md").read_text()
    content = json.loads((exported / "metrics.json").read_text())
    for word in ("# Discs", "Drawn discs.", "Public domain.", "- Two colours."):
        assert word in card
    assert "--max-channels 8 --lesion-weights MA=2 --bf16" in card
    assert "--lesion-draw lesion --false-alarm-share 0.1 --paste 1.5" in card
    assert "--false-alarms FILE" in card
    assert "--blur" not in card
    # What was measured goes along, no path of this machine.
    kept = json.loads((exported / "run.json").read_text())
    assert kept["paste"] == 1.5
    assert "alarms.json" not in card + (exported / "run.json").read_text()
    for result in content["lesions"].values():
        assert f"{result['average_precision']:.3f}" in card
        assert f"{result['at_threshold']['alarms_per_photograph']:.1f}" in card


def test_nothing_is_written_when_it_fails(scripts, run, tmp_path):
    with pytest.raises(UserError, match=r"run\.json is missing"):
        scripts[0]("--run", tmp_path, "--out", tmp_path / "out")
    # Photographs without a mask of one type.
    data = small_unet.write_data(tmp_path / "data", lesions=("MA",))
    with pytest.raises(UserError, match="no photograph of train has HE"):
        scripts[0]("--run", run, "--data", data, "--out", tmp_path / "out")
    bad = tmp_path / "bad.json"
    for text, said in (
        ("{}", r"bad\.json: missing 'title'.*--help"),
        (json.dumps(ABOUT | {"limits": "none"}), r"bad\.json.*limits"),
    ):
        bad.write_text(text)
        with pytest.raises(UserError, match=said):
            scripts[0]("--run", run, "--about", bad, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("width", "scale"),
    [(1000, 1), (1090, 1), (905, 1), (3000, 1 / 3), (1200, 1 / 1.2), (500, 1)],
)
def test_larger_photographs_are_shrunk(width, scale):
    assert model.scale_for(width, 1000) == pytest.approx(scale)


def test_the_field_of_view_decides_the_scale(scripts, exported, tmp_path, caplog):
    predict = scripts[1]
    settings = json.loads((exported / "run.json").read_text())
    photo = np.zeros((600, 800, 3), np.uint8)
    cv2.circle(photo, (400, 300), 250, (60, 110, 180), -1)
    cv2.imwrite(str(tmp_path / "large.png"), photo)
    small = cv2.resize(photo, (120, 90), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "small.png"), small)
    settings["field_of_view"] = 250
    (exported / "run.json").write_text(json.dumps(settings))
    paths = tmp_path / "large.png", tmp_path / "small.png"
    predict("--run", exported, "--out", tmp_path / "out", *paths)
    record = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert record["scales"] == {"large": pytest.approx(0.5, rel=0.01), "small": 1}
    said = r"small: the field of view is 7\d pixels wide, against 250 in training"
    assert re.search(said, caplog.text)


# --- The bundled model


def shipped(name, folder=model.SHIPPED):
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize(
    ("folder", "most"),
    [(model.SHIPPED, 12e6), (model.SMALL, 1e6)],
    ids=("idrid", "idrid-small"),
)
def test_a_shipped_card_is_of_its_figures(folder, most):
    run, content = shipped("run.json", folder), shipped("metrics.json", folder)
    assert (folder / "README.md").read_text() == model_card.card(run, content)
    weights = (folder / "final.caffemodel").read_bytes()
    assert run["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert len(weights) < most


def test_one_photograph_is_all_that_predict_needs(phantom, tmp_path):
    """With OpenCV only, as on a machine without Caffe."""
    photo = next((phantom / "images").iterdir())
    environment = {**os.environ, "CAFFE_ROOT": str(tmp_path / "none")}
    child = subprocess.run(
        [sys.executable, SCRIPTS / "predict.py", photo],
        **{"cwd": tmp_path, "env": environment, "capture_output": True, "text": True},
        check=False,
    )
    assert child.returncode == 0, child.stderr
    listed = json.loads((tmp_path / "prediction" / f"{photo.stem}.json").read_text())
    assert listed["thresholds"] == shipped("run.json")["thresholds"]
    for lesion in listed["lesions"]:
        assert lesion["probability"] >= listed["thresholds"][lesion["type"]] - 1e-4
    drawn = cv2.imread(str(tmp_path / "prediction" / f"{photo.stem}.png"))
    height, width, _ = cv2.imread(str(photo)).shape
    # The legend is below.
    assert (drawn.shape[0] > height, drawn.shape[1]) == (True, width)


def test_a_large_photograph_is_read_as_its_small_copy(scripts, tmp_path):
    """Larger than in training: scaled by its field of view, with the same maps."""
    source = write_official_idrid(tmp_path / "in", 2600, (44,))
    (case,) = read_dataset(source).cases
    large = case.image()
    small = cv2.resize(large, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    path = tmp_path / "small.png"
    cv2.imwrite(str(path), small[..., ::-1])
    scripts[1]("--out", tmp_path / "maps", case.image_path, path)
    scales = json.loads((tmp_path / "maps/prediction.json").read_text())["scales"]
    assert scales["IDRiD_44"] == pytest.approx(0.8 * scales["small"], rel=0.02)
    assert scales["small"] < 0.8
    for lesion in ("MA", "HE"):
        of_large, of_small = (
            maps.read_map(maps.path_of(tmp_path / "maps", lesion, name))[0]
            for name in ("IDRiD_44", "small")
        )
        assert of_large.shape == large.shape[:2]
        shrunk = cv2.resize(
            of_large, of_small.shape[::-1], interpolation=cv2.INTER_AREA
        )
        one, other = (x.astype(float).ravel() for x in (shrunk, of_small))
        assert one.std() > 0
        assert np.corrcoef(one, other)[0, 1] > 0.95


def test_the_models_have_names(scripts, phantom, tmp_path):
    photo = next((phantom / "images").iterdir())
    scripts[1]("--model", "idrid-small", "--out", tmp_path, photo)
    record = json.loads((tmp_path / "prediction.json").read_text())
    assert record["lesions"] == ["MA", "HE"]
    assert record["run"] == str(model.SMALL)
    for other in (("--run", model.SHIPPED), ("--weights", "net.caffemodel")):
        with pytest.raises(SystemExit):
            scripts[1]("--model", "idrid", *other, photo)


@pytest.mark.skipif(not IDRID.is_dir(), reason="no IDRiD images here")
def test_an_original_is_read_as_its_small_copy(scripts, tmp_path):
    """A held-out photograph in full, by its field of view: not much worse at it."""
    (case,) = (c for c in read_dataset(IDRID).cases if c.name == "IDRiD_44")
    content = shipped("metrics.json", model.SMALL)
    assert case.name in content["subsets"]["validation"]["photographs"]
    scripts[1]("--model", "idrid-small", "--out", tmp_path, case.image_path)
    record = json.loads((tmp_path / "prediction.json").read_text())
    assert record["scales"] == {"IDRiD_44": pytest.approx(1440 / 4288, rel=0.02)}
    for lesion, mask in zip(("MA", "HE"), case.masks(("MA", "HE")), strict=True):
        levels, _ = maps.read_map(maps.path_of(tmp_path, lesion, case.name))
        counts = metrics.histogram(levels, mask)
        found = metrics.summary(counts)["average_precision"]
        small = content["lesions"][lesion]["per_image"][case.name]
        if small["average_precision"] is not None:
            assert found == pytest.approx(small["average_precision"], abs=0.1)
