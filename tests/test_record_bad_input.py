"""What surface.py record makes of bad input, with trainings of seconds."""

import re
import shutil

import h5py
import numpy as np
import pytest
import small_training
from every_script import done
from recording_runs import contents, killed, record, whole

from randrop.data.phantom_set import write_phantom
from randrop.files import ownership
from randrop.surface import step_files
from randrop.surface.recording import Recording


@pytest.fixture
def run(surface_run, tmp_path):
    """A copy of the training, to damage."""
    return shutil.copytree(surface_run, tmp_path / "run")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "recording.h5"


def test_damaged_snapshots_are_skipped_and_counted(run, out):
    folder = run / "snapshots"
    half = folder / "net_iter_6.caffemodel"
    half.write_bytes(half.read_bytes()[:-400])
    # Without a digest, as after a kill.
    half = folder / "net_iter_9.caffemodel"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (folder / "net_iter_9.sha256").unlink()
    (folder / "net_iter_12.caffemodel").unlink()
    said = whole(run, out).stderr
    assert "iteration 6 is skipped" in said
    assert "does not match its digest" in said
    assert re.search("iteration 9 is skipped: .* (truncated|lacks)", said)
    assert "iteration 12 is skipped: there is no snapshot" in said
    assert "3 snapshots are skipped" in said
    with Recording.open(out) as file:
        assert file.iterations == (3, 15)
        assert file.facts["iterations"] == [3, 6, 9, 12, 15]


def test_a_name_that_is_no_h5(run, tmp_path):
    result = record(run, tmp_path / "recording")
    assert result.returncode == 2
    assert "give a name that ends in .h5" in result.stderr


def test_nothing_but_damaged_snapshots(run, out):
    for path in (*run.glob("snapshots/*.caffemodel"), run / "final.caffemodel"):
        path.write_bytes(b"")
    result = record(run, out)
    assert result.returncode == 2
    assert "none of the 5 snapshots" in result.stderr
    assert not out.exists()
    assert not step_files.folder_of(out).exists()


def test_snapshots_of_another_network_are_refused(run, phantom, out, tmp_path):
    more = ("--snapshot", 6, "--base-channels", 3)
    assert small_training.run(phantom, tmp_path / "b", *more).returncode == 0
    for kind in ("caffemodel", "sha256", "solverstate"):
        name = f"snapshots/net_iter_6.{kind}"
        shutil.copy(tmp_path / "b" / name, run / name)
    result = record(run, out)
    assert result.returncode == 2
    assert "net_iter_6.caffemodel belongs to another network: layer" in result.stderr
    assert not out.exists()


def test_what_differs_from_the_recording_is_named(
    run, surface_recording, phantom, tmp_path
):
    folder = shutil.copytree(surface_recording.parent, tmp_path / "copy")
    out = folder / "recording.h5"
    other = tmp_path / "other"
    write_phantom(other, images=4, size=192, seed=8, workers=1)
    for more, words in (
        (("--data", other), "is a recording of other images: give the options"),
        (("--losses", "dice"), "is a recording of other losses"),
        (("--size", 32), "of another size and of other images"),
    ):
        result = record(run, out, *more)
        assert result.returncode == 2
        assert words in result.stderr
        assert out.read_bytes() == surface_recording.read_bytes()


@pytest.mark.slow
def test_a_network_that_was_trained_again_is_noticed(
    run, surface_recording, phantom, tmp_path
):
    folder = shutil.copytree(surface_recording.parent, tmp_path / "copy")
    out = folder / "recording.h5"
    done(small_training.run(phantom, run, "--snapshot", 3, "--force", "--seed", 2))
    result = record(run, out)
    assert result.returncode == 2
    assert "was trained again: replace the recording with --force" in result.stderr
    done(record(run, out, "--force"))
    with Recording.open(out) as file:
        assert file.iterations == (3, 6, 9, 12)


def test_an_interrupted_recording_of_other_losses_is_refused(surface_run, out):
    killed(surface_run, out, 1, "--losses", "dice")
    result = record(surface_run, out, "--losses", "focal")
    assert result.returncode == 2
    assert "recording.steps is a recording of other losses" in result.stderr
    done(record(surface_run, out, "--losses", "focal", "--force"))
    with Recording.open(out) as file:
        assert file.facts["losses"] == ["random-drop", "focal"]
        assert len(file.iterations) == 5


