"""The network for volumes: what its layers compute, and that it trains."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

from randrop import nets
from randrop.errors import UserError


@pytest.fixture
def net(caffe, tmp_path):
    path = tmp_path / "deploy.prototxt"
    path.write_text(nets.explog3d(5, shape=(2, 8, 4, 12), base_channels=3))
    net = caffe.Net(str(path), caffe.TEST)
    net.blobs["data"].data[...] = np.random.default_rng(0).normal(size=(1, 2, 8, 4, 12))
    net.forward()
    return net


def test_pooling_is_over_three_axes(net):
    before = net.blobs["down0_sum"].data
    n, c, d, h, w = before.shape
    cubes = before.reshape(n, c, d // 2, 2, h // 2, 2, w // 2, 2)
    np.testing.assert_array_equal(net.blobs["pool1_volume"].data, cubes.max((3, 5, 7)))


def test_upsampling_repeats_voxels(net):
    for before, after, factor in (
        ("up1_half", "up1_repeat", 2),
        ("deep2_conv", "deep2_repeat", 4),
    ):
        wanted = net.blobs[before].data
        for axis in (2, 3, 4):
            wanted = wanted.repeat(factor, axis)
        np.testing.assert_array_equal(net.blobs[after].data, wanted)


def test_a_block_adds_its_input(net):
    blobs = net.blobs
    np.testing.assert_allclose(
        blobs["down1_sum"].data,
        blobs["down1_conv2"].data + blobs["down1_skip"].data,
        rtol=1e-6,
    )


def test_all_levels_of_the_decoder_are_joined(net):
    assert net.blobs["joined"].data.shape == (1, 9, 8, 4, 12)
    assert net.blobs["prob"].data.shape == (1, 5, 8, 4, 12)
    np.testing.assert_allclose(net.blobs["prob"].data.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 1},
        {"base_channels": 0},
        {"convolutions": (1, 0)},
        {"shape": (1, 8, 8, 6)},
    ],
)
def test_parameters_out_of_range(caffe, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        nets.explog3d(**({"channels": 3} | wrong))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    from randrop.data.organ_set import write_organs

    folder = tmp_path_factory.mktemp("data") / "volumes"
    write_organs(folder, 16, 3, labels=4, smallest=0.02, train=3, validation=2)
    return folder


def test_noise_and_dropout_are_of_training_alone(caffe, volumes, tmp_path):
    from randrop.data.labelled import SUBSETS

    lists = {}
    for subset in SUBSETS:
        path = tmp_path / f"{subset}.txt"
        path.write_text(f"{volumes}/{subset}.h5\n")
        lists[subset] = str(path)
    losses = nets.parse_losses("exp-log", "SOFTMAX")
    text = nets.explog3d(
        4, nets.VolumeFeed(lists, 1), losses, (1, 16, 16, 16), 2, noise=0.1
    )
    (tmp_path / "net.prototxt").write_text(text)
    train = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    train.forward()
    noise = train.blobs["noisy"].data - train.blobs["data"].data
    assert noise.std() == pytest.approx(0.1, rel=0.1)
    narrow = train.blobs["down2_sum"].data
    assert (narrow == 0).mean() == pytest.approx(0.5, abs=0.1)
    test = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    test.forward()
    np.testing.assert_array_equal(test.blobs["noisy"].data, test.blobs["data"].data)
    assert (test.blobs["down2_sum"].data != 0).any()
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(nets.explog3d(4, shape=(1, 16, 16, 16), base_channels=2))
    weights = tmp_path / "net.caffemodel"
    test.save(str(weights))
    deployed = caffe.Net(str(deploy), str(weights), caffe.TEST)
    deployed.blobs["data"].data[...] = test.blobs["data"].data
    deployed.forward()
    np.testing.assert_allclose(
        deployed.blobs["score"].data, test.blobs["score"].data, rtol=1e-5
    )


def script(name, *arguments):
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_trains_on_volumes_and_is_measured(caffe, volumes, tmp_path):
    """The real `caffe train`: the loss falls, and the labels are measured."""
    result = script(
        "train.py",
        *("--data", volumes, "--out", tmp_path / "run", "--base-channels", 2),
        *("--loss", "exp-log:label_frequency=train", "--batch", 1, "--threads", 1),
        *("--iterations", 60, "--test-interval", 30, "--lr", 0.01),
    )
    assert result.returncode == 0, result.stderr
    curves = json.loads((tmp_path / "run" / "curves.json").read_text())
    values = [value for _, value in curves["training_loss"]]
    assert values[-1] < 0.8 * values[0]
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert settings["net"] == "explog3d"
    assert settings["labels"] == ["background", "organ1", "organ2", "organ3"]
    assert "lesions" not in settings
    result = script(
        "evaluate_labels.py",
        *("--run", tmp_path / "run", "--data", volumes, "--out", tmp_path / "eval"),
    )
    assert result.returncode == 0, result.stderr
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert metrics["images"] == 2
    assert metrics["labels"]["background"]["dice"] > 0.5
    assert (tmp_path / "eval" / "predictions.png").stat().st_size > 1000

    result = script(
        "predict.py",
        *("--run", tmp_path / "run", "--data", volumes, "--out", tmp_path / "maps"),
    )
    assert result.returncode == 2
    assert "was trained on a labelled set, not on photographs" in result.stderr

    from randrop.data.organ_set import write_organs

    write_organs(tmp_path / "other", 16, 2, 4, 0.1, train=1, validation=1)
    result = script(
        "evaluate_labels.py",
        *("--run", tmp_path / "run", "--data", tmp_path / "other"),
        *("--out", tmp_path / "eval2"),
    )
    assert result.returncode == 2
    said = "expects 4 labels and images of (1, 16, 16, 16), but the data has"
    assert said in result.stderr
    assert not (tmp_path / "eval2").exists()


@pytest.mark.parametrize(
    "loss", ["focal:class_alpha=0.5/1/1/1+top-k-dice:50", "exp-log", "top-k:30"]
)
def test_native_and_python_layers_train_alike(caffe, tmp_path, loss):
    from randrop.data.organ_set import write_organs

    write_organs(tmp_path / "set", 32, 2, 4, 0.1, train=4, validation=2)
    found = {}
    for name, more in (("native", ()), ("python", ("--python-layer",))):
        out = tmp_path / name
        result = script(
            "train.py",
            *("--data", tmp_path / "set", "--out", out, "--loss", loss, "--depth", 2),
            *("--iterations", 12, "--test-interval", 6, "--base-channels", 2, *more),
        )
        assert result.returncode == 0, result.stderr
        found[name] = json.loads((out / "curves.json").read_text())
    for curve in ("training_loss", "validation_loss"):
        for (i, native), (j, python) in zip(
            found["native"][curve], found["python"][curve], strict=True
        ):
            assert i == j
            # Rounding may change later selections.
            assert native == pytest.approx(python, rel=1e-2 if i else 1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--patch", "64"], "--patch is for photographs"),
        (["--net", "unet"], "has 3 axes: use explog3d"),
        (["--loss", "random-drop"], "needs a softmax network"),
        (
            ["--watch-mask", "--loss", "dice"],
            "--watch-mask works only with photographs: omit it",
        ),
        (["--loss", "dice", "--depth", "6"], "three multiples of 32"),
    ],
)
def test_what_does_not_fit_volumes_is_named(volumes, tmp_path, arguments, message):
    result = script("train.py", "--data", volumes, "--out", tmp_path / "r", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "r" / "run.json").exists()
