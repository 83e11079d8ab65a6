"""Labelled sets: the phantom organs, refused input, measurements."""

import json

import h5py
import numpy as np
import pytest

from randrop.data import organs
from randrop.data.labelled import is_labelled, read_labelled
from randrop.data.organ_set import write_organs
from randrop.errors import UserError
from randrop.evaluation.labels import overlap


def contents(folder):
    with h5py.File(folder / "train.h5") as file:
        return file["data"][:], file["label"][:]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_organs_are_all_there_and_of_their_sizes(dimensions, tmp_path):
    size = {2: 96, 3: 32}[dimensions]
    manifest = write_organs(
        tmp_path / "set", size, dimensions, 8, 0.01, train=4, validation=2, seed=5
    )
    data, label = contents(tmp_path / "set")
    assert data.shape == label.shape == (4, 1, *[size] * dimensions)
    assert data.dtype == np.float32
    assert np.isfinite(data).all()
    for image in label:
        assert set(np.unique(image)) == set(range(8))
    counts = np.bincount(label.ravel())
    assert manifest["pixels"]["train"] == counts.tolist()
    assert manifest["smallest_to_largest_organ"] == pytest.approx(0.01, rel=0.6)
    assert np.argmin(counts[1:]) == 6
    assert np.argmax(counts[1:]) == 0
    read = read_labelled(tmp_path / "set")
    assert read.labels[0] == "background"
    assert sum(read.frequency) == pytest.approx(1)
    assert is_labelled(tmp_path / "set")
    assert (tmp_path / "set" / "preview.png").stat().st_size > 1000


def test_the_seed_decides(tmp_path):
    for name, seed, train in (("a", 1, 2), ("b", 1, 2), ("c", 2, 2)):
        write_organs(tmp_path / name, 32, 2, 4, 0.05, train, 1, seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
    assert (a[1] != c[1]).any()
    assert (a[1][0] != a[1][1]).any(), "images of one anatomy differ"


def test_organs_look_alike_and_stand_apart():
    rng = np.random.default_rng(0)
    plan = organs.anatomy(rng, 6, 2, 0.02)
    image, label = organs.draw(rng, plan, (128, 128), noise=0.0)
    for k, organ in enumerate(plan, 1):
        assert image[label == k].mean() == pytest.approx(organ.intensity, rel=0.35)
    assert image[label == 0].mean() < 0.05


def test_the_same_set_again_is_left_alone(tmp_path):
    folder = tmp_path / "set"
    first = write_organs(folder, 32, 2, 4, 0.05, 2, 1)
    before = (folder / "train.h5").stat().st_mtime_ns
    assert write_organs(folder, 32, 2, 4, 0.05, 2, 1) == first
    assert (folder / "train.h5").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="or other organs: choose a new folder"):
        write_organs(folder, 32, 2, 5, 0.05, 2, 1)
    assert contents(folder)[1].max() == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 8},
        {"dimensions": 4},
        {"labels": 2},
        {"smallest": 0.5},
        {"train": 0},
        {"validation": 0},
        {"seed": -1},
    ],
)
def test_parameters_out_of_range(tmp_path, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        write_organs(tmp_path / "set", **wrong)
    assert not (tmp_path / "set").exists()


def test_a_full_disk_leaves_nothing(small_disk):
    disk = small_disk(200_000)
    with pytest.raises(UserError, match="No partial output was left"):
        write_organs(disk / "set", 128, 2, 4, 0.05, 20, 1)
    assert not list(disk.iterdir())


@pytest.fixture
def folder(tmp_path):
    write_organs(tmp_path / "set", 32, 2, 4, 0.05, 2, 1)
    return tmp_path / "set"


def test_a_damaged_set_is_named(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "shape": [1, 9, 9]}))
    with pytest.raises(UserError, match=r"train\.h5: data has shape \(2, 1, 32, 32\)"):
        read_labelled(folder)
    short = {**manifest, "frequency": [1.0]}
    (folder / "manifest.json").write_text(json.dumps(short))
    with pytest.raises(UserError, match="4 labels, but 1 frequencies"):
        read_labelled(folder)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="a labelled set needs labels"):
        read_labelled(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "train.h5").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=r"train\.h5 cannot be read as HDF5"):
        read_labelled(folder)


def test_overlap_is_as_defined():
    truth = np.array([[0, 0, 1, 1], [1, 1, 2, 0]])
    predicted = np.array([[0, 1, 1, 1], [1, 0, 0, 0]])
    result = overlap(truth, predicted, 4)
    np.testing.assert_allclose(result.dice, [4 / 7, 6 / 8, 0, np.nan])
    np.testing.assert_allclose(result.iou, [2 / 5, 3 / 5, 0, np.nan])


def test_a_mean_over_no_label_is_a_dash():
    """Only background, in truth and prediction: there is no mean Dice."""
    import evaluate_labels

    assert evaluate_labels.shown(None) == "-"
    assert evaluate_labels.shown(0.25) == "0.2500"
