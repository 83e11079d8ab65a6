"""The file of a landscape: what is written is read, and what is wrong is named."""

import dataclasses

import h5py
import numpy as np
import pytest

from randrop.errors import UserError
from randrop.surface.landscape_file import FAILED, Landscape, Trajectory

FACTS = {
    "run": 'a "run" <b>',
    "kind": "plane",
    "directions": "pca",
    "losses": ["dice", "cross-entropy"],
    "channels": ["MA"],
    "batch_norm": "kept",
    "seed": 1,
    "images": 2,
    "center": "net_iter_9.caffemodel",
    "explained_variance": [0.7, 0.2],
    "made_by": "randrop",
}


def landscape():
    rng = np.random.default_rng(0)
    heights = rng.normal(size=(3, 4, 5))
    heights[0, 1, 2] = np.nan
    state = np.ones((4, 5), np.uint8)
    state[1, 2] = FAILED
    columns = rng.normal(size=(8, 3))
    return Landscape(
        FACTS,
        np.linspace(-1, 1, 5),
        np.linspace(-2, 2, 4),
        (heights[0], heights[1]),
        heights[2],
        state,
        Trajectory(
            np.array([2, 4, 6]),
            *columns[:4],
            (columns[4], columns[5]),
            (columns[6], columns[7]),
        ),
        {"eigenvalues": [2.0], "residuals": [0.1], "loss": "dice"},
    )


def test_what_is_written_is_read(tmp_path):
    wanted = landscape()
    wanted.write(tmp_path / "a.h5")
    found = Landscape.open(tmp_path / "a.h5")
    assert found.facts == wanted.facts
    assert found.hessian == wanted.hessian
    assert found.holes == 1
    for name in ("alpha", "beta", "average_precision", "state"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    for k in range(2):
        np.testing.assert_array_equal(found.height(k), wanted.height(k))
    for name, value in dataclasses.asdict(wanted.trajectory).items():
        np.testing.assert_array_equal(getattr(found.trajectory, name), value)


def test_a_line_has_no_trajectory_and_no_hessian(tmp_path):
    line = dataclasses.replace(
        landscape(),
        beta=np.zeros(1),
        heights=(np.ones((1, 5)), np.zeros((1, 5))),
        average_precision=np.zeros((1, 5)),
        state=np.ones((1, 5), np.uint8),
        trajectory=None,
        hessian=None,
    )
    line.write(tmp_path / "a.h5")
    found = Landscape.open(tmp_path / "a.h5")
    assert found.trajectory is None
    assert found.hessian is None


def change(path, **attributes):
    with h5py.File(path, "a") as file:
        for name, value in attributes.items():
            file.attrs[name] = value


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"format": "randrop recording"}, "is a randrop recording, not a landscape"),
        ({"version": 2}, "use a newer randrop"),
        ({"version": 0}, "compute it again"),
        ({"facts": "{"}, "damaged"),
        ({"facts": '{"losses": ["dice", "cross-entropy"]}'}, "lacks the facts run"),
    ],
)
def test_another_file_is_named(tmp_path, attributes, words):
    landscape().write(tmp_path / "a.h5")
    change(tmp_path / "a.h5", **attributes)
    with pytest.raises(UserError, match=words):
        Landscape.open(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["height/1", "state", "trajectory/loss/0"])
def test_arrays_that_do_not_fit_are_named(tmp_path, name):
    landscape().write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file[name]
        file[name] = np.zeros((7, 7))
    with pytest.raises(UserError, match=f"{name} has shape"):
        Landscape.open(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["height/1", "alpha", "trajectory/distance"])
def test_a_missing_array_is_damage(tmp_path, name):
    landscape().write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file[name]
    with pytest.raises(UserError, match="damaged"):
        Landscape.open(tmp_path / "a.h5")


def test_a_truncated_file_and_no_file_are_named(tmp_path):
    landscape().write(tmp_path / "a.h5")
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged"):
        Landscape.open(tmp_path / "a.h5")
    with pytest.raises(UserError, match="does not exist"):
        Landscape.open(tmp_path / "b.h5")
    with pytest.raises(UserError, match="is a folder"):
        Landscape.open(tmp_path)


def test_a_file_of_somebody_else_stays(tmp_path):
    (tmp_path / "a.h5").write_text("mine")
    with pytest.raises(UserError, match="did not write the existing file"):
        landscape().write(tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_text() == "mine"


def test_a_wrong_byte_is_told(tmp_path, caplog):
    path = tmp_path / "a.h5"
    landscape().write(path)
    Landscape.open(path)
    assert not caplog.text
    content = bytearray(path.read_bytes())
    place = content.find(np.float64(-0.5).tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    Landscape.open(path)
    assert "is not as it was written" in caplog.text
