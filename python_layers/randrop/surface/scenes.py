"""The images of a recording: crops around lesions, or images of a labelled set."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from randrop.data import (
    IGNORE_LABEL,
    Case,
    check_lesions,
    field_of_view,
    network_input,
    read_dataset,
)
from randrop.data.hdf5 import check_values, opened
from randrop.data.labelled import is_labelled, read_labelled
from randrop.data.patches import class_map
from randrop.errors import UserError
from randrop.prediction import networks

SUBSETS = {"training": "train", "validation": "validation"}
"""The subsets of a recording, and what the data set calls them."""

LOOKED_AT = 60
"""Photographs of a subset whose masks are read to choose from, evenly spaced."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """An image as the network and its losses see it.

    Attributes
    ----------
    name, subset : str
        "training" or "validation".
    shown : bool
        Whether its maps are recorded, or only the measures that it is part of.
    picture : uint8 (H, W, 3)
        RGB.
    input : float32 (channels, H, W)
        Network input.
    label : uint8 (L, H, W)
        As the losses take it: 0, 1 or 255 for each channel of a sigmoid; the class or
        255 for a softmax.
    truth : uint8 (C, H, W)
        0, 1 or 255 for each channel of the network.
    """

    name: str
    subset: str
    shown: bool
    picture: NDArray[np.uint8]
    input: NDArray[np.float32]
    label: NDArray[np.uint8]
    truth: NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which images to take.

    Attributes
    ----------
    size : int
        Side of a crop in pixels.
    shown, measured : int
        Images of each subset whose maps are recorded, and that are measured.
    names : tuple of str
        Show these images, whatever subset they belong to; empty: `shown` of each.
    split : Path or None
    """

    size: int = 256
    shown: int = 2
    measured: int = 8
    names: tuple[str, ...] = ()
    split: Path | None = None


def read(folder: Path, settings: dict[str, Any], choice: Choice) -> list[Scene]:
    """Return the images of a run's data set, or of another one with the same channels.

    Parameters
    ----------
    folder : Path
        Photographs, or a labelled set.
    settings : dict
        run.json of the training.
    choice : Choice

    Raises
    ------
    UserError
        If the data do not fit the run, or there are no such images.
    """
    if not folder.is_dir():
        raise UserError(
            f"the data set {folder} is missing: give the folder of the images with "
            "--data"
        )
    labels = settings.get("labels")
    if is_labelled(folder) != bool(labels):
        kinds = ("photographs with masks", "a labelled set")
        raise UserError(
            f"the run was trained on {kinds[bool(labels)]}, but {folder} holds "
            f"{kinds[not labels]}: give the data set of the run with --data"
        )
    scenes = (_labelled if labels else _photographs)(folder, settings, choice)
    missing = sorted(set(choice.names) - {s.name for s in scenes if s.shown})
    if missing:
        raise UserError(
            f"--images: {folder} has no image {missing[0]!r} in its training and "
            "validation subsets"
        )
    return scenes


def digest(scenes: Sequence[Scene]) -> str:
    """Return a SHA-256 of names, inputs and truths: another one means other images."""
    found = hashlib.sha256()
    for scene in scenes:
        found.update(repr((scene.name, scene.subset, scene.shown)).encode())
        for array in (scene.input, scene.truth):
            found.update(repr((array.shape, array.dtype.str)).encode())
            found.update(np.ascontiguousarray(array))
    return found.hexdigest()


def _photographs(folder: Path, settings: dict[str, Any], choice: Choice) -> list[Scene]:
    lesions = settings["lesions"]
    check_lesions(lesions)
    stride = settings.get("stride") or 2 ** (settings.get("depth", 4) - 1)
    if choice.size < stride or choice.size % stride:
        raise UserError(
            f"--size {choice.size} is not a positive multiple of {stride}, which the "
            f"network needs: use {max(1, round(choice.size / stride)) * stride}"
        )
    split = choice.split or networks.split_of(settings, folder)
    dataset = read_dataset(folder, split)
    scenes = []
    for subset, theirs in SUBSETS.items():
        cases = dataset.subset(theirs)
        named = [case for case in cases if case.name in choice.names]
        ranked = _densest(cases, lesions, choice, f"choosing {subset} images")
        shown = named if choice.names else [case for case, _ in ranked[: choice.shown]]
        rest = [case for case, _ in ranked if case not in shown]
        corners = dict(ranked)
        for case in named:
            if case not in corners:
                corners[case] = _window(case, lesions, choice.size)[1]
        more = rest[: max(0, choice.measured - len(shown))]
        for case in (*shown, *more):
            scenes.append(
                _crop(case, corners[case], settings, choice, subset, case in shown)
            )
    return scenes


