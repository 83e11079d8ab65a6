import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import small_unet
from PIL import Image

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
    for backend in ("caffe", "onnxruntime", "opencv"):
        out = tmp_path / backend
        photo = data / "images" / "eye0.png"
        predict("--run", run, "--backend", backend, "--out", out, *TILES, photo)
        levels.append(maps.read_map(out / "HE" / "eye0.png")[0].astype(int))
    for other in levels[1:]:
        assert np.abs(levels[0] - other).max() <= 1
    assert levels[0].std() > 100


def test_without_caffe_the_script_takes_onnxruntime(run, data, tmp_path):
    environment = {**os.environ, "CAFFE_ROOT": str(tmp_path / "none")}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, SCRIPTS / "predict.py", "--run", run, *TILES]
    command += ["--out", tmp_path, data / "images" / "eye1.png"]
    child = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    record = json.loads((tmp_path / "prediction.json").read_text())
    assert record["backend"] == "onnxruntime"


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


@pytest.mark.parametrize("scale", ["1e-9", "0.001"])
def test_a_scale_that_leaves_nothing_is_refused(predict, run, data, tmp_path, scale):
    photo = next((data / "images").iterdir())
    with pytest.raises(UserError, match="give a larger --scale"):
        predict("--run", run, "--scale", scale, "--out", tmp_path / "out", photo)


def test_photographs_behind_lesions_are_named(predict, run, data, tmp_path):
    """The list of types swallows them; the remedy works."""
    photo = next((data / "images").iterdir())
    rest = ["--run", run, "--out", tmp_path / "out", *TILES]
    with pytest.raises(UserError, match="put the photographs before --lesions"):
        predict(*rest, "--lesions", "MA", photo)
    assert predict(*rest, photo, "--lesions", "MA") == 0


def test_a_turned_photograph_is_said(predict, run, data, tmp_path, caplog):
    photo, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[274] = 6
    with Image.open(data / "images" / "eye0.png") as image:
        image.save(photo, exif=exif)
        size = image.size
    predict("--run", run, "--out", tmp_path / "out", *TILES, photo)
    assert "turned.jpg: viewers turn it" in caplog.text
    listed = json.loads((tmp_path / "out/turned.json").read_text())
    assert (listed["width"], listed["height"]) == size


def test_what_an_earlier_prediction_left_is_told(predict, run, data, tmp_path, caplog):
    out = tmp_path / "out"
    given = ("--run", run, "--out", out, *TILES)
    predict(*given, "--picture", "jpg", data / "images/eye0.png")
    (out / "notes.png").write_bytes(b"a picture of the user")
    predict(*given, "--picture", "jpg", data / "images/eye0.png")
    assert "of an earlier prediction" not in caplog.text
    predict(*given, data / "images/eye1.png")
    assert "2 picture(s) or list(s) of an earlier prediction, such as" in caplog.text
    assert (out / "eye0.jpg").exists()
    caplog.clear()
    predict(*given, data / "images/eye0.png", data / "images/eye1.png")
    assert "1 picture(s) or list(s) of an earlier prediction, such as" in caplog.text
    assert "eye0.jpg: lesions.csv is without them" in caplog.text


def test_a_folder_that_is_its_own_output_is_predicted_again(
    predict, run, data, tmp_path
):
    Image.open(data / "images" / "eye0.png").save(tmp_path / "eye.jpg")
    for _ in range(2):
        predict("--run", run, "--out", tmp_path, *TILES, tmp_path)
    record = json.loads((tmp_path / "prediction.json").read_text())
    assert list(record["seconds"]) == ["eye"]


def test_flips_are_the_mean_of_four_mirrored_predictions(predict, run, data, tmp_path):
    """Of mirrored photographs, in one tile, whose border reflects like the field's."""
    photo = cv2.imread(str(data / "images" / "eye0.png"))
    levels = {}
    words = ("--run", run, "--tile", 128, "--overlap", 16)
    for axes in ((), (0,), (1,), (0, 1)):
        path = tmp_path / f"{len(levels)}.png"
        # Sides that the tile has without a border: 64 and 96 plus the overlap.
        cv2.imwrite(str(path), np.ascontiguousarray(np.flip(photo[3:67], axes)))
        predict(*words, "--out", tmp_path / "one", path)
        found, _ = maps.read_map(tmp_path / "one" / "HE" / path.name)
        levels[axes] = np.flip(found, axes).astype(float)
    predict(*words, "--flips", "--out", tmp_path / "four", tmp_path / "0.png")
    four, _ = maps.read_map(tmp_path / "four" / "HE" / "0.png")
    mean = np.mean(list(levels.values()), axis=0)
    assert np.abs(four - mean).max() <= 2
    assert np.abs(four - levels[()]).max() > 100
    assert json.loads((tmp_path / "four/prediction.json").read_text())["flips"] is True


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


