"""Patches for training and validation: their positions and augmentation."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from randrop.data.cases import IGNORE_LABEL, Case
from randrop.data.datasets import Dataset
from randrop.data.preprocessing import INPUT_LIMIT, field_of_view, network_input
from randrop.errors import UserError

# Photographs are cached in 8 bits: a sixteenth of a standard deviation is far below the
# noise, and a hundred photographs of 1440 x 956 then take half a gigabyte.
LEVELS = 127 / INPUT_LIMIT
ZERO = 128
TRANSFORM = {"mean_value": [ZERO], "scale": 1 / LEVELS}
"""What makes the network's input of those bytes, as Caffe's transform_param."""
# The coverage from which a warped lesion counts: below a half, so that lesions of one
# or two pixels do not vanish between the grid points.
_COVERED = 0.35
_SOLID = 200


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
    augment: bool = True
    seed: int = 1
    ignore_label: int = IGNORE_LABEL


@dataclasses.dataclass(frozen=True)
class _Ready:
    """Photograph (H, W, 3), masks (C, H, W) and field of view, all uint8."""

    image: np.ndarray
    masks: np.ndarray
    unknown: tuple[bool, ...]  # of the types
    field: np.ndarray
    lesion_pixels: tuple[np.ndarray, ...]


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
        self.ready = _all_ready(cases, options)
        counts = [
            sum(case.lesion_pixels[c].size for case in self.ready)
            for c in range(len(options.lesions))
        ]
        if not any(counts):
            raise UserError(
                f"no mask has a lesion: {', '.join(options.lesions)} of the "
                f"{len(cases)} image(s) in subset '{subset}' of {dataset.root} are "
                "empty. Check the mask folders and --lesions"
            )
        self.present = [c for c, count in enumerate(counts) if count]
        self.chances = _chances(options, self.present)

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
            case.image,
            matrix,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(ZERO,) * 3,
        ).astype(np.float32)
        image = (image - ZERO) * np.float32(1 / LEVELS)
        label = np.empty((len(options.lesions), size, size), np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        for c in range(len(options.lesions)):
            covered = cv2.warpAffine(
                case.masks[c],
                matrix,
                (size, size),
                flags=flags,
            )
            label[c] = covered >= _SOLID * _COVERED
            if case.unknown[c]:
                label[c] = options.ignore_label
        inside = cv2.warpAffine(
            case.field,
            matrix,
            (size, size),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        )
        label[:, inside == 0] = options.ignore_label
        if options.augment:
            gain = rng.uniform(0.8, 1.25, 3).astype(np.float32)
            shift = rng.normal(0, 0.1, 3).astype(np.float32)
            image = image * gain + shift * (inside > 0)[..., None]
        return np.ascontiguousarray(image.transpose(2, 0, 1)), label

    def _place(self, rng: np.random.Generator) -> tuple[_Ready, np.ndarray]:
        """Choose a photograph and the centre (x, y) of a patch in it."""
        size = self.options.patch
        if rng.random() < self.options.lesion_share:
            c = self.present[rng.integers(len(self.present))]
            if self.chances is not None:
                c = self.present[rng.choice(len(self.present), p=self.chances)]
            cases = [case for case in self.ready if case.lesion_pixels[c].size]
            case = cases[rng.integers(len(cases))]
            pixels = case.lesion_pixels[c]
            jitter = rng.uniform(-size / 3, size / 3, 2)
        else:
            case = self.ready[rng.integers(len(self.ready))]
            pixels = np.flatnonzero(case.field)
            jitter = np.zeros(2)
        y, x = divmod(int(pixels[rng.integers(pixels.size)]), case.field.shape[1])
        return case, np.array([x, y]) + jitter


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


def _all_ready(cases: Sequence[Case], options: Options) -> list[_Ready]:
    ready, errors = [], []
    for case in cases:
        try:
            ready.append(_make_ready(case, options.lesions))
        except UserError as error:
            errors.append(str(error))
    if errors:
        raise UserError(
            f"{len(errors)} of {len(cases)} images cannot be used, {len(ready)} can:\n"
            + "\n".join(errors)
        )
    return ready


def _make_ready(case: Case, lesions: tuple[str, ...]) -> _Ready:
    image = case.image()
    unknown = tuple(lesion in case.unknown for lesion in lesions)
    masks = (case.masks(lesions) == 1).astype(np.uint8)
    field = field_of_view(image)
    levels = np.rint(network_input(image, field) * LEVELS + ZERO).astype(np.uint8)
    return _Ready(
        image=np.ascontiguousarray(levels.transpose(1, 2, 0)),
        masks=masks * np.uint8(_SOLID),
        unknown=unknown,
        field=field.astype(np.uint8),
        lesion_pixels=tuple(np.flatnonzero(mask * field) for mask in masks),
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
