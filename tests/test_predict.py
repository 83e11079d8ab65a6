import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_unet

from randrop.data import field_of_view, network_input, read_dataset
from randrop.errors import UserError
from randrop.prediction import inference, maps, tiles

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
TILES = ["--tile", "64", "--overlap", "16"]


@pytest.fixture(scope="module")
def run(caffe, tmp_path_factory):
    return small_unet.write_run(caffe, tmp_path_factory.mktemp("predict") / "run")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_unet.write_data(tmp_path_factory.mktemp("predict") / "data")


@pytest.fixture
def predict(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import predict

    return lambda *arguments: predict.main([str(a) for a in arguments])


def test_maps_are_what_the_network_answers(predict, run, data, tmp_path):
    arguments = ("--run", run, "--data", data, "--subset", "all", *TILES)
    assert predict(*arguments, "--backend", "opencv", "--out", tmp_path) == 0
    network = inference.load(
        run / "deploy.prototxt", run / "final.caffemodel", "opencv"
    )
    for case in read_dataset(data).cases:
        image = case.image()
        inside = field_of_view(image)
        expected = tiles.predict(
            network.forward,
            network_input(image, inside),
            inside,
            channels=2,
            stride=4,
            tile=64,
            overlap=16,
        )
        for lesion, probability in zip(("MA", "HE"), expected, strict=True):
            content = cv2.imread(
                str(tmp_path / lesion / f"{case.name}.png"), cv2.IMREAD_UNCHANGED
            )
            assert content.dtype == np.uint16
            assert content.shape == image.shape[:2]
            assert np.abs(content / 65535 - probability).max() < 1e-5
            assert content[~inside].max() == 0
            assert content[inside].min() > 0


def test_the_record_tells_what_made_the_maps(predict, run, data, tmp_path):
    predict("--run", run, "--data", data, "--out", tmp_path, *TILES)
    record = json.loads((tmp_path / "prediction.json").read_text())
    weights = (run / "final.caffemodel").read_bytes()
    assert record["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert record["lesions"] == ["MA", "HE"]
    assert record["backend"] == "caffe"
    assert (record["tile"], record["overlap"]) == (64, 16)
    assert record["complete"] is True
    names = [case.name for case in read_dataset(data).subset("validation")]
    assert list(record["seconds"]) == names
    assert min(record["seconds"].values()) > 0
    assert sorted(p.stem for p in (tmp_path / "MA").iterdir()) == names


def test_backends_agree(predict, run, data, tmp_path):
    levels = []
    for backend in ("caffe", "opencv"):
        out = tmp_path / backend
        photo = data / "images" / "eye0.png"
        predict("--run", run, "--backend", backend, "--out", out, *TILES, photo)
        levels.append(maps.read_map(out / "HE" / "eye0.png")[0].astype(int))
    assert np.abs(levels[0] - levels[1]).max() <= 1e-4 * 65535 + 1
    assert levels[0].std() > 100


def test_without_caffe_the_script_takes_opencv(run, data, tmp_path):
    environment = {**os.environ, "CAFFE_ROOT": str(tmp_path / "none")}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, SCRIPTS / "predict.py", "--run", run, *TILES]
    command += ["--out", tmp_path, data / "images" / "eye1.png"]
    child = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    record = json.loads((tmp_path / "prediction.json").read_text())
    assert record["backend"] == "opencv"


def test_bad_photographs_are_named_and_the_others_done(run, data, tmp_path):
    good = data / "images" / "eye0.png"
    torn = tmp_path / "torn.png"
    torn.write_bytes(good.read_bytes()[:900])
    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.zeros((20, 20), np.uint8))
    gone = tmp_path / "gone.png"
    out = tmp_path / "out"
    command = [sys.executable, SCRIPTS / "predict.py", "--run", run, "--out", out]
    command += ["--backend", "opencv", *TILES, torn, gone, good, grey]
    child = subprocess.run(command, capture_output=True, text=True)
    assert child.returncode == 2
    assert "3 of 4 photograph(s) failed; 1 are done" in child.stderr
    for path in (torn, gone, grey):
        assert str(path) in child.stderr
    record = json.loads((out / "prediction.json").read_text())
    assert record["complete"] is False
    assert list(record["seconds"]) == ["eye0"]
    assert set(record["failed"]) == {"torn", "gone", "grey"}
    assert [p.name for p in (out / "MA").iterdir()] == ["eye0.png"]