@pytest.mark.parametrize(("version", "word"), [(0, "older"), (2, "newer")])
def test_recordings_of_other_versions_are_refused(
    surface_run, surface_recording, tmp_path, version, word
):
    folder = shutil.copytree(surface_recording.parent, tmp_path / "copy")
    out = folder / "recording.h5"
    with h5py.File(out, "r+") as file:
        file.attrs["version"] = version
    ownership.record(out, ownership.sha256(out))
    result = record(surface_run, out)
    assert result.returncode == 2
    assert f"version {version}, which is {word} than" in result.stderr
    assert "replace it with --force" in result.stderr
    done(record(surface_run, out, "--force"))
    assert contents(out) == contents(surface_recording)


def test_weights_that_are_no_numbers_give_holes(caffe, run, out):
    path = run / "snapshots/net_iter_9.caffemodel"
    net = caffe.proto.caffe_pb2.NetParameter()
    net.ParseFromString(path.read_bytes())
    (score,) = (layer for layer in net.layer if layer.name == "score")
    score.blobs[1].data[0] = float("nan")
    path.write_bytes(net.SerializeToString())
    path.with_suffix(".sha256").unlink()
    said = whole(run, out).stderr
    assert "The loss is not a number on some images: cross-entropy" in said
    with Recording.open(out) as file:
        assert file.iterations == (3, 6, 9, 12, 15)
        measures = file.measures(2)["validation"]
        assert set(measures["loss"].values()) == {None}
        assert measures["channels"]["MA"]["iou"] is None
        assert measures["channels"]["HE"]["iou"] is not None
        assert np.isnan(file.loss(2, 1, 0)[0]).all()
        assert np.isfinite(file.loss(2, 1, 0)[1][file.truth(0)[1] != 255]).all()
        assert None not in file.measures(3)["validation"]["loss"].values()


def test_a_full_disk_is_named_and_the_recording_goes_on(
    surface_run, surface_recording, small_disk
):
    disk = small_disk(int(2.6 * surface_recording.stat().st_size))
    out = disk / "a" / "recording.h5"
    filler = disk / "filler"
    filler.write_bytes(bytes(int(1.2 * surface_recording.stat().st_size)))
    result = record(surface_run, out)
    assert result.returncode == 2
    assert re.search("error: cannot write .*No space left on device", result.stderr)
    assert "Traceback" not in result.stderr
    assert not out.exists()
    assert step_files.found(step_files.folder_of(out))
    filler.unlink()
    whole(surface_run, out)
    assert out.read_bytes() == surface_recording.read_bytes()


@pytest.mark.slow
def test_names_with_quotes_and_angle_brackets(caffe, phantom, tmp_path):
    """Of photographs, of the data set and of the run."""
    data = shutil.copytree(phantom, tmp_path / 'da"ta <b>')
    (data / "split.json").unlink()
    (data / "manifest.json").unlink()
    for path in [*data.rglob("phantom_0001*"), *data.rglob("phantom_0003*")]:
        path.rename(path.with_name(path.name.replace("phantom", '<img src="a">\'é')))
    run, out = tmp_path / "<run>'", tmp_path / 'out "<h>' / "re'c<>.h5"
    assert small_training.run(data, run, "--snapshot", 12).returncode == 0
    whole(run, out, "--images", '<img src="a">\'é_0001', '<img src="a">\'é_0003')
    with Recording.open(out) as file:
        assert set(file.names) == {'<img src="a">\'é_0001', '<img src="a">\'é_0003'}
        assert file.facts["run"] == "<run>'"
        assert file.facts["data"]["name"] == 'da"ta <b>'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", 63), "--size 63 is not a positive multiple of 2"),
        (("--every", 0), "--every is 0: give 1 or more"),
        (("--losses", "exp-log"), "loss exp-log: this data needs a sigmoid"),
        (("--losses", "nothing"), "loss 'nothing' is unknown"),
        (("--images", "eye"), "has no image 'eye' in its training and validation"),
        (("--data", "/nowhere"), "/nowhere is missing"),
    ],
)
def test_options_that_do_not_fit_are_named(surface_run, out, words, said):
    result = record(surface_run, out, *words)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.parent.exists()


def test_a_folder_without_a_training(tmp_path, out):
    result = record(tmp_path, out)
    assert result.returncode == 2
    assert "run.json is missing: give the output folder of scripts/train.py" in (
        result.stderr
    )
