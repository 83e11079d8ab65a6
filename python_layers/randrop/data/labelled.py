"""Labelled sets: images or volumes with one class per pixel, in HDF5 files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from randrop.data import hdf5
from randrop.errors import UserError
from randrop.files import schema
from randrop.files.documents import LabelledManifest

SUBSETS = ("train", "validation")


@dataclasses.dataclass(frozen=True)
class LabelledSet:
    """A folder with train.h5, validation.h5 and manifest.json.

    The HDF5 files hold `data`, float32 (N, channels, spatial), and `label`, uint8
    (N, 1, spatial), as Caffe's HDF5Data reads them.

    Attributes
    ----------
    folder : Path
    labels : tuple of str
        Names of the classes; the first is the background.
    shape : tuple of int
        Channels and two or three spatial axes.
    frequency : tuple of float
        Share of each class in the pixels of the training images.
    """

    folder: Path
    labels: tuple[str, ...]
    shape: tuple[int, ...]
    frequency: tuple[float, ...]

    def file(self, subset: str) -> Path:
        """Return the HDF5 file of a subset."""
        return self.folder / f"{subset}.h5"

    def images(self, subset: str) -> int:
        """Return how many images a subset has."""
        return hdf5.check_shapes(self.file(subset), self.shape)


def is_labelled(folder: Path) -> bool:
    """Return whether a folder is a labelled set."""
    return all((folder / f"{subset}.h5").exists() for subset in SUBSETS)


def read_labelled(folder: Path) -> LabelledSet:
    """Read the manifest of a labelled set and check the files against it.

    Raises
    ------
    UserError
        If a file is missing, damaged or of another shape; names it.
    """
    path = folder / "manifest.json"
    manifest = schema.read_json(
        path,
        LabelledManifest,
        "a labelled set needs labels (names), shape (channels and spatial axes) and "
        "frequency (share of each label) there",
    )
    labels, shape = tuple(manifest["labels"]), tuple(manifest["shape"])
    frequency = tuple(manifest["frequency"])
    if len(set(labels)) < len(labels):
        raise UserError(f"{path} has a label twice in {list(labels)}: rename one")
    if len(frequency) != len(labels):
        raise UserError(
            f"{path} has {len(labels)} labels, but {len(frequency)} frequencies: give "
            "one for each label"
        )
    for subset in SUBSETS:
        hdf5.check_shapes(folder / f"{subset}.h5", shape)
    return LabelledSet(folder, labels, shape, frequency)


def check_values(data: LabelledSet, subsets: Sequence[str] = SUBSETS) -> None:
    """Read the whole set once and check every label and value.

    Raises
    ------
    UserError
        Names the file, the first invalid element and its value.
    """
    for subset in tqdm(subsets, "checking labels", unit="file", disable=None):
        hdf5.check_values(data.file(subset), len(data.labels))
