"""Patches in LMDB: the same patches, through Caffe's own Data layers, in a training."""

import dataclasses
import json
import subprocess
import sys

import lmdb
import numpy as np
import pytest

from randrop import nets
from randrop.data import read_dataset
from randrop.data.lmdb_set import write_lmdb
from randrop.data.patches import Options, PatchSource, class_map
from randrop.errors import UserError
from randrop.pycaffe.build import REPOSITORY, caffe_binary, environment

OPTIONS = Options(("MA", "HE"), 32, 1.0)
COUNTS = {"train": 5, "validation": 3}


def batches(caffe, folder, tmp_path, count):
    """Return the output of Caffe's Data layers in the TRAIN phase."""
    net = caffe.NetSpec()
    net.data, net.label = nets.LmdbFeed(str(folder), 1).layer(
        caffe, "train", caffe.TRAIN
    )
    path = tmp_path / "data.prototxt"
    path.write_text(str(net.to_proto()))
    made = caffe.Net(str(path), caffe.TRAIN)
    for _ in range(count):
        made.forward()
        yield made.blobs["data"].data[0].copy(), made.blobs["label"].data[0].copy()


@pytest.mark.parametrize("classes", [False, True])
def test_caffe_reads_the_patches_of_the_data_layer(caffe, phantom, tmp_path, classes):
    folder = tmp_path / "set"
    write_lmdb(read_dataset(phantom), OPTIONS, folder, COUNTS, classes)
    source = PatchSource(read_dataset(phantom), "train", OPTIONS)
    for k, (data, label) in enumerate(batches(caffe, folder, tmp_path, 5)):
        image, wanted = source.patch(k)
        # In steps of a sixteenth, up to 8.
        assert np.abs(data - image.clip(-8.07, 8)).max() < 0.033
        wanted = class_map(wanted, 255) if classes else wanted
        np.testing.assert_array_equal(label, wanted)
        assert (label > 0).any()


def test_the_options_of_training_are_for_training_alone(phantom, tmp_path):
    options = dataclasses.replace(OPTIONS, paste=2.0, noise=0.2, lesion_draw="lesion")
    folders = {}
    for name, own in (("plain", OPTIONS), ("more", options)):
        folders[name] = tmp_path / name
        write_lmdb(read_dataset(phantom), own, folders[name], COUNTS)
    manifest = json.loads((folders["more"] / "manifest.json").read_text())
    assert {"paste": 2.0, "noise": 0.2}.items() <= manifest.items()
    same = {}
    for subset in COUNTS:
        databases = [folder / f"{subset}_data" for folder in folders.values()]
        one, other = (content(database) for database in databases)
        same[subset] = one == other
    assert same == {"train": False, "validation": True}


def content(database):
    store = lmdb.open(str(database), readonly=True, lock=False)
    with store, store.begin() as transaction:
        return list(transaction.cursor())


def test_another_folder_is_left_alone(phantom, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="contains other files"):
        write_lmdb(read_dataset(phantom), OPTIONS, tmp_path, COUNTS)
    with pytest.raises(UserError, match="at least 1"):
        write_lmdb(read_dataset(phantom), OPTIONS, tmp_path / "new", {"train": 0})
    assert not (tmp_path / "new").exists()


def export(*words):
    return subprocess.run(
        [sys.executable, REPOSITORY / "scripts/export_lmdb.py", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("loss", ["random-drop", "exp-log"])
def test_plain_caffe_trains_on_them(caffe, phantom, tmp_path, loss):
    out = tmp_path / "lmdb"
    result = export(
        *("--data", phantom, "--out", out, "--patches", 6, "--validation-patches", 2),
        *("--patch", 32, "--base-channels", 2, "--iterations", 3, "--loss", loss),
    )
    assert result.returncode == 0, result.stderr
    assert json.loads((out / "manifest.json").read_text())["patches"]["train"] == 6
    text = (out / "train_val.prototxt").read_text()
    assert "Python" not in text
    trained = subprocess.run(
        [caffe_binary(), "train", "-solver", out / "solver.prototxt"],
        env=environment() | {"GLOG_minloglevel": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert (out / "snapshot_iter_3.caffemodel").exists()


def test_bad_options_are_named(phantom, tmp_path):
    result = export("--data", phantom, "--out", tmp_path / "o", "--patch", 33)
    assert result.returncode == 2
    assert "multiple of 8" in result.stderr
    result = export("--data", phantom, "--out", tmp_path / "o", "--healthy-share", 0.9)
    assert result.returncode == 2
    assert "together more than all patches" in result.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("size", [20_000, 36_000, 60_000, 90_000, 140_000])
def test_a_full_disk_is_named_and_leaves_nothing(phantom, small_disk, size):
    """Also one that is too small for an empty database."""
    disk = small_disk(size)
    words = ("--patches", 20, "--patch", 64, "--validation-patches", 2)
    result = export("--data", phantom, "--out", disk / "out", *words)
    assert result.returncode == 2
    assert f"cannot write {disk / 'out'}" in result.stderr
    assert "free some disk space" in result.stderr.lower()
    assert "Traceback" not in result.stderr
    assert not list(disk.iterdir())
