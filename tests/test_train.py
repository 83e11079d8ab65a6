"""train.py with the real `caffe train`: what a run leaves, and how it fails."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from small_training import SCRIPT, kept, losses, run

from randrop.losses import registry
from randrop.pycaffe.build import caffe_binary, environment
from randrop.training import caffe_train


def test_a_run_leaves_what_prediction_needs(caffe, phantom, tmp_path):
    out = tmp_path / "run"
    result = run(phantom, out, "--watch-mask")
    assert result.returncode == 0, result.stderr
    assert "100%" in result.stderr
    for name in ("final.caffemodel", "deploy.prototxt", "curves.png", "kept.png"):
        assert (out / name).stat().st_size > 100, name
    settings = json.loads((out / "run.json").read_text())
    assert settings["lesions"] == ["MA", "HE"]
    assert settings["stride"] == 2
    assert settings["caffe_version"] == caffe.__version__
    curves = json.loads((out / "curves.json").read_text())
    assert [i for i, _ in curves["training_loss"]] == [0, 10]
    assert [i for i, _ in curves["validation_loss"]] == [6, 12]
    assert curves["validation_loss"][0] != curves["validation_loss"][1]
    lines = kept(out)
    assert lines[0]["iteration"] == 10
    assert 0 < lines[0]["kept"] < lines[0]["negatives"]
    spread = 6 * lines[0]["variance"] ** 0.5
    assert abs(lines[0]["kept"] - lines[0]["expected"]) < spread
    net = caffe.Net(
        str(out / "deploy.prototxt"), str(out / "final.caffemodel"), caffe.TEST
    )
    assert net.blobs["prob"].data.shape[1] == 2

    result = run(phantom, out, "--watch-mask")
    assert result.returncode == 0
    assert "is already trained" in result.stderr
    result = run(phantom, out, "--watch-mask", "--lr", "0.5")
    assert result.returncode == 2
    assert "contains a run with other settings (lr 0.001 -> 0.5)" in result.stderr


def test_native_and_python_layer_train_alike(caffe, phantom, tmp_path):
    for name, more in (("native", []), ("python", ["--python-layer"])):
        assert run(phantom, tmp_path / name, *more).returncode == 0
    native, python = losses(tmp_path / "native"), losses(tmp_path / "python")
    assert native[0][1] == pytest.approx(python[0][1], rel=1e-4)
    assert native[1][1] == pytest.approx(python[1][1], rel=1e-2)


def test_cross_entropy_trains_and_has_no_mask_to_watch(caffe, phantom, tmp_path):
    """And no level of the network is wider than allowed."""
    more = ["--loss", "cross-entropy", "--watch-mask", "--max-channels", 3]
    result = run(phantom, tmp_path, *more)
    assert result.returncode == 0, result.stderr
    assert (
        "cross-entropy drops nothing, so there is no share to record" in result.stderr
    )
    assert len(losses(tmp_path)) == 2
    assert not (tmp_path / "kept.jsonl").exists()
    deploy = (tmp_path / "deploy.prototxt").read_text()
    assert "num_output: 3" in deploy
    assert "num_output: 4" not in deploy


def test_class_balanced_trains_and_keeps_all(caffe, phantom, tmp_path):
    result = run(phantom, tmp_path, "--loss", "class-balanced", "--watch-mask")
    assert result.returncode == 0, result.stderr
    (line,) = kept(tmp_path)
    assert line["kept"] == line["negatives"] == line["expected"] > 0


@pytest.mark.parametrize(
    "loss",
    [
        "top-k",
        "bin:5",
        "focal+dice",
        "cross-entropy+top-k-dice:30",
        "random-drop:LOG,keep=UNIFORM",
        "random-drop:LINEAR,keep=HARDEST",
        "cross-entropy+pm-dice",
        "cross-entropy+dice:squared=false+cc-dice-ce",
        "tversky:cells=true",
    ],
)
def test_every_sigmoid_loss_trains(caffe, phantom, tmp_path, loss):
    result = run(phantom, tmp_path, "--loss", loss)
    assert result.returncode == 0, result.stderr
    curves = json.loads((tmp_path / "curves.json").read_text())
    values = [
        v for name in ("training_loss", "validation_loss") for _, v in curves[name]
    ]
    assert len(values) == 4
    assert all(value is not None and value > 0 for value in values)


@pytest.mark.parametrize("name", ['läsion "1" \\ größer', "two\nlines"])
def test_paths_with_quotes_and_letters_of_other_languages(
    caffe, phantom, tmp_path, name
):
    out = tmp_path / name
    result = run(shutil.copytree(phantom, tmp_path / f"data {name}"), out)
    assert result.returncode == 0, result.stderr
    assert (out / "final.caffemodel").exists()
    assert (out / "snapshots/net_iter_12.sha256").exists()


def test_a_loss_of_nan_stops_the_training(caffe, phantom, tmp_path):
    result = run(phantom, tmp_path, "--lr", "1e38", iterations=5000)
    assert result.returncode == 2
    assert "the loss is NaN at iteration" in result.stderr
    assert "Lower --lr" in result.stderr
    assert not (tmp_path / "final.caffemodel").exists()
    assert losses(tmp_path)[-1][1] is None
    assert losses(tmp_path)[-1][0] < 1000


def test_only_its_own_files_are_removed(caffe, phantom, tmp_path):
    """Neither somebody else's files, nor an earlier run's if settings are invalid."""
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "notes.txt").write_text("mine")
    loss = ("--loss", "cross-entropy")
    assert run(phantom, tmp_path, *loss).returncode == 0
    before = (tmp_path / "final.caffemodel").read_bytes()
    result = run(phantom, tmp_path, *loss, "--python-layer", "--force")
    assert result.returncode == 2
    assert "cross-entropy has no Python layer" in result.stderr
    assert (tmp_path / "final.caffemodel").read_bytes() == before
    assert list(tmp_path.glob("snapshots/*.solverstate"))
    assert run(phantom, tmp_path, "--watch-mask", "--force").returncode == 0
    assert (tmp_path / "kept.jsonl").exists()
    assert run(phantom, tmp_path, *loss, "--force").returncode == 0
    assert not (tmp_path / "kept.jsonl").exists()
    assert (tmp_path / "snapshots" / "notes.txt").read_text() == "mine"


def test_weights_of_another_network_are_named(caffe, phantom, tmp_path):
    assert run(phantom, tmp_path / "a", iterations=1).returncode == 0
    weights = ("--weights", tmp_path / "a" / "final.caffemodel")
    result = run(phantom, tmp_path / "b", *weights, iterations=1)
    assert result.returncode == 0, result.stderr
    result = run(phantom, tmp_path / "c", *weights, "--lesions", "MA", iterations=1)
    assert result.returncode == 2
    assert f"--weights {weights[1]} belongs to another network" in result.stderr


def test_weights_that_fit_in_part_are_told(caffe, phantom, tmp_path):
    assert run(phantom, tmp_path / "a", iterations=1).returncode == 0
    path = tmp_path / "a" / "final.caffemodel"
    result = run(phantom, tmp_path / "b", "--weights", path, iterations=1)
    assert re.search(r"All (\d+) layers with weights start from", result.stderr)
    more = ("--weights", path, "--depth", 3)
    result = run(phantom, tmp_path / "c", *more, iterations=1)
    assert result.returncode == 0, result.stderr
    some, every = re.search(r"(\d+) of (\d+) layers start from", result.stderr).groups()
    assert 0 < int(some) < int(every)
    assert re.search(r"From scratch: .*down2_", result.stderr)
    for content, message in (
        (b"", "contains no layers"),
        (b"no caffemodel", "is not a caffemodel"),
    ):
        (tmp_path / "other.caffemodel").write_bytes(content)
        more = ("--weights", tmp_path / "other.caffemodel")
        result = run(phantom, tmp_path / "d", *more, iterations=1)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "d" / "run.json").exists()


def test_an_unpatched_caffe_is_named(caffe, phantom, tmp_path, monkeypatch):
    """The real program, with a layer type that it does not have."""
    kind = registry.Name("", "SigmoidNoSuchLoss")
    monkeypatch.setitem(registry.NAMES, "unknown", kind)
    settings = {
        "data": str(phantom),
        "split": None,
        "lesions": ["MA"],
        "loss": "unknown",
    }
    settings |= {"patch": 32, "batch": 1, "lesion_share": 0.5, "workers": 0, "seed": 1}
    settings |= {"base_channels": 2, "depth": 1, "prior": 0.01, "iterations": 1}
    settings |= {"test_iterations": 1, "test_interval": 1, "snapshot": 1, "lr": 0.1}
    settings |= {"watch_mask": False, "python_layer": False, "gpu": False}
    caffe_train.write_run(tmp_path, settings)
    with pytest.raises(
        caffe_train.UserError, match="Unknown layer type: SigmoidNo"
    ) as error:
        caffe_train.train(tmp_path, 1)
    assert "patch_caffe.py" in str(error.value)


def test_bad_data_stops_with_its_sentence(caffe, phantom, tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    result = run(tmp_path / "data", tmp_path / "run")
    assert result.returncode == 2
    assert "contains no image" in result.stderr
    assert not (tmp_path / "run").exists()


def test_bad_images_stop_caffe_with_their_names(caffe, phantom, tmp_path):
    data = shutil.copytree(phantom, tmp_path / "data")
    path = data / "images" / "phantom_0001.jpg"
    path.write_bytes(path.read_bytes()[:3000])
    result = run(data, tmp_path / "run")
    assert result.returncode == 2
    assert "1 of 3 images cannot be used, 2 can" in result.stderr
    assert "phantom_0001.jpg" in result.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--patch", "33"], "--patch 33 is not a multiple of 2"),
        (["--iterations", "0"], "--iterations must be at least 1"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--workers", "-1"], "--workers must be at least 0"),
        (["--weights", "no.caffemodel"], "the file does not exist"),
        (["--resume", "--force"], "not allowed with argument"),
        (["--lesions", "MA", "XX"], "XX"),
        (["--lr", "nan"], "'nan' is not a finite number"),
        (["--lr", "0"], "'0' must be above 0"),
        (["--lesion-share", "inf"], "'inf' is not a finite number"),
        (["--max-channels", "1"], "1 must be at least the 2 of --base-channels"),
        (["--max-channels", "8", "--net", "lseg"], "is for --net unet, not lseg"),
    ],
)
def test_settings_that_cannot_be(phantom, tmp_path, more, message):
    result = run(phantom, tmp_path / "run", *more)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_data_never_holds_training_back(caffe, phantom, tmp_path):
    """At the default network width, waiting takes a small part of the time."""
    result = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), "--data", str(phantom)),
            *("--out", str(tmp_path / "run"), "--iterations", "105", "--threads", "1"),
            *("--patch", "128", "--base-channels", "16", "--test-interval", "1000"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    waiting = json.loads((tmp_path / "run" / "curves.json").read_text())["data_waiting"]
    assert waiting["patches"] == 200
    assert waiting["share_percent"] < 5


def test_a_full_disk_is_named(caffe, phantom, small_disk):
    disk = small_disk(40_000)
    result = run(phantom, disk / "run")
    assert result.returncode == 2, result.stderr
    assert "free some" in result.stderr.lower() or "disk is" in result.stderr
    assert not (disk / "run" / "final.caffemodel").exists()


def test_the_program_is_the_built_one(caffe):
    result = subprocess.run(
        [caffe_binary(), "-version"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "caffe version" in result.stdout + result.stderr
