"""Lesions of one photograph blended into another."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from randrop.data.arrays import Arrays
from randrop.data.places import Places

_MARGIN = 4  # pixels of the lesion's surroundings that come along, at least
_ERODED = 3  # pixels by which seamlessClone shrinks what it replaces
_TRIES = 20


class Piece(NamedTuple):
    """A square cut from a photograph.

    Attributes
    ----------
    image : uint8 (S, S, 3)
        Network input in bytes.
    label : float32 (C, S, S)
    inside : bool (S, S)
        Field of view.
    taken : bool (S, S)
        Lesions of the types that are not trained, and the optic disc, where masks show
        them.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.float32]
    inside: NDArray[np.bool_]
    taken: NDArray[np.bool_]


Cut = Callable[[Arrays, NDArray, int], Piece]
"""Returns the piece of a photograph with this matrix and side."""

Mark = Callable[[Arrays, NDArray, int, NDArray], NDArray[np.bool_]]
"""Returns where given pixels (y W + x) of a photograph lie in such a piece."""


def pasted(
    rng: np.random.Generator,
    piece: Piece,
    places: Places,
    mean: float,
    cut: Cut,
    mark: Mark,
    placement: Callable[[np.random.Generator, NDArray, int], NDArray],
) -> Piece:
    """Return a patch with lesions of the same subset blended into it.

    Their number is a Poisson variable. Type, photograph and lesion are drawn as those
    of patches near a lesion are, each lesion of the photograph equally often. A lesion
    comes rotated, scaled and mirrored, with a margin around it, and lies inside the
    field of view, on no lesion of any type, and not on the optic disc, where masks
    show them.
    Its label comes along, with that of all that lies in the margin. Lesions larger
    than half of the patch, and those that find no room, are left out.

    The blend is Poisson's (the gradient is the lesion's, the border the patch's), in
    the network's input: local contrast is free of illumination and pigment already, so
    that the pasted gradient is right wherever it is pasted. Blending colours would
    paste the illumination of the source, and the local mean would have to be computed
    again.

    Parameters
    ----------
    rng : Generator
    piece : Piece
        The patch.
    places : Places
        Draws the lesions.
    mean : float
        Mean number of lesions.
    cut, mark : callable
        See `Cut` and `Mark`.
    placement : callable
        Returns a random matrix for a centre and a side.

    References
    ----------
    P. Perez, M. Gangnet, A. Blake. Poisson image editing. SIGGRAPH 2003.
    """
    for _ in range(rng.poisson(mean)):
        case, c = places.lesion_type(rng)
        pixels = places.lesion(rng, case, c)
        y, x = np.divmod(pixels, case.size[1])
        centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
        radius = np.hypot(x - centre[0], y - centre[1]).max() + 1
        margin = int(np.ceil(max(_MARGIN, radius / 2))) + _ERODED
        # The largest scale of the placement is e^0.15; two pixels of frame.
        side = 2 * int(np.ceil(1.2 * radius + margin + 2)) + 1
        if side > piece.image.shape[0] // 2:
            continue
        matrix = placement(rng, centre, side)
        lesion = cut(case, matrix, side)
        there = mark(case, matrix, side, pixels)
        if there.any():
            piece = _blended(rng, piece, lesion, there, margin)
    return piece


def _blended(
    rng: np.random.Generator,
    piece: Piece,
    lesion: Piece,
    there: NDArray[np.bool_],
    margin: int,
) -> Piece:
    """Return a patch with one lesion somewhere in it, or as it was."""
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1,) * 2)
    region = cv2.dilate(there.astype(np.uint8), ball)
    region &= lesion.inside
    left, top, width, height = cv2.boundingRect(region)
    box = (slice(top, top + height), slice(left, left + width))
    region = region[box]
    free = piece.inside & ~piece.taken & ~(piece.label == 1).any(axis=0)
    room = np.array(free.shape) - region.shape
    for _ in range(_TRIES):
        y, x = rng.integers(room + 1)
        target = (slice(y, y + height), slice(x, x + width))
        if free[target][region > 0].all():
            break
    else:
        return piece
    # What OpenCV replaces: it lays the centre of the region's bounding box on the given
    # point, and shrinks the region so, except at the border of the box.
    inner = cv2.erode(region, np.ones((3, 3), np.uint8), iterations=_ERODED)
    if not (inner & there[box]).any():
        return piece
    image = cv2.seamlessClone(
        np.ascontiguousarray(lesion.image[box]),
        piece.image,
        region * np.uint8(255),
        (int(x + width // 2), int(y + height // 2)),
        cv2.NORMAL_CLONE,
    )
    label = piece.label.copy()
    into, what = label[(slice(None), *target)], lesion.label[(slice(None), *box)]
    np.copyto(into, what, where=inner > 0)
    return piece._replace(image=image, label=label)
