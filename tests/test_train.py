"""train.py around the real `caffe train`: progress, interruption, failure, curves."""

import json
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY

from randrop import training
from randrop.caffe_build import caffe_binary, environment
from randrop.training import Curves

SCRIPT = REPOSITORY / "scripts" / "train.py"
SMALL = (
    "--patch 32 --batch 2 --base-channels 2 --depth 2 --test-iterations 2 --threads 1"
)


def command(data, out, *more, iterations=12, interval=6):
    return [
        *(sys.executable, str(SCRIPT), "--data", str(data), "--out", str(out)),
        *SMALL.split(),
        *("--iterations", str(iterations), "--test-interval", str(interval)),
        *map(str, more),
    ]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments, **options), capture_output=True, text=True, check=False
    )


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
    curves = json.loads((out / "curves.json").read_text())
    assert [i for i, _ in curves["training_loss"]] == [0, 10]
    assert [i for i, _ in curves["validation_loss"]] == [6, 12]
    assert curves["validation_loss"][0] != curves["validation_loss"][1]
    lines = [json.loads(line) for line in (out / "kept.jsonl").open()]
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
    assert "is trained already" in result.stderr
    result = run(phantom, out, "--watch-mask", "--lr", "0.5")
    assert result.returncode == 2
    assert "holds a run with other settings (lr 0.001 -> 0.5)" in result.stderr


def losses(out):
    return json.loads((out / "curves.json").read_text())["training_loss"]


def test_native_and_python_layer_train_alike(caffe, phantom, tmp_path):
    for name, more in (("native", []), ("python", ["--python-layer"])):
        assert run(phantom, tmp_path / name, *more).returncode == 0
    native, python = losses(tmp_path / "native"), losses(tmp_path / "python")
    assert native[0][1] == pytest.approx(python[0][1], rel=1e-4)
    assert native[1][1] == pytest.approx(python[1][1], rel=1e-2)


@pytest.mark.parametrize("loss", ["cross-entropy", "class-balanced"])
def test_other_losses_train(caffe, phantom, tmp_path, loss):
    result = run(phantom, tmp_path / "run", "--loss", loss)
    assert result.returncode == 0, result.stderr
    assert len(losses(tmp_path / "run")) == 2


def test_interrupted_it_snapshots_and_resumes(caffe, phantom, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(phantom, out, iterations=3000, interval=3000),
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(300):
        log = out / "log.txt"
        if log.exists() and "Iteration 20 " in log.read_text():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "--resume" in said
    states = list((out / "snapshots").glob("*.solverstate"))
    assert len(states) == 1
    result = run(phantom, out, iterations=3000, interval=3000)
    assert result.returncode == 2
    assert "--resume goes on with it" in result.stderr
    at = int(states[0].stem.rpartition("_")[2])
    assert 20 <= at < 3000
    assert not (out / "final.caffemodel").exists()

    process = subprocess.Popen(
        command(phantom, out, "--resume", iterations=3000, interval=3000),
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(300):
        if f"Iteration {at // 10 * 10 + 20} " in (out / "log.txt").read_text():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    net = (out / "train_val.prototxt").read_text()
    assert f"first_iteration: {at}" in net
    assert f'\\"first_patch\\": {2 * at}' in net
    assert "Resuming from" in (out / "log.txt").read_text()


def test_resume_without_a_snapshot(caffe, phantom, tmp_path):
    result = run(phantom, tmp_path / "run", "--resume")
    assert result.returncode == 2
    assert "no snapshot in" in result.stderr


def test_a_build_without_python_layers_is_named(tmp_path):
    """The words of such a Caffe, as its layer factory says them."""
    tail = [
        "F1120 10:00:00.000000  1 layer_factory.hpp:81] Check failed: registry.count(t"
        "ype) == 1 (0 vs. 1) Unknown layer type: Python (known types: AbsVal, Accuracy)"
    ]
    said = training._why(tail, -6, tmp_path / "log.txt")
    assert "Unknown layer type: Python" in said
    assert "WITH_PYTHON_LAYER := 1" in said
    assert "log.txt" in said


def test_an_unpatched_caffe_is_named(caffe, phantom, tmp_path, monkeypatch):
    """The real program, asked for a layer type that it does not have."""
    monkeypatch.setitem(
        training.LOSSES, "unknown", training.nets.Loss("SigmoidNoSuchLoss")
    )
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
    monkeypatch.setattr(
        training.nets, "_by_number", lambda caffe, loss: {}, raising=True
    )
    training.write_run(tmp_path, settings)
    with pytest.raises(
        training.UserError, match="Unknown layer type: SigmoidNo"
    ) as error:
        training.train(tmp_path, 1)
    assert "patch_caffe.py" in str(error.value)


def test_bad_data_stops_with_its_sentence(caffe, phantom, tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    result = run(tmp_path / "data", tmp_path / "run")
    assert result.returncode == 2
    assert "has no image" in result.stderr
    assert not (tmp_path / "run").exists()


def test_bad_images_stop_caffe_with_their_names(caffe, phantom, tmp_path):
    import shutil

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
        (["--patch", "33"], "--patch 33 is no multiple of 2"),
        (["--iterations", "0"], "--iterations must be at least 1"),
        (["--weights", "no.caffemodel"], "no such file"),
        (["--lesions", "MA", "XX"], "XX"),
    ],
)
def test_settings_that_cannot_be(phantom, tmp_path, more, message):
    result = run(phantom, tmp_path / "run", *more)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_logs_numbers():
    curves = Curves()
    text = """\
I1120 22:59:05.000000  9 solver.cpp:239] Iteration 0 (-1.4e-45 iter/s, 0.4s/10 iters), loss = 12.5
I1120 22:59:05.000000  9 sgd_solver.cpp:112] Iteration 0, lr = 0.001
I1120 22:59:05.000000  9 solver.cpp:347] Iteration 5, Testing net (#0)
I1120 22:59:05.000000  9 solver.cpp:414]     Test net output #0: loss = 7.25 (* 1 = 7.25 loss)
randrop.data: waited 0.12 s of 60.1 s (0.2 %) for 200 patches
I1120 22:59:05.000000  9 solver.cpp:239] Iteration 10 (1 iter/s, 10s/10 iters), loss = nan
"""  # noqa: E501
    told = [curves.read(line) for line in text.splitlines()]
    assert told == [True, False, False, False, False, True]
    content = curves.to_json()
    assert content["training_loss"] == [[0, 12.5], [10, None]]
    assert content["validation_loss"] == [[5, 7.25]]
    assert content["learning_rate"] == [[0, 0.001]]
    assert content["data_waiting"]["share_percent"] == 0.2


@pytest.mark.slow
def test_data_never_holds_training_back(caffe, phantom, tmp_path):
    """With a network of the default width, waiting is a small part of the time."""
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