def test_lesions_choose_channels_by_name(predict, run, data, tmp_path):
    photo = data / "images" / "eye0.png"
    both, one = tmp_path / "both", tmp_path / "one"
    predict("--run", run, "--out", both, *TILES, photo)
    predict("--run", run, "--lesions", "HE", "--out", one, *TILES, photo)
    assert [p.name for p in one.iterdir() if p.is_dir()] == ["HE"]
    name = Path("HE") / "eye0.png"
    assert (one / name).read_bytes() == (both / name).read_bytes()
    with pytest.raises(UserError, match="trained for MA HE"):
        predict("--run", run, "--lesions", "EX", "--out", one, photo)


@pytest.mark.parametrize("lesions", [["MA"], ["MA", "HE", "EX"]])
def test_one_lesion_type_a_channel(predict, run, data, tmp_path, lesions):
    with pytest.raises(UserError, match=r"has 2 output channel\(s\)"):
        predict(
            *("--deploy", run / "deploy.prototxt"),
            *("--weights", run / "final.caffemodel", "--lesions", *lesions),
            *("--out", tmp_path / "out", "--data", data),
        )
    assert not (tmp_path / "out").exists()


def test_photographs_of_one_name_are_refused(predict, run, data, tmp_path):
    photo = data / "images" / "eye0.png"
    with pytest.raises(UserError, match=r"both be written as eye0\.png"):
        predict("--run", run, "--out", tmp_path, photo, tmp_path / "eye0.jpg")


def test_small_photographs_are_predicted_at_their_size(predict, run, tmp_path):
    photo = tmp_path / "small.png"
    rng = np.random.default_rng(0)
    cv2.imwrite(str(photo), rng.integers(0, 255, (13, 7, 3), np.uint8))
    predict("--run", run, "--out", tmp_path / "out", photo)
    levels, _ = maps.read_map(tmp_path / "out" / "MA" / "small.png")
    assert levels.shape == (13, 7)


def test_scale_keeps_the_size_of_the_photograph(predict, run, data, tmp_path):
    photo = data / "images" / "eye0.png"
    predict("--run", run, "--out", tmp_path, "--scale", "0.5", *TILES, photo)
    levels, _ = maps.read_map(tmp_path / "MA" / "eye0.png")
    assert levels.shape == (70, 96)
    record = json.loads((tmp_path / "prediction.json").read_text())
    assert record["scale"] == 0.5
    with pytest.raises(UserError, match="--scale is 2"):
        predict("--run", run, "--out", tmp_path, "--scale", "2", photo)


def test_a_folder_without_training_is_refused(predict, tmp_path):
    with pytest.raises(UserError, match=r"run\.json is missing"):
        predict("--run", tmp_path, "--out", tmp_path / "out", "x.png")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json is not JSON"):
        predict("--run", tmp_path, "--out", tmp_path / "out", "x.png")


def test_nothing_to_predict_is_said(predict, run, tmp_path):
    with pytest.raises(UserError, match="give photographs, or a data set"):
        predict("--run", run, "--out", tmp_path)


def test_tiles_are_checked_before_any_work(predict, run, data, tmp_path):
    with pytest.raises(UserError, match="--tile 510"):
        predict("--run", run, "--data", data, "--out", tmp_path / "o", "--tile", 510)
    assert not (tmp_path / "o").exists()


def test_a_folder_that_cannot_be_written_is_named(predict, run, data, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match=str(blocked)):
        predict("--run", run, "--data", data, "--out", blocked, *TILES)
