import csv
import itertools
import json

import cv2
import numpy as np
import pytest
import small_unet
from conftest import REPOSITORY
from PIL import ImageFont
from skimage.color import deltaE_ciede2000, rgb2lab

from randrop.data.cases import NAMES
from randrop.data.colours import COLOURS
from randrop.errors import UserError
from randrop.prediction.lesion_list import called, lesions_in
from randrop.prediction.listing import caption, smallest
from randrop.prediction.overlay import outlined, with_legend


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
        "height": 3, "pixels": 15, "probability": 0.9, "mean_probability": 0.62,
    }  # fmt: skip
    assert found[2]["pixels"] == 2


def test_each_type_has_its_threshold():
    found = lesions_in(scene(), {"MA": 0.3, "HE": 0.85})
    assert [one["type"] for one in found] == ["MA", "MA", "MA"]
    assert lesions_in(scene(), {"MA": 0.95, "HE": 0.95}) == []


@pytest.mark.parametrize("words", [["MA=5", "2"], ["2", "MA=9", "MA=5"]])
def test_a_value_for_a_type_has_priority_in_any_order(words):
    assert smallest(words, ("MA", "HE")) == {"MA": 5, "HE": 2}


def test_smaller_lesions_are_left_out_by_type():
    thresholds = {"MA": 0.3, "HE": 0.5}
    for fewest, sizes in ((1, [15, 8, 2, 1]), (2, [15, 8, 2]), (3, [15, 8]), (16, [8])):
        found = lesions_in(scene(), thresholds, {"MA": fewest})
        assert [one["pixels"] for one in found] == sizes
        place = called(scene()["MA"], 0.3, fewest)
        assert place.sum() == sum(n for n in (15, 2, 1) if n >= fewest)


def test_the_picture_outlines_regions_and_leaves_them_to_be_seen():
    image = np.full((50, 80, 3), 100, np.uint8)
    picture = outlined(image, {x: v >= 0.5 for x, v in scene().items()})
    assert (picture[11, 22] == 100).all()
    for lesion in ("MA", "HE"):
        assert (picture == COLOURS[lesion]).all(2).any()
    assert (image == 100).all()


@pytest.mark.parametrize("width", [90, 400, 4288])
def test_the_legend_is_below_the_photograph_and_has_every_colour(width):
    picture = np.full((20, width, 3), 100, np.uint8)
    shown = with_legend(picture, dict.fromkeys(NAMES, caption(12, 0.5)))
    assert shown.shape[1:] == (width, 3)
    np.testing.assert_array_equal(shown[:20], picture)
    for lesion in NAMES:
        assert (shown[20:] == COLOURS[lesion]).all(2).any()
        assert not (shown[:20] == COLOURS[lesion]).all(2).any()


def test_the_font_has_every_letter_of_a_legend():
    """Pillow's font draws a box in place of what it lacks."""
    font = ImageFont.load_default(20)
    box = bytes(font.getmask("\uffff"))
    text = caption(12, 0.001) + "".join(NAMES.values()) + "".join(NAMES) + ":,"
    for letter in set(text) - {" "}:
        assert bytes(font.getmask(letter)) != box, letter
    assert bytes(font.getmask("≥")) == box


def simulated(colour, vision):
    """A colour, CIE Lab, as it looks with a kind of vision."""
    matrix = np.array(VISION[vision], float)
    linear = np.where(
        (c := np.array(colour) / 255) <= 0.04045,
        c / 12.92,
        ((c + 0.055) / 1.055) ** 2.4,
    )
    seen = np.clip(matrix @ linear, 0, 1)
    gamma = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return rgb2lab(gamma[None, None])[0, 0]


# G. M. Machado et al., A physiologically-based model for simulation of color vision
# deficiency, IEEE TVCG 15(6), 2009: severity 1.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
RETINA = ((180, 80, 30), (120, 45, 15), (215, 130, 60), (60, 20, 8))


