import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_unet

from randrop import maps, model
from randrop.data import read_dataset
from randrop.errors import UserError

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
WORDS = [
    *("--title", "Discs", "--data-from", "Drawn discs.", "--licence", "Public domain."),
    *("--limit", "Two colours.", "--limit", "No eyes."),
]


@pytest.fixture(scope="module")
def run(caffe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    data = small_unet.write_data(folder / "data", count=6)
    run = small_unet.write_run(caffe, folder / "run")
    settings = {
        **{"data": str(data), "split": None, "lesions": ["MA", "HE"], "net": "unet"},
        **{"loss": "random-drop:LOG", "iterations": 9, "batch": 2, "patch": 64},
        **{"base_channels": 4, "depth": 3, "lr": 0.001, "lesion_share": 0.5, "seed": 1},
        "lesion_weights": {"MA": 2},
    }
    (run / "run.json").write_text(json.dumps(settings))
    return run


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import export_model
    import predict

    def export(*words):
        return export_model.main([str(word) for word in words])

    return export, lambda *words: predict.main([str(word) for word in words])


@pytest.fixture
def exported(scripts, run, tmp_path):
    out = tmp_path / "exported"
    assert scripts[0]("--run", run, *WORDS, "--out", out) == 0
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
    assert "--lesion-weights MA=2" in card
    for result in content["lesions"].values():
        assert f"{result['average_precision']:.3f}" in card
        assert f"{result['at_threshold']['alarms_per_photograph']:.1f}" in card


def test_nothing_is_written_when_it_fails(scripts, run, tmp_path):
    with pytest.raises(UserError, match="no run"):
        scripts[0]("--run", tmp_path, *WORDS, "--out", tmp_path / "out")
    # Photographs without a mask of one type.
    data = small_unet.write_data(tmp_path / "data", lesions=("MA",))
    with pytest.raises(UserError, match="no HE in the photographs of train"):
        scripts[0]("--run", run, "--data", data, *WORDS, "--out", tmp_path / "out")
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
    said = r"small: the eye is 7\d pixels wide, in the training it was 250"
    assert re.search(said, caplog.text)
