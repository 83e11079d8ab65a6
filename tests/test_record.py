"""surface.py record, with trainings of seconds by the real Caffe."""

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import small_training
from every_script import ORGANS, SHORT, done, start
from recording_runs import beside, killed, record, whole

from randrop.nets.losses import parse_losses
from randrop.prediction import inference
from randrop.surface import numpy_losses, scenes, step_files
from randrop.surface.recording import Recording


@pytest.fixture
def run(surface_run, tmp_path):
    """A copy of the training, to change."""
    return shutil.copytree(surface_run, tmp_path / "run")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "recording.h5"


def test_a_recording_shows_what_the_network_does(
    surface_run, surface_recording, phantom
):
    settings = json.loads((surface_run / "run.json").read_text())
    images = scenes.read(phantom, settings, scenes.Choice(size=64))
    shown = [scene for scene in images if scene.shown]
    with Recording.open(surface_recording) as file:
        facts = file.facts
        assert file.iterations == (3, 6, 9, 12, 15)
        assert facts["iterations"] == [3, 6, 9, 12, 15]
        assert facts["run"] == "run"
        assert facts["loss"] == facts["losses"][0] == "random-drop"
        assert facts["channels"] == ["MA", "HE"]
        assert facts["size"] == [64, 64]
        assert file.names == tuple(scene.name for scene in shown)
        for t, k in enumerate(file.iterations):
            weights = surface_run / f"snapshots/net_iter_{k}.caffemodel"
            network = inference.load(surface_run / "deploy.prototxt", weights, "caffe")
            for i, scene in enumerate(shown):
                p = network.forward(scene.input[None])[0]
                np.testing.assert_allclose(file.probability(t, i), p, rtol=1e-3)
                np.testing.assert_array_equal(file.truth(i), scene.truth)
            # The training's validation subset is one photograph, which is shown.
            (i,) = (
                i for i, subset in enumerate(file.subsets) if subset == "validation"
            )
            measures = file.measures(t)["validation"]
            assert measures["photographs"] == 1
            for k, name in enumerate(facts["losses"]):
                values = file.loss(t, k, i)
                assert np.nanmean(values, dtype=float) == pytest.approx(
                    measures["loss"][name], rel=1e-4
                )
                assert (np.isnan(values) == (file.truth(i) == 255)).all()
                losses = parse_losses(name, "SIGMOID")
                kept = file.kept(t, k, i)
                assert (kept is not None) == numpy_losses.selects(losses[0])
                if kept is not None:
                    assert ((kept == -1) == (file.truth(i) == 255)).all()
                    assert (values[kept == 0] == 0).all()
            channel = measures["channels"]["HE"]
            truth = file.truth(i)[1]
            assert channel["confidence_foreground"] == pytest.approx(
                file.probability(t, i)[1][truth == 1].mean(), rel=1e-3
            )
            assert file.measures(t)["training"]["photographs"] == 3


def test_a_dropped_negative_has_no_loss_and_few_are_kept(surface_recording):
    with Recording.open(surface_recording) as file:
        kept = file.kept(0, 0, 0)
        negative = file.truth(0) == 0
        assert 0 < (kept[negative] == 1).mean() < 0.2
        assert (kept[file.truth(0) == 1] == 1).all()


@pytest.mark.parametrize("kill_at", [1, 3])
def test_a_killed_recording_goes_on(surface_run, surface_recording, out, kill_at):
    """The result has the same bytes as an uninterrupted one."""
    steps = killed(surface_run, out, kill_at)
    left = len(step_files.found(steps)) if steps.exists() else 5
    assert left >= kill_at
    result = done(record(surface_run, out))
    if not out.exists() or left < 5:
        assert f"5 snapshots, {5 - left} new" in result.stderr
    assert out.read_bytes() == surface_recording.read_bytes()
    assert not steps.exists()


def test_the_same_command_again_changes_nothing(
    surface_run, surface_recording, tmp_path
):
    folder = shutil.copytree(surface_recording.parent, tmp_path / "copy")
    result = done(record(surface_run, folder / "recording.h5"))
    assert "5 snapshots, 0 new" in result.stderr
    assert (folder / "recording.h5").read_bytes() == surface_recording.read_bytes()