@pytest.mark.parametrize("vision", VISION)
def test_types_are_told_apart_with_any_colour_vision(vision):
    """2 is a difference that is just seen side by side; 12 is one at a glance."""
    colours = [simulated(c, vision) for c in COLOURS.values()]
    retina = [simulated(c, vision) for c in RETINA]
    for a, b in itertools.combinations(colours, 2):
        assert deltaE_ciede2000(a, b) > 20
    assert min(deltaE_ciede2000(a, b) for a in colours for b in retina) > 20


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
    assert picture.shape[1] == content["width"]
    assert picture.shape[0] > content["height"]
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


def test_the_table_has_a_row_for_each_lesion_of_each_photograph(
    caffe, predict, tmp_path
):
    run = small_unet.write_run(caffe, tmp_path / "run")
    photographs = small_unet.write_data(tmp_path / "data", count=3) / "images"
    (photographs / "notes.txt").write_text("not a photograph")
    out = tmp_path / "out"
    options = ("--threshold", "0.2", "--picture", "jpg", "--smallest-lesion", "HE=4")
    assert predict("--run", run, "--out", out, *options, photographs) == 0
    with (out / "lesions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lists = {}
    for name in ("eye0", "eye1", "eye2"):
        lists[name] = json.loads((out / f"{name}.json").read_text())["lesions"]
        assert cv2.imread(str(out / f"{name}.jpg")) is not None
        assert not (out / f"{name}.png").exists()
    assert len(rows) == sum(map(len, lists.values())) > 0
    assert {row["photograph"] for row in rows} <= set(lists)
    for name, lesions in lists.items():
        own = [row for row in rows if row["photograph"] == name]
        for row, lesion in zip(own, lesions, strict=True):
            assert row["type"] == lesion["type"]
            for key in ("x", "y", "pixels", "left", "top", "width", "height"):
                assert float(row[key]) == lesion[key]
            assert float(row["max_probability"]) == lesion["probability"]
            assert float(row["mean_probability"]) == lesion["mean_probability"]
            assert lesion["mean_probability"] <= lesion["probability"]
            assert lesion["type"] == "MA" or lesion["pixels"] >= 4


def test_no_picture_on_wish(caffe, predict, tmp_path):
    run = small_unet.write_run(caffe, tmp_path / "run")
    photographs = small_unet.write_data(tmp_path / "data", count=1) / "images"
    out = tmp_path / "out"
    predict("--run", run, "--out", out, "--picture", "none", photographs)
    files = {path.name for path in out.iterdir() if path.is_file()}
    assert {name for name in files if name[0] != "."} == {
        *("prediction.json", "lesions.csv", "eye0.json"),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--smallest-lesion", "0", "x.jpg"), "--smallest-lesion 0: give a number"),
        (("--smallest-lesion", "EX=3", "x.jpg"), "a type from MA, HE"),
        (("--smallest-lesion", "MA=2.5", "x.jpg"), "--smallest-lesion MA=2.5"),
        (("--smallest-lesion", "3", "--data", "d"), "--smallest-lesion is about lists"),
        (("--picture", "jpg", "--data", "d"), "--picture is about lists"),
    ],
)
def test_options_of_lists_are_checked_before_any_work(
    caffe, predict, tmp_path, words, message
):
    run = small_unet.write_run(caffe, tmp_path / "run")
    with pytest.raises(UserError, match=message):
        predict("--run", run, "--out", tmp_path / "o", *words)
    assert not (tmp_path / "o").exists()


def test_a_folder_without_photographs_is_named(caffe, predict, tmp_path):
    run = small_unet.write_run(caffe, tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty contains no photograph"):
        predict("--run", run, "--out", tmp_path / "o", tmp_path / "empty")


def test_a_photograph_called_as_the_table_keeps_its_name(caffe, predict, tmp_path):
    """`prediction` would collide; `lesions` makes lesions.json beside lesions.csv."""
    run = small_unet.write_run(caffe, tmp_path / "run")
    (photo,) = (small_unet.write_data(tmp_path / "data", count=1) / "images").iterdir()
    for name in ("lesions", "prediction"):
        photo = photo.rename(photo.with_name(f"{name}.png"))
        words = ("--run", run, "--out", tmp_path / name, photo)
        if name == "prediction":
            with pytest.raises(UserError, match="rename the photograph of that name"):
                predict(*words)
        else:
            assert predict(*words) == 0
