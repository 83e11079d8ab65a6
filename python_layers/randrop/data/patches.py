"""Patches for training and validation: their positions and augmentation."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from randrop.data.arrays import FIELD, LEVELS, ZERO, Arrays, arrays_of
from randrop.data.cases import IGNORE_LABEL, STRUCTURES
from randrop.data.datasets import Dataset
from randrop.errors import UserError

# The coverage from which a warped lesion counts: below a half, so that lesions of one
# or two pixels do not vanish between the grid points.
_COVERED = 0.35
_SOLID = 200

DRAWS = ("pixel", "lesion")
"""What patches near a lesion are drawn by."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How to cut patches.

    Attributes
    ----------
    lesions : tuple of str
        Output channels.
    patch : int
        Side in pixels.
    lesion_share : float
        Share of patches centred near a lesion; the rest lie anywhere in the field of
        view.
    lesion_weights : tuple of float or None
        Relative frequency of each lesion type among those patches; None: all equal.
        Types that no mask has are skipped.
    lesion_draw : {"pixel", "lesion"}
        What a patch near a lesion is drawn by, after type and photograph: a pixel of
        the mask, so that large lesions are seen more often, or first a lesion (an
        8-connected region), so that all of the photograph are seen equally often.
    augment : bool
        Rotate, scale, mirror and recolour the patches, differently each time. Without
        it, patch k is always the same.
    seed : int
        Patch k depends only on (seed, k).
    ignore_label : int
        Label outside the field of view.
    """

    lesions: tuple[str, ...]
    patch: int = 256
    lesion_share: float = 0.5
    lesion_weights: tuple[float, ...] | None = None
    lesion_draw: str = "pixel"
    augment: bool = True
    seed: int = 1
    ignore_label: int = IGNORE_LABEL


MORE = ("lesion_draw",)
"""Options that have the same name in param_str, run.json and train.py's arguments."""


def more_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of MORE that differ from their defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(Options)}
    return {
        name: settings[name]
        for name in MORE
        if settings.get(name, defaults[name]) != defaults[name]
    }


