"""Probability maps as 16-bit grey PNG files: value / 65535 is the probability."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.files import write_bytes
from randrop.files.reading import read_bytes

LEVELS = 1 << 16


def path_of(root: Path, lesion: str, name: str) -> Path:
    """Return the path of one photograph's map: `root/<lesion>/<name>.png`."""
    return root / lesion / f"{name}.png"


def levels_of(probability: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return probabilities, (H, W) in [0, 1], as levels: 65535 is 1."""
    scaled = probability * np.float32(LEVELS - 1)
    return np.rint(scaled, out=scaled).astype(np.uint16)


def encoded(probability: NDArray[np.float32]) -> bytes:
    """Return probabilities, (H, W) in [0, 1], rounded to 1/65535, as 16-bit PNG."""
    # Level 1 compresses a noisy map as well as level 9, in a fifth of the time.
    _, content = cv2.imencode(
        ".png", levels_of(probability), [cv2.IMWRITE_PNG_COMPRESSION, 1]
    )
    return content.tobytes()


def write_map(path: Path, probability: NDArray[np.float32]) -> None:
    """Write what `encoded` returns.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    write_bytes(path, encoded(probability))


def read_map(path: Path) -> tuple[NDArray[np.uint16], int]:
    """Read a probability map as levels, (H, W) in 0..65535, and its bits per pixel.

    8-bit maps of other programs are accepted: their 255 becomes 65535.

    Raises
    ------
    UserError
        If the file does not exist, or is not a grey PNG of 8 or 16 bits.
    """
    remedy = "remove it, and run scripts/predict.py again"
    content = np.frombuffer(read_bytes(path, remedy), np.uint8)
    try:
        levels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except cv2.error:
        levels = None  # More pixels than OpenCV accepts.
    if levels is None:
        raise UserError(f"{path} is damaged or not an image: {remedy}")
    if levels.ndim != 2 or levels.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"{path} has type {levels.dtype} and shape {levels.shape}, not one grey "
            f"channel of 8 or 16 bits: {remedy}"
        )
    if levels.dtype == np.uint8:
        return levels.astype(np.uint16) * np.uint16(257), 8
    return levels, 16