def _densest(
    cases: Sequence[Case], lesions: Sequence[str], choice: Choice, doing: str
) -> list[tuple[Case, tuple[int, int]]]:
    """Return cases and the corners of their densest windows, densest first."""
    step = -(-len(cases) // LOOKED_AT)
    some = cases[::step]
    found = [
        (*_window(case, lesions, choice.size), case)
        for case in tqdm(some, doing, unit="photo", disable=None, leave=False)
    ]
    # A type with large lesions must not hide one with small ones: compare shares.
    total = np.maximum(sum(counts for counts, _, _ in found), 1)
    ranked = sorted(found, key=lambda one: (-(one[0] / total).sum(), one[2].name))
    return [(case, corner) for _, corner, case in ranked]


def _window(
    case: Case, lesions: Sequence[str], size: int
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return the lesion pixels of each type in the densest window, and its corner.

    The corner (top, left) may be negative: a photograph smaller than the window is
    centred in it.
    """
    masks = (case.masks(lesions) == 1).astype(np.float32)
    height, width = masks.shape[1:]
    weight = masks / np.maximum(masks.sum((1, 2), keepdims=True), 1)
    box = (min(size, height), min(size, width))
    rows, columns = height - box[0] + 1, width - box[1] + 1
    inside = cv2.boxFilter(
        weight.sum(0).astype(np.float64), -1, box[::-1], anchor=(0, 0), normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )[:rows, :columns]  # fmt: skip
    # The middle of the best ones, so that one lesion lies in the middle of the crop.
    best = np.argwhere(inside >= inside.max() - 1e-9)
    middle = best.mean(0)
    top, left = best[np.abs(best - middle).sum(1).argmin()]
    counts = masks[:, top : top + box[0], left : left + box[1]].sum((1, 2), float)
    corner = (int(top) - (size - box[0]) // 2, int(left) - (size - box[1]) // 2)
    return counts, corner


def _crop(
    case: Case,
    corner: tuple[int, int],
    settings: dict[str, Any],
    choice: Choice,
    subset: str,
    shown: bool,
) -> Scene:
    image = case.image()
    inside = field_of_view(image)
    label = case.masks(settings["lesions"])
    label[:, ~inside] = IGNORE_LABEL
    cut = (corner, choice.size)
    picture = np.stack([_cut(image[..., c], *cut, 0) for c in range(3)], axis=-1)
    network = [_cut(channel, *cut, 0) for channel in network_input(image, inside)]
    label = np.stack([_cut(channel, *cut, IGNORE_LABEL) for channel in label])
    truth = label
    if settings.get("activation", "SIGMOID") == "SOFTMAX":
        label = class_map(label, IGNORE_LABEL)
        truth = _one_hot(label, 1 + len(settings["lesions"]))
    return Scene(case.name, subset, shown, picture, np.stack(network), label, truth)


def _cut(
    plane: NDArray[Any], corner: tuple[int, int], size: int, outside: int
) -> NDArray[Any]:
    """Return a square of a plane, with `outside` beyond its border."""
    found = np.full((size, size), outside, plane.dtype)
    top, left = corner
    rows, columns = slice(max(0, top), top + size), slice(max(0, left), left + size)
    part = plane[rows, columns]
    y, x = max(0, -top), max(0, -left)
    found[y : y + part.shape[0], x : x + part.shape[1]] = part
    return found


def _one_hot(label: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """Return (classes, H, W) with 0, 1 or 255 of a label (1, H, W) of classes."""
    truth = (label == np.arange(classes)[:, None, None]).astype(np.uint8)
    truth[:, label[0] == IGNORE_LABEL] = IGNORE_LABEL
    return truth


def _labelled(folder: Path, settings: dict[str, Any], choice: Choice) -> list[Scene]:
    if len(settings["shape"]) != 3:
        raise UserError(
            "the run was trained on volumes, whose maps cannot be recorded: give a "
            "training on photographs or on two-dimensional images"
        )
    data = read_labelled(folder)
    for what, own, theirs in (
        ("labels", settings["labels"], list(data.labels)),
        ("shape", settings["shape"], list(data.shape)),
    ):
        if own != theirs:
            raise UserError(
                f"{folder} has the {what} {theirs}, but the run was trained with "
                f"{own}: give the data set of the run with --data"
            )
    scenes = []
    for subset, theirs in SUBSETS.items():
        with opened(data.file(theirs)) as file:
            count = file["data"].shape[0]
            names = [f"{theirs} {k}" for k in range(count)]
            named = [k for k in range(count) if names[k] in choice.names]
            shown = named if choice.names else list(range(min(choice.shown, count)))
            rest = [k for k in range(count) if k not in shown]
            for k in [*shown, *rest[: max(0, choice.measured - len(shown))]]:
                image = file["data"][k].astype(np.float32)
                label = file["label"][k]
                _check_label(label, len(data.labels), data.file(theirs), k)
                label = label.astype(np.uint8)
                truth = _one_hot(label, len(data.labels))
                picture = _picture(image)
                scenes.append(
                    Scene(names[k], subset, k in shown, picture, image, label, truth)
                )
    return scenes


def _check_label(label: NDArray[Any], classes: int, path: Path, k: int) -> None:
    if not np.isin(label, np.arange(classes)).all():
        check_values(path, classes)
        raise UserError(f"{path}: image {k} has a label beyond the {classes} classes")


def _picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return an image of any range and number of channels as RGB, darkest to 0."""
    shown = image[:3] if image.shape[0] >= 3 else image[:1].repeat(3, 0)
    low, high = float(shown.min()), float(shown.max())
    levels = (shown - low) * (255 / max(high - low, 1e-12))
    return np.rint(levels).astype(np.uint8).transpose(1, 2, 0)