def test_later_snapshots_are_added(run, surface_recording, out):
    later = [path for k in (12, 15) for path in run.glob(f"snapshots/*_iter_{k}.*")]
    aside = run.parent / "aside"
    aside.mkdir()
    for path in (*later, run / "final.caffemodel"):
        path.rename(aside / path.name)
    whole(run, out)
    with Recording.open(out) as file:
        assert file.iterations == (3, 6, 9)
    for path in later:
        (aside / path.name).rename(path)
    assert "5 snapshots, 2 new" in whole(run, out).stderr
    assert out.read_bytes() == surface_recording.read_bytes()


def test_some_snapshots_suffice(surface_run, out):
    whole(surface_run, out, "--every", 6, "--losses", "dice", "--measured", 0)
    with Recording.open(out) as file:
        assert file.iterations == (6, 12, 15)
        assert file.facts["losses"] == ["random-drop", "dice"]


def test_a_softmax_over_lesions(caffe, phantom, tmp_path, out):
    more = ("--loss", "exp-log", "--snapshot", 6)
    assert small_training.run(phantom, tmp_path / "run", *more).returncode == 0
    whole(tmp_path / "run", out)
    with Recording.open(out) as file:
        assert file.facts["activation"] == "softmax"
        assert file.facts["channels"] == ["background", "MA", "HE"]
        assert file.probability(0, 0).shape == file.truth(0).shape == (3, 64, 64)
        np.testing.assert_allclose(file.probability(0, 0).sum(0), 1, rtol=1e-3)
        losses = file.facts["losses"]
        assert file.loss(0, losses.index("dice"), 0).shape == (1, 64, 64)
        assert file.kept(0, losses.index("top-k"), 0).shape == (1, 64, 64)
        loss = file.measures(0)["validation"]["loss"]["exp-log"]
        i = file.subsets.index("validation")
        assert np.nanmean(file.loss(0, 0, i), dtype=float) == pytest.approx(
            loss, rel=1e-4
        )


def test_a_labelled_set(caffe, tmp_path, out):
    done(start("make_organs", tmp_path / "set", *ORGANS))
    common = ("--data", tmp_path / "set", "--loss", "cross-entropy", *SHORT)
    done(start("train", *common, "--out", tmp_path / "run"))
    whole(tmp_path / "run", out)
    with Recording.open(out) as file:
        assert file.facts["channels"] == ["background", "organ1", "organ2"]
        assert file.names == ("train 0", "train 1", "validation 0")
        assert file.facts["size"] == [16, 16]
        assert file.iterations == (2, 4)
    result = record(tmp_path / "run", out, "--data", tmp_path / "gone")
    assert result.returncode == 2
    assert "gone is missing" in result.stderr


@pytest.mark.slow
def test_a_recording_beside_a_training_equals_one_after_it(
    caffe, phantom, tmp_path, out
):
    run = tmp_path / "run"
    more = ("--snapshot", 100)
    words = small_training.command(phantom, run, *more, iterations=600, interval=600)
    training = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        while not (run / "snapshots/net_iter_100.sha256").exists():
            assert training.poll() is None
            time.sleep(0.01)
        # The training waits for the recording, which may need long to start.
        training.send_signal(signal.SIGSTOP)
        with beside(run, out) as recording:
            said = []
            while not any("is recorded" in line for line in said):
                said.append(recording.stderr.readline())
                assert said[-1], f"the recording ended: {said}"
            training.send_signal(signal.SIGCONT)
            training.communicate(timeout=200)
            recording.communicate(timeout=200)
    finally:
        if training.poll() is None:
            training.kill()
            training.communicate()
    assert training.returncode == recording.returncode == 0
    assert "iteration 100 of 600 is recorded" in said[-1]
    later = tmp_path / "later" / "recording.h5"
    whole(run, later)
    assert later.read_bytes() == out.read_bytes()
    with Recording.open(out) as file:
        assert file.iterations == (100, 200, 300, 400, 500, 600)