class PatchSource:
    """Cuts patches from the cases of a subset.

    Parameters
    ----------
    dataset : Dataset
    subset : str
        "train", "validation", ...
    options : Options

    Raises
    ------
    UserError
        If photographs or masks cannot be read (the message names them all and counts
        the good ones), or no mask has a lesion.
    """

    def __init__(self, dataset: Dataset, subset: str, options: Options) -> None:
        self.options = options
        cases = dataset.subset(subset)
        by_lesion = options.lesion_draw == "lesion"
        self.ready = arrays_of(cases, options.lesions, by_lesion)
        self.near = [
            [case for case in self.ready if case.lesions[lesion].size]
            for lesion in options.lesions
        ]
        if not any(self.near):
            raise UserError(
                f"no mask has a lesion: {', '.join(options.lesions)} of the "
                f"{len(cases)} image(s) in subset '{subset}' of {dataset.root} are "
                "empty. Check the mask folders and --lesions"
            )
        self.present = [c for c, cases in enumerate(self.near) if cases]
        self.chances = _chances(options, self.present)
        self.order = {}
        if by_lesion:
            self.order = {
                (case.name, lesion): _by_lesion(case.regions[lesion])
                for case in self.ready
                for lesion in options.lesions
            }
        # What OpenCV reads a mask from: the window of a patch is written here.
        self.scratch = np.zeros(np.max([c.size for c in self.ready], axis=0), np.uint8)

    def patch(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return patch k.

        Returns
        -------
        image : float32 (3, P, P)
            Network input; 0 outside the photograph.
        label : float32 (C, P, P)
            0, 1 or the ignore label.
        """
        options = self.options
        rng = np.random.default_rng((options.seed, k))
        case, centre = self._place(rng)
        size = options.patch
        matrix = _placement(rng, centre, size, options.augment)
        image = cv2.warpAffine(
            case.pixels,
            matrix,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(ZERO,) * 4,
        )[..., :3].astype(np.float32)
        image = (image - ZERO) * np.float32(1 / LEVELS)
        bits = [STRUCTURES.index(lesion) for lesion in options.lesions]
        *covered, inside = self._masks(case, matrix, [*bits, FIELD])
        label = np.empty((len(bits), size, size), np.float32)
        for c, lesion in enumerate(options.lesions):
            label[c] = covered[c] >= _SOLID * _COVERED
            if lesion in case.unknown:
                label[c] = options.ignore_label
        label[:, inside == 0] = options.ignore_label
        if options.augment:
            gain = rng.uniform(0.8, 1.25, 3).astype(np.float32)
            shift = rng.normal(0, 0.1, 3).astype(np.float32)
            image = image * gain + shift * (inside > 0)[..., None]
        return np.ascontiguousarray(image.transpose(2, 0, 1)), label

    def _masks(
        self, case: Arrays, matrix: np.ndarray, bits: Sequence[int]
    ) -> list[np.ndarray]:
        """Return the patch of each of these bits, uint8 (P, P), up to `_SOLID`.

        The masks lie where they lie in the photograph: OpenCV computes coordinates in
        single precision, so a window moved to the origin would give other pixels.
        """
        side = self.options.patch
        box = _box(matrix, side, case.size)
        window = case.pixels[..., 3][box]
        layer = self.scratch[: case.size[0], : case.size[1]]
        found = []
        for bit in bits:
            if not (window & np.uint8(1 << bit)).any():
                found.append(np.zeros((side, side), np.uint8))
                continue
            layer[box] = (window >> np.uint8(bit) & 1) * np.uint8(_SOLID)
            how = cv2.INTER_NEAREST if bit == FIELD else cv2.INTER_LINEAR
            found.append(
                cv2.warpAffine(
                    layer, matrix, (side, side), flags=how | cv2.WARP_INVERSE_MAP
                )
            )
        layer[box] = 0
        return found

    def _place(self, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
        """Choose a photograph and the centre (x, y) of a patch in it."""
        size = self.options.patch
        if rng.random() < self.options.lesion_share:
            c = self.present[rng.integers(len(self.present))]
            if self.chances is not None:
                c = self.present[rng.choice(len(self.present), p=self.chances)]
            case = self.near[c][rng.integers(len(self.near[c]))]
            jitter = rng.uniform(-size / 3, size / 3, 2)
            y, x = divmod(self._lesion_pixel(rng, case, c), case.size[1])
        else:
            case = self.ready[rng.integers(len(self.ready))]
            jitter = np.zeros(2)
            x, y = case.inside_position(rng.integers(case.inside[-1]))
        return case, np.array([x, y]) + jitter

    def _lesion_pixel(self, rng: np.random.Generator, case: Arrays, c: int) -> int:
        """Draw a pixel of a lesion type, y W + x."""
        lesion = self.options.lesions[c]
        pixels = case.lesions[lesion]
        if not self.order:
            return int(pixels[rng.integers(pixels.size)])
        order, ends = self.order[case.name, lesion]
        k = rng.integers(ends.size - 1)
        return int(pixels[order[rng.integers(ends[k], ends[k + 1])]])


def class_map(label: np.ndarray, ignore_label: int) -> np.ndarray:
    """Return the classes of a label that has one channel per lesion type.

    Parameters
    ----------
    label : ndarray (C, P, P)
        0, 1 or `ignore_label`.
    ignore_label : int
        If any channel has it, the class is ignored.

    Returns
    -------
    ndarray (1, P, P)
        0 for no lesion, c + 1 for the first channel c with one.
    """
    there = label == 1
    classes = np.where(there.any(0), there.argmax(0) + 1, 0).astype(label.dtype)
    return np.where((label == ignore_label).any(0), ignore_label, classes)[None]


def _chances(options: Options, present: Sequence[int]) -> np.ndarray | None:
    """Return the probability of each present type among patches near a lesion."""
    weights = options.lesion_weights
    if weights is None:
        return None
    if len(weights) != len(options.lesions) or min(weights) < 0:
        raise UserError(
            f"lesion_weights is {list(weights)}: give a weight of at least 0 for each "
            f"of {', '.join(options.lesions)}"
        )
    there = np.array([weights[c] for c in present], float)
    if not there.sum() > 0:
        raise UserError(
            f"lesion_weights is {list(weights)}: no type that has lesions has a "
            "weight above 0: raise one weight"
        )
    return there / there.sum()


def _by_lesion(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of pixels by lesion, and where each lesion begins in it.

    The last entry is the number of pixels.
    """
    order = np.argsort(numbers, kind="stable")
    begins = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    return order, np.append(begins, numbers.size)


def _box(matrix: np.ndarray, side: int, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a photograph that a patch may touch."""
    corners = matrix @ [[0, side, 0, side], [0, 0, side, side], [1, 1, 1, 1]]
    low = np.floor(corners.min(axis=1)).astype(int) - 2
    high = np.ceil(corners.max(axis=1)).astype(int) + 3
    return (
        slice(max(0, low[1]), max(0, min(size[0], high[1]))),
        slice(max(0, low[0]), max(0, min(size[1], high[0]))),
    )


def _placement(
    rng: np.random.Generator, centre: np.ndarray, size: int, augment: bool
) -> np.ndarray:
    """Return the 2 x 3 matrix from patch to photograph coordinates (x, y)."""
    linear = np.eye(2)
    if augment:
        angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.15, 0.15))
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        linear = np.array([[cosine, -sine], [sine, cosine]])
        if rng.random() < 0.5:
            linear[:, 0] *= -1
    else:
        centre = np.rint(centre)
    half = (size - 1) / 2 if augment else size // 2
    offset = centre - linear @ (half, half)
    return np.column_stack([linear, offset])