@pytest.fixture(scope="module")
def lesions_onnx(run, tmp_path_factory):
    """The network of `run`, exported without Caffe."""
    out = tmp_path_factory.mktemp("exported") / "lesions.onnx"
    command = [sys.executable, SCRIPTS / "export_onnx.py", run, out]
    child = subprocess.run(
        command,
        env={**os.environ, "CAFFE_ROOT": "/none"},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    assert "batch x 3 x height x width" in child.stderr
    return out


def test_a_file_in_onnx_predicts_as_its_run_does(
    predict, run, data, lesions_onnx, tmp_path
):
    photo = data / "images" / "eye0.png"
    maps_of = {}
    for name, source in {"run": run, "onnx": lesions_onnx}.items():
        assert predict("--run", source, "--out", tmp_path / name, *TILES, photo) == 0
        maps_of[name] = [
            maps.read_map(tmp_path / name / lesion / "eye0.png")[0].astype(int)
            for lesion in ("MA", "HE")
        ]
    assert np.abs(np.subtract(*maps_of.values())).max() <= 1
    record = json.loads((tmp_path / "onnx" / "prediction.json").read_text())
    assert record["backend"] == "onnxruntime"


def test_caffe_and_gpu_are_refused_for_a_file_in_onnx(predict, lesions_onnx, tmp_path):
    common = ("--run", lesions_onnx, "--out", tmp_path / "out", "x.png")
    with pytest.raises(UserError, match="Caffe does not read"):
        predict(*common, "--backend", "caffe")
    with pytest.raises(UserError, match="--gpu needs Caffe"):
        predict(*common, "--gpu")


def test_damaged_and_foreign_files_in_onnx_are_refused(predict, lesions_onnx, tmp_path):
    content = lesions_onnx.read_bytes()
    torn = tmp_path / "torn.onnx"
    for share in (0, 0.3, 0.9):
        torn.write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match=r"torn\.onnx.*export_onnx\.py"):
            predict("--run", torn, "--out", tmp_path / "out", "x.png")
    foreign = onnx.ModelProto.FromString(content)
    del foreign.metadata_props[:]
    torn.write_bytes(foreign.SerializeToString())
    with pytest.raises(UserError, match="does not say how to use it"):
        predict("--run", torn, "--out", tmp_path / "out", "x.png")
    with pytest.raises(UserError, match=r"none\.onnx is missing"):
        predict("--run", tmp_path / "none.onnx", "--out", tmp_path / "out", "x.png")


def test_our_model_finds_the_same_by_every_backend(predict, phantom, tmp_path):
    photo = sorted((phantom / "images").iterdir())[0]
    found = []
    for backend in ("caffe", "onnxruntime", "opencv"):
        predict("--backend", backend, "--out", tmp_path / backend, photo)
        found.append(
            [
                maps.read_map(tmp_path / backend / lesion / f"{photo.stem}.png")[0]
                for lesion in ("MA", "HE")
            ]
        )
    found = np.array(found, int)
    assert np.abs(found - found[0]).max() <= 1e-4 * 65535
    assert found[0].std() > 100


def test_a_black_photograph_and_a_pixel_are_the_same_by_every_backend(
    predict, run, tmp_path
):
    for size in ((1, 1), (33, 47)):
        photo = tmp_path / f"black{size[0]}.png"
        cv2.imwrite(str(photo), np.zeros((*size, 3), np.uint8))
        found = []
        for backend in ("caffe", "onnxruntime", "opencv"):
            out = tmp_path / backend
            predict("--run", run, "--backend", backend, "--out", out, *TILES, photo)
            levels, _ = maps.read_map(out / "MA" / f"{photo.stem}.png")
            assert levels.shape == size
            found.append(levels.astype(int))
        assert np.abs(np.array(found) - found[0]).max() <= 1
