"""A labelled set is read completely, once, before a training uses it."""

import json
import subprocess
import tracemalloc

import h5py
import numpy as np
import pytest
from small_training import command

from randrop.data import hdf5
from randrop.data.labelled import check_values, read_labelled
from randrop.errors import UserError

SHAPE = (1, 6, 5)


def labelled_set(folder, labels=3, shape=SHAPE, images=4, dtype=np.float32, **change):
    folder.mkdir(exist_ok=True)
    manifest = {"labels": [f"l{k}" for k in range(labels)], "shape": list(shape)}
    manifest["frequency"] = [1 / labels] * labels
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for subset in ("train", "validation"):
        rng = np.random.default_rng(0)
        with h5py.File(folder / f"{subset}.h5", "w") as file:
            file["data"] = rng.random((images, *shape)).astype(np.float32)
            own = rng.integers(0, labels, (images, 1, *shape[1:]))
            file["label"] = own.astype(dtype)
    with h5py.File(folder / "train.h5", "a") as file:
        for name, value in change.items():
            del file[name]
            if value is not None:
                file[name] = value
    return folder


def poke(folder, name, at, value):
    with h5py.File(folder / "train.h5", "a") as file:
        file[name][at] = value


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32, float])
def test_right_labels_of_every_type(tmp_path, dtype):
    data = read_labelled(labelled_set(tmp_path / "set", dtype=dtype))
    check_values(data)
    assert data.images("train") == 4


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "is nan.*replace NaN"),
        (-1, "is -1.*no ignore label"),
        (200, "is 200.*it must be 0 to 2.*no ignore label"),
        (255, "is 255.*no ignore label"),
        (3, "is 3.*list all labels"),
        (0.5, "is 0.5.*whole numbers"),
        (np.inf, "is inf"),
    ],
)
def test_a_label_beyond_the_classes(tmp_path, value, words):
    folder = labelled_set(tmp_path / "set")
    poke(folder, "label", (2, 0, 5, 3), value)
    with pytest.raises(UserError, match=rf"train\.h5: label\[2, 0, 5, 3\] {words}"):
        check_values(read_labelled(folder))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_are_not_finite(tmp_path, value):
    folder = labelled_set(tmp_path / "set")
    poke(folder, "data", (3, 0, 0, 4), value)
    with pytest.raises(UserError, match=r"train\.h5: data\[3, 0, 0, 4\] is "):
        check_values(read_labelled(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": 3.0}, r"data has shape \(\).*: write numbers with h5py"),
        ({"label": np.uint8(3)}, r"label has shape \(\).*: write numbers with h5py"),
        ({"data": "a text"}, "data has type .*cannot read"),
        ({"data": np.array([b"a", b"b"])}, "data has type .*cannot read"),
        ({"data": np.zeros((4, *SHAPE), complex)}, "data has type complex128"),
        ({"data": np.zeros((4, *SHAPE), bool)}, "data has type bool"),
        ({"data": np.zeros(4, [("a", "f4")])}, "which Caffe cannot read"),
        (
            {"data": h5py.Empty("f4")},
            "data is empty, without a shape: write numbers with",
        ),
        ({"data": None}, "has no array 'data', only \\['label'\\]"),
        (
            {"data": np.zeros((0, *SHAPE))},
            r"data has shape \(0, 1, 6, 5\).*: write numbers .*, or correct shape",
        ),
        ({"data": np.zeros((4, 2, 6, 5))}, r"data has shape \(4, 2, 6, 5\)"),
        ({"data": h5py.SoftLink("/nowhere")}, "has no array 'data'"),
        ({"data": h5py.SoftLink("/data")}, "has no array 'data'|cannot be read as"),
        (
            {"data": h5py.ExternalLink("gone.h5", "/x")},
            "no array 'data'|cannot be read",
        ),
        ({"label": np.zeros((4, 6, 5))}, r"label has shape \(4, 6, 5\)"),
        ({"label": np.zeros((3, 1, 6, 5))}, r"label has shape \(3, 1, 6, 5\)"),
    ],
)
def test_what_is_no_array_of_numbers(tmp_path, change, words):
    folder = labelled_set(tmp_path / "set", **change)
    with pytest.raises(
        UserError, match=rf"train\.h5:? .*({words})|train\.h5: ({words})"
    ):
        read_labelled(folder)


def test_data_that_are_a_group(tmp_path):
    folder = labelled_set(tmp_path / "set", data=None)
    with h5py.File(folder / "train.h5", "a") as file:
        file.create_group("data")
    with pytest.raises(UserError, match=r"train\.h5: data is a group, not an array"):
        read_labelled(folder)


@pytest.mark.parametrize(
    "content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 99]
)
def test_files_that_are_no_hdf5(tmp_path, content):
    folder = labelled_set(tmp_path / "set")
    (folder / "validation.h5").write_bytes(content)
    with pytest.raises(UserError, match=r"validation\.h5 cannot be read as HDF5"):
        read_labelled(folder)


def test_a_file_cut_short(tmp_path):
    """Wherever it ends: it is refused, or everything reported about it is right."""
    folder = labelled_set(tmp_path / "set")
    whole = (folder / "train.h5").read_bytes()
    for length in range(0, len(whole), 97):
        (folder / "train.h5").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"train\.h5"):
            check_values(read_labelled(folder))


@pytest.mark.parametrize("limit", [1, 7, 30, 64, 10**6])
@pytest.mark.parametrize("shape", [(1, 6, 5), (2, 3, 4, 5)])
def test_every_element_is_looked_at(tmp_path, monkeypatch, limit, shape):
    """In whatever blocks."""
    monkeypatch.setattr(hdf5, "_AT_A_TIME", limit)
    array = np.arange(3 * np.prod(shape)).reshape(3, *shape)
    seen = np.zeros(array.shape, int)
    for place, part in hdf5._parts(array):
        here = tuple(slice(a, a + n) for a, n in zip(place, part.shape, strict=True))
        seen[here] += 1
        np.testing.assert_array_equal(array[here], part)
        assert part.size <= max(limit, shape[-1])
    assert (seen == 1).all()


def test_memory_does_not_grow_with_the_set(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "_AT_A_TIME", 2**14)
    folder = labelled_set(tmp_path / "set", shape=(1, 256, 256), images=60)
    data = read_labelled(folder)
    tracemalloc.start()
    check_values(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21 < (folder / "train.h5").stat().st_size / 8


def test_train_says_it_before_it_writes(tmp_path):
    folder = labelled_set(tmp_path / "set", shape=(1, 16, 16))
    poke(folder, "label", (0, 0, 0, 0), 200)
    words = command(folder, tmp_path / "out", "--loss", "cross-entropy")
    at = words.index("--patch")
    result = subprocess.run(
        words[:at] + words[at + 2 :], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "train.h5: label[0, 0, 0, 0] is 200" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
