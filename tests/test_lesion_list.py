import json

import cv2
import numpy as np
import pytest
import small_unet
from conftest import REPOSITORY

from randrop.errors import UserError
from randrop.prediction.lesion_list import lesions_in, overlay


def scene():
    values = np.zeros((2, 50, 80), np.float32)
    values[0, 10:13, 20:25] = 0.6
    values[0, 11, 22] = 0.9
    values[0, 30, 40] = values[0, 31, 41] = 0.7
    values[0, 45, 70] = 0.4
    values[1, 5:9, 60:62] = 0.8
    return {"MA": values[0], "HE": values[1]}


def test_the_list_has_place_size_and_probability():
    found = lesions_in(scene(), {"MA": 0.5, "HE": 0.5})
    assert [(one["type"], one["probability"]) for one in found] == [
        ("MA", 0.9), ("HE", 0.8), ("MA", 0.7),
    ]  # fmt: skip
    assert found[0] == {
        "type": "MA", "x": 22.0, "y": 11.0, "left": 20, "top": 10, "width": 5,
        "height": 3, "pixels": 15, "probability": 0.9,
    }  # fmt: skip
    assert found[2]["pixels"] == 2


def test_each_type_has_its_threshold():
    found = lesions_in(scene(), {"MA": 0.3, "HE": 0.85})
    assert [one["type"] for one in found] == ["MA", "MA", "MA"]
    assert lesions_in(scene(), {"MA": 0.95, "HE": 0.95}) == []


def test_the_picture_outlines_regions_and_leaves_them_to_be_seen():
    image = np.full((50, 80, 3), 100, np.uint8)
    picture = overlay(image, scene(), {"MA": 0.5, "HE": 0.5})
    assert (picture[11, 22] == 100).all()
    assert (picture == (255, 0, 0)).all(2).any()
    assert (picture == (255, 0, 255)).all(2).any()
    assert (image == 100).all()


@pytest.fixture
def predict(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    import predict

    return lambda *arguments: predict.main([str(a) for a in arguments])


@pytest.mark.parametrize("words", [["0.2"], ["MA=0.3", "HE=0.01"]])
def test_a_photograph_gets_a_list_and_a_picture(caffe, predict, tmp_path, words):
    folder = small_unet.write_run(caffe, tmp_path / "run")
    small_unet.write_data(tmp_path / "data", count=1)
    (photo,) = (tmp_path / "data/images").iterdir()
    out = tmp_path / "out"
    options = [option for word in words for option in ("--threshold", word)]
    assert predict("--run", folder, "--out", out, *options, photo) == 0
    content = json.loads((out / f"{photo.stem}.json").read_text())
    picture = cv2.imread(str(out / f"{photo.stem}.png"))
    assert picture.shape == (content["height"], content["width"], 3)
    assert set(content["thresholds"]) == {"MA", "HE"}
    assert all(
        one["probability"] >= content["thresholds"][one["type"]]
        for one in content["lesions"]
    )


@pytest.mark.parametrize("word", ["2", "XX=0.5", "MA=", "high"])
def test_thresholds_that_are_none_are_named(caffe, predict, tmp_path, word):
    folder = small_unet.write_run(caffe, tmp_path / "run")
    with pytest.raises(UserError, match=f"--threshold {word}"):
        predict("--run", folder, "--out", tmp_path / "o", "--threshold", word, "x.jpg")


def test_a_photograph_that_is_given_twice_is_named(caffe, predict, tmp_path):
    folder = small_unet.write_run(caffe, tmp_path / "run")
    with pytest.raises(UserError, match=r"x\.jpg is given twice: give it once"):
        predict("--run", folder, "--out", tmp_path / "o", "x.jpg", "x.jpg")
