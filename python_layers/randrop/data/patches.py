"""Patches for training and validation: their positions and augmentation."""

from collections.abc import Sequence

import cv2
import numpy as np

from randrop.data.arrays import FIELD, LEVELS, ZERO, Arrays, arrays_of
from randrop.data.augmentation import augmented
from randrop.data.cases import STRUCTURES
from randrop.data.datasets import Dataset
from randrop.data.pasting import Piece, pasted
from randrop.data.patch_options import Options, check_more
from randrop.data.places import Places

# The coverage from which a warped lesion counts: below a half, so that lesions of one
# or two pixels do not vanish between the grid points.
_COVERED = 0.35
_SOLID = 200


class PatchSource:
    """Cuts patches from the cases of a subset.

    Parameters
    ----------
    dataset : Dataset
    subset : str
        "train", "validation", ...
    options : Options
    keep : int, optional
        See `arrays.arrays_of`.

    Raises
    ------
    UserError
        If photographs or masks cannot be read (the message names them all and counts
        the good ones), options are out of range, or there is nothing to draw from; see
        `Places`.
    """

    def __init__(
        self, dataset: Dataset, subset: str, options: Options, keep: int | None = None
    ) -> None:
        check_more(vars(options))
        self.options = options
        # Lesions are pasted neither on the optic disc nor on others.
        self.others = [s for s in STRUCTURES if s not in options.lesions]
        structures = options.lesions
        if options.paste:
            structures = (*structures, *self.others)
        by_lesion = bool(options.paste) or options.lesion_draw == "lesion"
        self.ready = arrays_of(dataset.subset(subset), structures, by_lesion, keep)
        name = f"subset '{subset}' of {dataset.root}"
        self.places = Places(self.ready, options, name)
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
        case, centre = self.places.draw(rng)
        matrix = _placement(rng, centre, options.patch, options.augment)
        piece = self._cut(case, matrix, options.patch)
        # Numbers of their own: the rest of the patch stays what it is without them.
        more = np.random.default_rng((options.seed, k, 1))
        if options.paste:
            piece = pasted(
                more,
                piece,
                self.places,
                options.paste,
                self._cut,
                self._mark,
                lambda rng, centre, side: _placement(rng, centre, side, True),
            )
        image = (piece.image.astype(np.float32) - ZERO) * np.float32(1 / LEVELS)
        if options.augment:
            gain = rng.uniform(0.8, 1.25, 3).astype(np.float32)
            shift = rng.normal(0, 0.1, 3).astype(np.float32)
            image = image * gain + shift * piece.inside[..., None]
            if options.colour or options.blur or options.noise:
                image = augmented(
                    *(more, image, piece.inside),
                    *(options.colour, options.blur, options.noise),
                )
        return np.ascontiguousarray(image.transpose(2, 0, 1)), piece.label

    def _cut(self, case: Arrays, matrix: np.ndarray, side: int) -> Piece:
        """Return a square of a photograph; `matrix` leads from it to the photograph."""
        options = self.options
        image = cv2.warpAffine(
            case.pixels,
            matrix,
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(ZERO,) * 4,
        )[..., :3]
        bits = [STRUCTURES.index(lesion) for lesion in options.lesions]
        more = [STRUCTURES.index(s) for s in self.others] if options.paste else []
        *covered, inside = self._masks(case, matrix, side, [*bits, *more, FIELD])
        covered = [mask >= _SOLID * _COVERED for mask in covered]
        label = np.empty((len(bits), side, side), np.float32)
        for c, lesion in enumerate(options.lesions):
            label[c] = covered[c]
            if lesion in case.unknown:
                label[c] = options.ignore_label
        label[:, inside == 0] = options.ignore_label
        taken = np.any(covered[len(bits) :], axis=0) & np.ones((side, side), bool)
        return Piece(np.ascontiguousarray(image), label, inside > 0, taken)

    def _masks(
        self, case: Arrays, matrix: np.ndarray, side: int, bits: Sequence[int]
    ) -> list[np.ndarray]:
        """Return such a square of each of these bits, uint8 (S, S), up to `_SOLID`.

        The masks lie where they lie in the photograph: OpenCV computes coordinates in
        single precision, so a window moved to the origin would give other pixels.
        """
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
            found.append(_warped(layer, matrix, side, how))
        layer[box] = 0
        return found

    def _mark(
        self, case: Arrays, matrix: np.ndarray, side: int, pixels: np.ndarray
    ) -> np.ndarray:
        """Return where pixels (y W + x) of a photograph lie in such a square."""
        layer = self.scratch[: case.size[0], : case.size[1]]
        at = np.divmod(pixels, case.size[1])
        layer[at] = _SOLID
        found = _warped(layer, matrix, side, cv2.INTER_LINEAR)
        layer[at] = 0
        return found >= _SOLID * _COVERED


def _warped(layer: np.ndarray, matrix: np.ndarray, side: int, how: int) -> np.ndarray:
    return cv2.warpAffine(layer, matrix, (side, side), flags=how | cv2.WARP_INVERSE_MAP)


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
