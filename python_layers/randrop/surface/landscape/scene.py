"""The fixed images on which every point of a landscape is evaluated."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from randrop.data import field_of_view, network_input, read_dataset
from randrop.data.cases import IGNORE_LABEL
from randrop.data.labelled import is_labelled, read_labelled
from randrop.data.patches import class_map
from randrop.data.worker import source_of
from randrop.errors import UserError
from randrop.surface.compared import activation_of


class Scene(NamedTuple):
    """Images and labels.

    Attributes
    ----------
    images : float32 (N, channels, ...)
    labels : float32
        (N, C, ...) of 0, 1 and the ignore label, or (N, 1, ...) of classes.
    ignore_label : int or None
    batch : int
        How many images the network computes at once.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.float32]
    ignore_label: int | None
    batch: int

    @property
    def batches(self) -> list[tuple[int, int]]:
        """The images that are computed together, as [begin, end)."""
        number = len(self.images)
        begins = range(0, number, self.batch)
        return [(begin, min(begin + self.batch, number)) for begin in begins]

    def has_foreground(self) -> bool:
        """Return whether some pixel is of a lesion, or of a class above 0."""
        return bool(np.any((self.labels > 0) & (self.labels != self.ignore_label)))

    @property
    def digest(self) -> str:
        """The SHA-256 of images and labels."""
        found = hashlib.sha256()
        for array in (self.images, self.labels):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def read(
    run: dict[str, Any],
    data: Path,
    split: Path | None,
    subset: str,
    number: int,
    size: int | None,
    whole: bool,
    seed: int,
) -> Scene:
    """Return the images of a landscape.

    Parameters
    ----------
    run : dict
        Of the run that is looked at.
    data, split : Path
        The data set, and its split file.
    subset : str
    number : int
        How many images.
    size : int or None
        Side of a crop of a photograph; by default that of the training.
    whole : bool
        Whole photographs, the first ones by name, padded to one size. Otherwise crops
        as in the training, without augmentation.
    seed : int
        Chooses the crops.

    Raises
    ------
    UserError
        If there are too few images, they do not fit the network, or an option does not
        fit the data.
    """
    if not data.is_dir():
        raise UserError(f"{data} is not a folder: name the data set with --data")
    if bool(run.get("labels")) != is_labelled(data):
        kinds = ("photographs", "a labelled set")
        raise UserError(
            f"{data} is {kinds[is_labelled(data)]}, but the run was trained on "
            f"{kinds[bool(run.get('labels'))]}: name a data set of that kind"
        )
    if run.get("labels"):
        if size is not None or whole:
            raise UserError(
                "--size and --whole are for photographs; a labelled set has images of "
                "one size: omit them"
            )
        return _labelled(run, data, subset, number)
    stride = run.get("stride", 2 ** (run["depth"] - 1))
    size = size or run["patch"]
    if size % stride:
        raise UserError(
            f"--size {size} is not a multiple of {stride}, which the network needs"
        )
    if whole:
        pairs = _whole(data, split, subset, number, run["lesions"], stride)
    else:
        source = source_of(
            {
                "root": str(data),
                "split": None if split is None else str(split),
                "subset": subset,
                "lesions": run["lesions"],
                "patch": size,
                "lesion_share": run.get("lesion_share", 0.5),
                "lesion_weights": run.get("lesion_weights"),
                "augment": False,
                "seed": seed,
                "ignore_label": IGNORE_LABEL,
            }
        )
        pairs = [source.patch(k) for k in range(number)]
    images, labels = (np.stack(side) for side in zip(*pairs, strict=True))
    if activation_of(run) == "SOFTMAX":
        labels = np.stack([class_map(label, IGNORE_LABEL) for label in labels])
    return Scene(images, labels, IGNORE_LABEL, min(run["batch"], number))


def _whole(
    data: Path,
    split: Path | None,
    subset: str,
    number: int,
    lesions: list[str],
    stride: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    cases = read_dataset(data, split).subset(subset)
    _check_number(number, len(cases), f"subset '{subset}' of {data}")
    cases = cases[:number]
    sides = np.max([case.size() for case in cases], axis=0)
    height, width = (int(-(-side // stride) * stride) for side in sides)
    pairs = []
    for case in cases:
        photograph = case.image()
        inside = field_of_view(photograph)
        image = network_input(photograph, inside)
        label = case.masks(lesions).astype(np.float32)
        label[:, ~inside] = IGNORE_LABEL
        h, w = inside.shape
        margins = ((0, 0), (0, height - h), (0, width - w))
        pairs.append(
            (
                np.pad(image, margins),
                np.pad(label, margins, constant_values=IGNORE_LABEL),
            )
        )
    return pairs


def _labelled(run: dict[str, Any], data: Path, subset: str, number: int) -> Scene:
    found = read_labelled(data)
    if list(found.labels) != list(run["labels"]) or list(found.shape) != run["shape"]:
        raise UserError(
            f"{data} has labels {list(found.labels)} and shape {list(found.shape)}, "
            f"but the run was trained with {run['labels']} and {run['shape']}: name "
            "the data set of the training"
        )
    if subset not in ("train", "validation"):
        raise UserError(
            f"a labelled set has no subset {subset!r}: use train or validation"
        )
    _check_number(number, found.images(subset), str(found.file(subset)))
    with h5py.File(found.file(subset)) as file:
        images = file["data"][:number].astype(np.float32)
        labels = file["label"][:number].astype(np.float32)
    return Scene(images, labels, None, min(run["batch"], number))


def _check_number(number: int, there: int, where: str) -> None:
    if number > there:
        raise UserError(
            f"--images {number}: {where} has {there}: give a smaller number"
        )
