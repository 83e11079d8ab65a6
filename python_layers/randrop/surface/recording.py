"""recording.h5: maps and measures through a training, as `surface.py record` writes it.

docs/reference/file-formats.md describes the file. Arrays are read when they are asked
for, so a long recording needs little memory.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from randrop.data import IGNORE_LABEL
from randrop.errors import UserError
from randrop.files import ownership, schema
from randrop.files.reading import check_regular
from randrop.files.schema import Count, Number, OpenModel

FORMAT = "randrop recording"
VERSION = 1
SUBSETS = ("training", "validation")
BINS = 10
"""Of the reliability curve, equally wide in the probability."""

_REMEDY = "record again with surface.py record"


class Data(OpenModel):
    """The images of a recording: the name of their data set, and a digest of them."""

    name: str
    sha256: str


class Facts(OpenModel):
    """What a recording is of."""

    run: str
    loss: str
    activation: Literal["sigmoid", "softmax"]
    channels: Annotated[list[str], Field(min_length=1)]
    losses: Annotated[list[str], Field(min_length=1)]
    iterations: list[Count]
    network_sha256: str
    data: Data | str
    size: Annotated[list[Number], Field(min_length=2, max_length=2)]
    made_by: str


def name_of(iteration: int) -> str:
    """Return the name of the group of a snapshot."""
    return f"{iteration:08d}"


class Recording:
    """An open recording. Close it, or use it as a context manager.

    Indices: t of a recorded snapshot (`iterations[t]`), i of an image (`names[i]`), k
    of a loss (`facts["losses"][k]`; 0 is the loss of the training).

    Attributes
    ----------
    path : Path
    facts : dict
        As `Facts` describes it.
    names, subsets : tuple of str
        Of each image; a subset is "training" or "validation".
    iterations : tuple of int
        The recorded snapshots, ascending.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self.facts: dict[str, Any] = facts_of(path, file)
        images = file["images"].attrs
        self.names = tuple(self._json("images names", images["names"], list[str]))
        kinds = list[Literal["training", "validation"]]
        self.subsets = tuple(self._json("images subsets", images["subsets"], kinds))
        self._check_shape("images/picture", (*self._size, 3))
        self._check_shape("images/truth", (len(self.facts["channels"]), *self._size))
        self.iterations = tuple(complete(file))

    @classmethod
    def open(cls, path: str | Path) -> "Recording":
        """Open a file.

        Raises
        ------
        UserError
            If it is missing, truncated, not a recording, or one of another version.
        """
        path = Path(path)
        file = open_hdf5(path)
        ownership.warn_if_changed(path)
        try:
            with clear_errors(path):
                return cls(path, file)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _size(self) -> tuple[int, int]:
        height, width = self.facts["size"]
        return height, width

    def picture(self, i: int) -> NDArray[np.uint8]:
        """Return an image as the network's data show it, (H, W, 3), RGB."""
        return self._read("images/picture", i)

    def truth(self, i: int) -> NDArray[np.uint8]:
        """Return the truth of an image, (C, H, W): 0, 1 or 255 (ignored)."""
        return self._read("images/truth", i)

    def probability(self, t: int, i: int) -> NDArray[np.float32]:
        """Return the prediction, (C, H, W)."""
        return self._read(f"{self._step(t)}/probability", i)

    def loss(self, t: int, k: int, i: int) -> NDArray[np.float32]:
        """Return the loss of each pixel, (L, H, W).

        Its mean over the pixels that are not ignored is the loss of this image alone.
        L is the number of channels of a sigmoid, and 1 for a softmax. NaN where a pixel
        is ignored or its loss is not a number.
        """
        return self._read(f"{self._step(t)}/loss/{k}", i)

    def kept(self, t: int, k: int, i: int) -> NDArray[np.int8] | None:
        """Return which pixels a loss keeps, (L, H, W): 1 kept, 0 left out, -1 ignored.

        None for a loss that keeps all of them.
        """
        name = f"{self._step(t)}/kept/{k}"
        return self._read(name, i) if name in self._file else None

    def measures(self, t: int) -> dict[str, Any]:
        """Return the measures of a snapshot, by subset."""
        with clear_errors(self.path):
            text = self._file[self._step(t)].attrs["measures"]
        return self._json(f"measures of iteration {self.iterations[t]}", text, dict)

    def _step(self, t: int) -> str:
        return f"steps/{name_of(self.iterations[t])}"

    def _read(self, name: str, i: int) -> NDArray[Any]:
        with clear_errors(self.path):
            return self._file[name][i]

    def _json(self, what: str, text: Any, model: Any) -> Any:
        where = f"{self.path}, {what}"
        return schema.check(schema.parse(text, where, _REMEDY), model, where, _REMEDY)

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        wanted, found = (len(self.names), *shape), self._file[name].shape
        if found != wanted or len(self.subsets) != len(self.names):
            raise UserError(
                f"{self.path}: {name} has shape {found}, not {wanted}: the file is "
                f"damaged: {_REMEDY}"
            )


