"""Write a labelled set of phantom organs: HDF5 files, manifest and preview."""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from randrop.data import organs
from randrop.data.labelled import SUBSETS
from randrop.errors import UserError
from randrop.files import building, schema, write_json
from randrop.files.documents import OrganManifest

VERSION = 1
"""Rises when the drawing changes, so that old sets are told from new ones."""


def write_organs(
    folder: Path,
    size: int = 128,
    dimensions: int = 2,
    labels: int = 9,
    smallest: float = 0.003,
    train: int = 40,
    validation: int = 20,
    seed: int = 0,
) -> dict[str, Any]:
    """Draw a labelled set of phantom organs, atomically.

    Parameters
    ----------
    folder : Path
        Receives train.h5, validation.h5, manifest.json and preview.png.
    size : int
        Pixels along each axis, at least 16.
    dimensions : int
        2 or 3.
    labels : int
        Background and organs, from 3 to 255.
    smallest : float
        Drawn size of the smallest organ relative to the largest; between 0 and 0.1.
        The manifest has its final size in pixels.
    train, validation : int
        How many images.
    seed : int
        Seed of the anatomy; image k depends on (seed, k) and the sizes.

    Returns
    -------
    dict
        The manifest. An existing set is left alone.

    Raises
    ------
    UserError
        If a parameter is out of range, the folder holds something else, or it cannot
        be written.
    """
    for name, value, holds, wanted in (
        ("size", size, size >= 16, "at least 16"),
        ("dimensions", dimensions, dimensions in (2, 3), "2 or 3"),
        ("labels", labels, 3 <= labels <= 255, "from 3 to 255"),
        ("smallest", smallest, 0 < smallest <= 0.1, "above 0 and at most 0.1"),
        ("train", train, train >= 1, "at least 1"),
        ("validation", validation, validation >= 1, "at least 1"),
        ("seed", seed, seed >= 0, "at least 0"),
    ):
        if not holds:
            raise UserError(f"{name} is {value}: it must be {wanted}")
    settings = {"generator": "randrop organs", "version": VERSION, "size": size}
    settings |= {"dimensions": dimensions, "smallest": smallest, "seed": seed}
    settings |= {"train": train, "validation": validation}
    known = _manifest(folder)
    if known and len(known["labels"]) == labels and settings.items() <= known.items():
        return known
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} contains other files, or other organs: choose a new folder"
        )
    with building(folder, "make_organs") as temporary:
        manifest = settings | _draw(temporary, settings, labels)
        write_json(temporary / "manifest.json", manifest)
    return manifest


def _manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / "manifest.json"
    found = schema.generated(path, "randrop organs")
    return found and schema.check(
        found, OrganManifest, f"{path}", "it is damaged: choose a new folder"
    )


def _draw(folder: Path, settings: dict[str, Any], labels: int) -> dict[str, Any]:
    d, seed = settings["dimensions"], settings["seed"]
    shape = (settings["size"],) * d
    plan = organs.anatomy(np.random.default_rng(seed), labels, d, settings["smallest"])
    counts = {}
    first = 0
    for subset in SUBSETS:
        images = settings[subset]
        data = np.empty((images, 1, *shape), np.float32)
        label = np.empty((images, 1, *shape), np.uint8)
        for k in tqdm(range(images), f"drawing {subset}", unit="image", disable=None):
            rng = np.random.default_rng((seed, 1 + first + k))
            data[k, 0], label[k, 0] = organs.draw(rng, plan, shape)
        first += images
        _write(folder / f"{subset}.h5", data=data, label=label)
        counts[subset] = np.bincount(label.ravel(), minlength=labels)
        if subset == "train":
            _preview(folder / "preview.png", data[:4, 0], label[:4, 0], labels)
    frequency = counts["train"] / counts["train"].sum()
    return {
        "labels": ["background", *(f"organ{k}" for k in range(1, labels))],
        "shape": [1, *shape],
        "frequency": frequency.tolist(),
        "pixels": {subset: count.tolist() for subset, count in counts.items()},
        "smallest_to_largest_organ": frequency[1:].min() / frequency[1:].max(),
    }


def _write(path: Path, **arrays: np.ndarray) -> None:
    # The HDF5 library does not survive a full disk, so let it write to memory.
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    path.write_bytes(content.getvalue())


def _preview(path: Path, images: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """Draw some images (of volumes, the middle slice) above their labels."""
    figure = Figure(figsize=(2.6 * len(images), 5.2), layout="constrained")
    axes = figure.subplots(2, len(images), squeeze=False)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        if image.ndim == 3:
            image, label = image[len(image) // 2], label[len(label) // 2]
        axes[0, k].imshow(image, cmap="gray", vmin=0, vmax=1)
        axes[1, k].imshow(
            label, cmap="nipy_spectral", vmin=0, vmax=classes, interpolation="nearest"
        )
    for panel in axes.ravel():
        panel.set_axis_off()
    figure.savefig(path, dpi=100)
