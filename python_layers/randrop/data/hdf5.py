"""Checking the HDF5 files of labelled sets: their structure, and every value."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from randrop.errors import UserError
from randrop.files.reading import check_regular

_AT_A_TIME = 2**22
"""Elements that are in memory at once."""

_REMEDY = (
    "write numbers with h5py: data as N x channels x spatial, label as N x 1 x spatial"
)
_OR_SHAPE = ", or correct shape (channels x spatial) in manifest.json"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file; HDF5's errors while it is open become clear messages.

    Raises
    ------
    UserError
        If it is missing, not an HDF5 file, or damaged where it is read.
    """
    check_regular(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UserError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as HDF5 with data and label ({error}): write or "
            "copy it again"
        ) from error


def check_shapes(path: Path, shape: tuple[int, ...]) -> int:
    """Check that `data` and `label` are matching number arrays; return the image count.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Channels and spatial axes of an image.

    Raises
    ------
    UserError
        Names the file, the array and what it is.
    """
    with opened(path) as file:
        number = None
        for name in ("data", "label"):
            array = numbers(file, name, path, _REMEDY)
            if number is None:
                number = array.shape[0] if array.shape else 0
            expected = (number, *(shape if name == "data" else (1, *shape[1:])))
            if array.shape != expected or number < 1:
                raise UserError(
                    f"{path}: {name} has shape {array.shape}, but manifest.json says "
                    f"{expected} for at least one image: {_REMEDY}{_OR_SHAPE}"
                )
        return number


def numbers(group: h5py.Group, name: str, path: Path, remedy: str) -> h5py.Dataset:
    """Return an array of numbers of an open file.

    Parameters
    ----------
    group : Group
        The file, or a group in it.
    name : str
    path : Path
        The file, for the message.
    remedy : str

    Raises
    ------
    UserError
        If it is missing, or anything else; names it.
    """
    found = group.get(name)
    where = f"{group.name.strip('/')}/{name}".strip("/")
    if found is None:
        raise UserError(
            f"{path} has no array {where!r}, only {list(group)[:5]}: {remedy}"
        )
    if not isinstance(found, h5py.Dataset):
        raise UserError(f"{path}: {where} is a group, not an array: {remedy}")
    if found.shape is None:
        raise UserError(f"{path}: {where} is empty, without a shape: {remedy}")
    if found.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: {where} has type {found.dtype}, which Caffe cannot read: {remedy}"
        )
    return found


def check_values(path: Path, classes: int) -> None:
    """Check every label and every value of the data, one part of the file at a time.

    Caffe's own losses use a label as an index without checking it: a label beyond the
    classes makes them read and write out of bounds.

    Parameters
    ----------
    path : Path
        A file that passed `check_shapes`.
    classes : int

    Raises
    ------
    UserError
        Names the file, the first invalid element and its value.
    """
    with opened(path) as file:
        for place, part in _parts(file["label"]):
            bad = ~np.isin(part, np.arange(classes))
            if bad.any():
                at, value = _first(place, part, bad)
                raise UserError(
                    f"{path}: label{at} is {value:g}, but manifest.json has {classes} "
                    f"labels, so it must be 0 to {classes - 1}: {_cause(value)}"
                )
        for place, part in _parts(file["data"]):
            bad = ~np.isfinite(part)
            if bad.any():
                at, value = _first(place, part, bad)
                raise UserError(
                    f"{path}: data{at} is {value:g}, which makes the network's output "
                    "NaN: replace values that are not finite, or remove this image"
                )


def _cause(value: float) -> str:
    if value != value:
        return "replace NaN by a label, or remove this image"
    if value < 0 or value >= 200:
        return (
            "a labelled set has no ignore label: give such pixels a label of their "
            "own, or the background label"
        )
    if value != int(value):
        return "labels are whole numbers: do not scale them with the images"
    return "list all labels in manifest.json, and number them from 0"


def _first(
    place: tuple[int, ...], part: np.ndarray, bad: np.ndarray
) -> tuple[list[int], float]:
    within = np.unravel_index(bad.argmax(), bad.shape)
    at = [int(a + b) for a, b in zip(place, within, strict=True)]
    return at, float(part[within])


def _parts(array: h5py.Dataset) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield the whole array in blocks: the start of each, and its content."""
    # Several rows of one axis at a time, choosing an axis whose rows are not too large.
    axis, below = 0, int(np.prod(array.shape[1:]))
    while below > _AT_A_TIME and axis < array.ndim - 1:
        axis += 1
        below = int(np.prod(array.shape[axis + 1 :]))
    step = max(1, _AT_A_TIME // max(1, below))
    for outer in np.ndindex(*array.shape[:axis]):
        for start in range(0, array.shape[axis], step):
            where = (*(slice(k, k + 1) for k in outer), slice(start, start + step))
            yield (*outer, start, *[0] * (array.ndim - axis - 1)), array[where]