def open_hdf5(path: Path, remedy: str = _REMEDY) -> h5py.File:
    """Open an HDF5 file to read it.

    Raises
    ------
    UserError
        If it is missing or truncated, or not an HDF5 file.
    """
    check_regular(path)
    if not path.exists():
        raise UserError(f"{path} does not exist: {remedy}")
    with clear_errors(path, remedy):
        return h5py.File(path, "r")


@contextlib.contextmanager
def clear_errors(path: Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Turn h5py's errors into one that names the file.

    Raises
    ------
    UserError
    """
    try:
        yield
    except UserError:
        raise
    except IndexError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged, truncated or not a recording ({error}): {remedy}"
        ) from error


def facts_of(path: Path, file: h5py.File, remedy: str = _REMEDY) -> dict[str, Any]:
    """Return what an open recording is of.

    Raises
    ------
    UserError
        If it is another file, or a recording of another version.
    """
    form = file.attrs.get("format")
    if form != FORMAT:
        raise UserError(
            f"{path} is not a recording (its format is {form!r}): give a file that "
            "surface.py record wrote"
        )
    version = int(file.attrs["version"])
    if version != VERSION:
        newer = version > VERSION
        update = "update randrop, or " if newer else ""
        raise UserError(
            f"{path} is a recording of version {version}, which is "
            f"{'newer' if newer else 'older'} than this program's {VERSION}: "
            f"{update}{remedy}"
        )
    where = f"{path}, facts"
    facts = schema.parse(file.attrs["facts"], where, remedy)
    return schema.check(facts, Facts, where, remedy)


def complete(file: h5py.File) -> list[int]:
    """Return the iterations whose groups are whole, ascending."""
    steps = file["steps"]
    whole = [int(name) for name in steps if steps[name].attrs.get("complete") == 1]
    return sorted(whole)


def confidence(
    probability: NDArray[np.floating], truth: NDArray[np.uint8]
) -> NDArray[np.floating]:
    """Return the probability of each pixel's true class.

    Parameters
    ----------
    probability : floating (C, H, W)
        Of the channels of a sigmoid or a softmax.
    truth : uint8 (C, H, W)
        0, 1, or 255 where ignored.

    Returns
    -------
    floating (C, H, W)
        p where the truth is 1, 1 - p where it is 0, NaN where it is ignored.
    """
    true = np.where(truth == 1, probability, 1 - probability)
    return np.where(truth == IGNORE_LABEL, np.nan, true).astype(probability.dtype)


TRUE_NEGATIVE, TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, IGNORED = 0, 1, 2, 3, 255


def outcomes(
    probability: NDArray[np.floating], truth: NDArray[np.uint8], threshold: float = 0.5
) -> NDArray[np.uint8]:
    """Return what becomes of each pixel when `threshold` and above is predicted.

    Returns
    -------
    uint8 (C, H, W)
        One of TRUE_NEGATIVE, TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, IGNORED;
        IGNORED also where the probability is not a number.
    """
    positive, predicted = truth == 1, probability >= threshold
    found = np.where(predicted, FALSE_POSITIVE, TRUE_NEGATIVE)
    found[positive] = np.where(predicted, TRUE_POSITIVE, FALSE_NEGATIVE)[positive]
    found[(truth == IGNORE_LABEL) | np.isnan(probability)] = IGNORED
    return found.astype(np.uint8)


def facts_text(facts: dict[str, Any]) -> str:
    """Return facts as the file holds them."""
    return json.dumps(facts, allow_nan=False)
