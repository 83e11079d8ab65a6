"""`surface.py landscape` on a run of seconds: what it writes, and how it goes on."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mpi
import numpy as np
import pytest
import small_training
from conftest import REPOSITORY
from every_script import done, start

from randrop import nets
from randrop.errors import UserError
from randrop.surface.commands import landscape as command
from randrop.surface.landscape import network, parameters, scene
from randrop.surface.landscape_file import Landscape

FEW = ("--images", 2, "--workers", 2)


@pytest.fixture(scope="module")
def run(caffe, phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("landscape") / "run"
    result = small_training.run(phantom, folder, "--snapshot", 3)
    assert result.returncode == 0, result.stderr
    return folder


def landscape(run, out, *words, **options):
    return start(
        *("surface", "landscape", "--run", run, "--out", out, *FEW, *words), **options
    )


def evaluator(run, *names, recompute=False):
    settings = json.loads((run / "run.json").read_text())
    definition = network.define(run / "deploy.prototxt")
    data = Path(settings["data"])
    images = scene.read(settings, data, None, "train", 2, None, False, 1)
    losses = [nets.parse_losses(name, "SIGMOID") for name in names]
    return definition, network.Evaluator(
        definition, images, losses, 1, recompute=recompute
    )


def test_a_plane_of_several_losses(run, tmp_path):
    out = tmp_path / "a.h5"
    words = ("--points", 3, "--losses", "dice", "random-drop", "--range", -0.5, 0.5)
    result = done(landscape(run, out, *words))
    assert "0 holes of 9 points" in result.stderr
    found = Landscape.open(out)
    assert found.facts["losses"] == ["dice", "random-drop"]
    assert found.facts["batch_norm"] == "kept"
    assert (found.facts["kind"], found.facts["directions"]) == ("plane", "random")
    np.testing.assert_allclose(found.alpha, [-0.5, 0, 0.5])
    assert (found.state == 1).all()
    assert found.trajectory is None
    definition, own = evaluator(run, "dice", "random-drop")
    values = own.values(parameters.read(run / "final.caffemodel", definition.layout))
    for k in range(2):
        assert found.height(k)[1, 1] == pytest.approx(values.losses[k], rel=1e-6)
        assert len(np.unique(found.height(k))) == 9
    assert found.average_precision[1, 1] == pytest.approx(values.average_precision)
    assert not (tmp_path / "a.h5.points").exists()
    before = out.read_bytes()
    again = done(landscape(run, out, *words))
    assert "is already there" in again.stderr
    other = landscape(run, out, "--points", 4)
    assert other.returncode == 2
    assert "holds another landscape (losses" in other.stderr
    assert out.read_bytes() == before
    done(landscape(run, out, "--kind", "line", "--points", 2, "--force"))
    assert Landscape.open(out).beta.tolist() == [0]


def test_a_trajectory_has_true_and_projected_losses(run, tmp_path):
    out = tmp_path / "a.h5"
    result = done(landscape(run, out, "--directions", "pca", "--points", 3))
    assert "of the snapshots' way" in result.stderr
    found = Landscape.open(out)
    way = found.trajectory
    assert way.iteration.tolist() == [3, 6, 9, 12]
    assert found.facts["batch_norm"] == "recomputed"
    definition, own = evaluator(run, found.facts["losses"][0], recompute=True)
    vectors = [
        parameters.read(run / f"snapshots/net_iter_{k}.caffemodel", definition.layout)
        for k in way.iteration
    ]
    for k, vector in enumerate(vectors):
        wanted = own.values(vector).losses[0]
        assert way.loss[0][k] == pytest.approx(wanted, rel=1e-6)
    learned = definition.layout.learned()
    steps = np.stack([v[learned] - vectors[-1][learned] for v in vectors])
    sigma = np.linalg.svd(steps, compute_uv=False)
    shares = sigma[:2] ** 2 / np.square(sigma).sum()
    np.testing.assert_allclose(found.facts["explained_variance"], shares, rtol=1e-6)
    squares = way.alpha**2 + way.beta**2 + way.distance**2
    np.testing.assert_allclose(squares, np.square(steps).sum(1), rtol=1e-6, atol=1e-12)
    # The last snapshot lies in the plane; of the others, those far away differ.
    assert way.distance[-1] == 0
    assert way.plane_loss[0][-1] == way.loss[0][-1]
    assert way.relative_distance[:-1].max() > 0.01
    assert (way.plane_loss[0][:-1] != way.loss[0][:-1]).any()
    assert found.alpha[0] < way.alpha.min() < way.alpha.max() < found.alpha[-1]


@pytest.mark.parametrize("batch_norm", ["kept", "recomputed"])
def test_a_line_between_models_has_them_at_its_ends(run, tmp_path, batch_norm):
    out = tmp_path / "a.h5"
    first = run / "snapshots/net_iter_3.caffemodel"
    words = ("--between", first, run, "--points", 3, "--range", 0, 1)
    done(landscape(run, out, *words, "--batch-norm", batch_norm))
    found = Landscape.open(out)
    assert (found.facts["kind"], found.facts["directions"]) == ("line", "between")
    definition, own = evaluator(
        run, found.facts["losses"][0], recompute=batch_norm == "recomputed"
    )
    for column, path in ((0, first), (2, run / "final.caffemodel")):
        wanted = own.values(parameters.read(path, definition.layout)).losses[0]
        assert found.height(0)[0, column] == pytest.approx(wanted, rel=1e-5)


def test_eigenvalues_come_with_their_errors(run, tmp_path):
    out = tmp_path / "a.h5"
    words = ("--kind", "line", "--points", 2, "--hessian", 2)
    result = done(landscape(run, out, *words, "--losses", "cross-entropy"))
    assert "largest eigenvalues" in result.stderr
    found = Landscape.open(out).hessian
    assert found["loss"] == "cross-entropy"
    assert found["eigenvalues"][0] >= found["eigenvalues"][1] > 0
    assert found["residuals"][0] < 0.2 * found["eigenvalues"][0]
    assert found["step_error"] < 0.2


def test_points_stay_where_there_is_no_hessian(run, tmp_path):
    out = tmp_path / "a.h5"
    words = ("--kind", "line", "--points", 2, "--hessian", 2, "--hessian-step", 1e30)
    result = done(landscape(run, out, *words))
    assert "written without eigenvalues: the gradient" in result.stderr
    found = Landscape.open(out)
    assert found.hessian is None
    assert (found.state == 1).all()


def test_holes_are_counted(run, tmp_path):
    out = tmp_path / "a.h5"
    words = ("--kind", "line", "--points", 3, "--range", 0, 1e38)
    result = done(landscape(run, out, *words))
    assert "2 holes of 3 points" in result.stderr
    found = Landscape.open(out)
    assert found.state.tolist() == [[1, 2, 2]]
    assert found.holes == 2
    assert np.isnan(found.height(0)[0, 1:]).all()


def test_without_any_point_the_old_landscape_stays(run, tmp_path):
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a GPU")
    out = tmp_path / "a.h5"
    words = ("--kind", "line", "--points", 2)
    done(landscape(run, out, *words))
    before = out.read_bytes()
    result = landscape(run, out, *words, "--force", "--gpu")
    assert result.returncode == 2
    assert "no point could be evaluated" in result.stderr
    assert "omit --gpu" in result.stderr
    assert out.read_bytes() == before


def test_images_without_a_lesion_are_told():
    labels = np.array([[[[0, 255]]]], np.float32)
    image = np.zeros((1, 3, 1, 2), np.float32)
    assert not scene.Scene(image, labels, 255, 1).has_foreground()
    assert scene.Scene(image, np.eye(2)[None, None], 255, 1).has_foreground()


def test_a_killed_program_continues(run, tmp_path):
    out, whole = tmp_path / "a.h5", tmp_path / "b.h5"
    words = ("--points", 8, "--range", -0.3, 0.3)
    line = [sys.executable, str(REPOSITORY / "scripts/surface.py"), "landscape"]
    line += map(str, ("--run", run, "--out", out, *FEW, *words))
    child = subprocess.Popen(line, stderr=subprocess.DEVNULL)
    journal = tmp_path / "a.h5.points"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") > 5:
            break
        time.sleep(0.01)
    assert child.poll() is None, "it was too fast to be killed"
    child.kill()
    child.wait()
    assert not out.exists()
    result = done(landscape(run, out, *words))
    assert "continued, " in result.stderr
    done(landscape(run, whole, *words))
    one, two = Landscape.open(out), Landscape.open(whole)
    np.testing.assert_array_equal(one.height(0), two.height(0))
    np.testing.assert_array_equal(one.average_precision, two.average_precision)
    assert not journal.exists()


def test_snapshots_of_another_network_are_refused(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    settings = json.loads((copy / "run.json").read_text())
    other = nets.unet(
        len(settings["lesions"]), base_channels=3, depth=2, shape=(3, 32, 32)
    )
    (copy / "deploy.prototxt").write_text(other)
    result = landscape(copy, tmp_path / "a.h5", "--directions", "pca")
    assert result.returncode == 2
    assert "belongs to another network: layer 'down0_conv1'" in result.stderr
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.slow
def test_damaged_snapshots_are_skipped_and_too_few_are_refused(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    damaged = copy / "snapshots/net_iter_3.caffemodel"
    damaged.write_bytes(damaged.read_bytes()[:-50])
    words = ("--directions", "pca", "--points", 2)
    result = done(landscape(copy, tmp_path / "a.h5", *words))
    assert "net_iter_3.caffemodel is damaged: skipped" in result.stderr
    way = Landscape.open(tmp_path / "a.h5").trajectory
    assert way.iteration.tolist() == [6, 9, 12]
    (copy / "snapshots/net_iter_6.caffemodel").unlink()
    result = landscape(copy, tmp_path / "b.h5", *words)
    assert result.returncode == 2
    assert "2 snapshots do not span a plane" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--points", 1), "--points must be at least 2"),
        (("--range", 1, -1), "give the smaller number first"),
        (("--losses", "no-such"), "loss 'no-such' is unknown"),
        (("--losses", "exp-log"), "needs a sigmoid network"),
        (("--directions", "pca", "--range", 0, 1), "takes centre and extent"),
        (("--between", "a", "b", "--directions", "pca"), "--between defines the line"),
        (("--between", "a", "b", "--kind", "plane"), "--between has one direction"),
        (("--between", "a", "b"), "a does not exist"),
        (("--weights", "none.caffemodel"), "none.caffemodel does not exist"),
        (("--subset", "nowhere"), "no subset 'nowhere'"),
        (("--size", 10**5), "--size must be between 1 and 8192"),
        (("--seed", 2**32), "--seed must be below 4294967296"),
        (("--size", 33), "--size 33 is not a multiple of 2"),
        (("--whole", "--images", 9), "subset 'train' of"),
        (("--whole", "--size", 32), "omit --size"),
        (("--hessian-step", 0.1), "--hessian-step needs --hessian"),
        (("--kind", "line", "--points", 2, "--hessian", 10**7), "ask for 1 to"),
    ],
)
def test_bad_input_gets_a_sentence(run, tmp_path, monkeypatch, words, message):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    out = tmp_path / "a.h5"
    given = map(str, ("--run", run, "--out", out, *FEW, *words))
    with pytest.raises(UserError, match=re.escape(message)):
        command.run(parser.parse_args(list(given)))
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_h5_and_a_file_of_somebody_else(run, tmp_path):
    result = landscape(run, tmp_path / "a.png")
    assert "give a name that ends in .h5" in result.stderr
    (tmp_path / "a.h5").write_text("mine")
    for force in ((), ("--force",)):
        result = landscape(run, tmp_path / "a.h5", *force)
        assert result.returncode == 2
        assert (tmp_path / "a.h5").read_text() == "mine"


def test_whole_photographs_are_padded_with_ignored_pixels(run, phantom):
    settings = json.loads((run / "run.json").read_text())
    found = scene.read(settings, phantom, None, "train", 3, None, True, 1)
    assert found.images.shape[0] == found.labels.shape[0] == 3
    assert not any(side % settings["stride"] for side in found.images.shape[2:])
    ignored = found.labels == 255
    assert ignored.any()
    assert not found.images[np.broadcast_to(ignored[:, :1], found.images.shape)].any()
    with pytest.raises(UserError, match="is not a multiple"):
        scene.read(settings, phantom, None, "train", 3, 31, False, 1)


@pytest.mark.slow
def test_a_labelled_set(caffe, tmp_path):
    organs, trained = tmp_path / "organs", tmp_path / "run"
    words = ("--size", 16, "--labels", 3, "--smallest", 0.1)
    done(start("make_organs", organs, *words, "--train", 2, "--validation", 1))
    common = ("--iterations", 3, "--base-channels", 2, "--depth", 2, "--snapshot", 1)
    done(start("train", "--data", organs, "--out", trained, "--loss", "dice", *common))
    out = tmp_path / "a.h5"
    words = ("--losses", "dice", "exp-log", "cross-entropy", "--kind", "line")
    done(landscape(trained, out, *words, "--points", 3, "--subset", "train"))
    found = Landscape.open(out)
    assert np.isfinite(found.heights).all()
    assert found.facts["channels"] == ["background", "organ1", "organ2"]
    result = landscape(trained, tmp_path / "b.h5", "--size", 16)
    assert "are for photographs" in result.stderr
    result = landscape(trained, tmp_path / "b.h5", "--images", 3)
    assert "has 2: give a smaller number" in result.stderr


@pytest.mark.slow
def test_mpiexec_computes_the_same(run, tmp_path):
    mpi.need()
    words = ("--points", 4, "--range", -0.3, 0.3)
    done(landscape(run, tmp_path / "a.h5", *words))
    out = tmp_path / "b.h5"
    line = [sys.executable, REPOSITORY / "scripts/surface.py", "landscape"]
    child = mpi.mpiexec(2, [*line, "--run", run, "--out", out, *FEW, *words])
    assert child.returncode == 0, child.stderr
    one, two = (Landscape.open(tmp_path / name) for name in ("a.h5", "b.h5"))
    np.testing.assert_allclose(one.height(0), two.height(0), rtol=1e-6)
