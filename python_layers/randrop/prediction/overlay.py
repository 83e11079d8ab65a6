"""A photograph with what was found in it, and a legend below."""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from randrop.data.cases import NAMES
from randrop.data.colours import COLOURS

FORMATS = {"png": (), "jpg": (cv2.IMWRITE_JPEG_QUALITY, 92)}
"""Suffix to OpenCV's parameters."""


def outlined(
    image: NDArray[np.uint8], places: Mapping[str, NDArray[np.bool_]]
) -> NDArray[np.uint8]:
    """Return a photograph, RGB, with outlined regions of each type.

    Lines are drawn around a region, not on it, and are thicker on larger photographs.

    Parameters
    ----------
    image : ndarray (H, W, 3)
    places : mapping of str to ndarray (H, W)
        By lesion type, where it was found.
    """
    picture = image.copy()
    width = 1 + max(image.shape) // 1000
    kernel = np.ones((2 * width + 3, 2 * width + 3), np.uint8)
    for lesion, place in places.items():
        region = place.astype(np.uint8)
        room = cv2.dilate(region, np.ones((3, 3), np.uint8))
        picture[cv2.dilate(region, kernel) > room] = COLOURS[lesion]
    return picture


def with_legend(
    picture: NDArray[np.uint8], lines: Mapping[str, str]
) -> NDArray[np.uint8]:
    """Return a picture with a strip below it that explains the colours.

    Parameters
    ----------
    picture : ndarray (H, W, 3)
        It keeps its pixels and their places: the strip is added at the bottom.
    lines : mapping of str to str
        By lesion type, what follows its name.

    Returns
    -------
    ndarray (H + h, W, 3)
        A wider legend than the picture takes several lines.
    """
    width = picture.shape[1]
    size = max(10, round(width / 70))
    font = ImageFont.load_default(size)
    places, x, row = [], size, 0
    for lesion, rest in lines.items():
        text = f"{lesion}, {NAMES[lesion]}: {rest}"
        length = 2 * size + round(font.getlength(text))
        if x > size and x + length > width:
            x, row = size, row + 1
        places.append((lesion, text, x, row))
        x += length + 2 * size
    strip = Image.new("RGB", (width, 2 * size * (row + 1)), "black")
    draw = ImageDraw.Draw(strip)
    for lesion, text, x, row in places:
        middle = 2 * size * row + size
        half = size // 2
        draw.rectangle(
            (x, middle - half, x + size, middle + half),
            fill=COLOURS[lesion],
            outline="white",
        )
        draw.text((x + 3 * size // 2, middle), text, "white", font, anchor="lm")
    return np.vstack([picture, np.asarray(strip)])


def encoded(picture: NDArray[np.uint8], kind: str) -> bytes:
    """Return a picture, RGB, as the content of a file of a kind in `FORMATS`."""
    _, content = cv2.imencode(f".{kind}", picture[..., ::-1], FORMATS[kind])
    return content.tobytes()
