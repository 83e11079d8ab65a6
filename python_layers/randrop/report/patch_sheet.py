"""Training patches on one picture, with what their labels say."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from randrop.data.contact_sheet import COLOURS, GAP, TEXT, legend

_GREY, _PER_DEVIATION = 128, 22
"""The level of an input of 0, and of one standard deviation of the local contrast."""


LARGEST = 65500
"""Pixels along a side that a JPEG can have."""


def sheet_size(side: int, count: int, columns: int) -> tuple[int, int]:
    """Return width and height of the picture of so many patches, in pixels."""
    columns = min(columns, count)
    rows = -(-count // columns)
    return columns * (2 * side + GAP) + GAP, rows * (side + GAP) + GAP + TEXT


def patch_sheet(
    patches: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    lesions: Sequence[str],
    ignore_label: int,
    columns: int = 4,
) -> NDArray[np.uint8]:
    """Return a picture of patches: each as the network sees it, then with outlines.

    Parameters
    ----------
    patches : sequence of (float32 (3, P, P), float32 (C, P, P))
        Network inputs and labels, as `PatchSource.patch` returns them.
    lesions : sequence of str
        The C types.
    ignore_label : int
        Pixels that have it in all channels are striped.
    columns : int
        Patches per row.

    Returns
    -------
    uint8 (H, W, 3)
        RGB.
    """
    side = patches[0][0].shape[1]
    columns = min(columns, len(patches))
    step = 2 * side + GAP
    sheet = Image.new("RGB", sheet_size(side, len(patches), columns), "white")
    legend(ImageDraw.Draw(sheet), lesions)
    for k, (image, label) in enumerate(patches):
        x, y = GAP + k % columns * step, TEXT + GAP + k // columns * (side + GAP)
        levels = image.transpose(1, 2, 0) * _PER_DEVIATION + _GREY
        plain = levels.clip(0, 255).astype(np.uint8)
        sheet.paste(Image.fromarray(plain), (x, y))
        outlined = _outlined(plain, label, lesions, ignore_label)
        sheet.paste(Image.fromarray(outlined), (x + side, y))
    return np.asarray(sheet)


def _outlined(
    plain: NDArray[np.uint8],
    label: NDArray[np.float32],
    lesions: Sequence[str],
    ignore_label: int,
) -> NDArray[np.uint8]:
    picture = plain.copy()
    rows, columns = np.indices(label.shape[1:])
    stripes = (rows + columns) % 8 < 2
    picture[(label == ignore_label).all(axis=0) & stripes] = 255
    for own, lesion in zip(label, lesions, strict=True):
        mask = (own == 1).astype(np.uint8)
        outline = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > mask
        picture[outline] = COLOURS[lesion]
    return picture
