"""Cropping one photograph and its masks to the field of view, and scaling them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from randrop.data.cases import STRUCTURES, Case
from randrop.data.preprocessing import field_of_view, rescale_masks
from randrop.data.regions import regions
from randrop.errors import UserError
from randrop.files import ownership, write_bytes

MARGIN = 0.01
"""Of the field's width, left around it."""


def prepare_case(
    case: Case, folder: Path, width: int, cover: float = 0.0
) -> dict[str, Any]:
    """Write one photograph and its masks below `folder`, and return its facts.

    For `cover` see `rescale_masks`.

    Raises
    ------
    UserError
        If a file is damaged or is not a mask at all, or the photograph shows nothing.
    """
    image = case.image()
    if image.min() == image.max():
        raise UserError(
            f"{case.image_path} shows nothing: all its pixels are {image.min()}"
        )
    types = [name for name in STRUCTURES if name in case.mask_paths]
    masks = case.masks(types) if types else np.zeros((0, *image.shape[:2]), np.uint8)
    inside = field_of_view(image)
    top, bottom, left, right = box = crop_box(inside)
    outside = [int((mask > inside).sum()) for mask in masks]
    whole = [int(mask.sum()) for mask in masks]
    image, masks = image[top:bottom, left:right], masks[:, top:bottom, left:right]
    height, wide = image.shape[:2]
    scale = min(1.0, width / wide)
    size = (max(1, round(height * scale)), max(1, round(wide * scale)))
    if scale < 1:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    before, masks = masks, rescale_masks(masks, size, cover)
    # Read everything before writing: when a set is rebuilt and a source is damaged now,
    # the existing files of that photograph stay.
    old = [folder / "masks" / name / f"{case.name}.png" for name in STRUCTURES]
    ownership.check(*old, folder / "images" / f"{case.name}.png")
    for path in old:
        path.unlink(missing_ok=True)
    lesions = {}
    for k, (name, old, mask) in enumerate(zip(types, before, masks, strict=True)):
        pixels = int(mask.sum())
        lesions[name] = {
            "pixels": pixels,
            "count": regions(mask)[1],
            "source_pixels": int(old.sum()),
            "outside_pixels": outside[k],
            "cut_pixels": whole[k] - int(old.sum()),
        }
        if pixels:
            _write_png(folder / "masks" / name / f"{case.name}.png", mask * 255)
    _write_png(folder / "images" / f"{case.name}.png", image[..., ::-1])
    return {
        "source": case.image_path.name,
        "patient": case.patient,
        "unknown": sorted(case.unknown),
        "box": [int(n) for n in box],
        "scale": scale,
        "size": list(size),
        "lesions": lesions,
    }


def crop_box(field: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of a field of view with a margin."""
    rows, columns = (np.flatnonzero(field.any(axis=axis)) for axis in (1, 0))
    margin = round(MARGIN * (columns[-1] - columns[0]))
    return (
        max(0, rows[0] - margin),
        min(field.shape[0], rows[-1] + 1 + margin),
        max(0, columns[0] - margin),
        min(field.shape[1], columns[-1] + 1 + margin),
    )


def _write_png(path: Path, pixels: np.ndarray) -> None:
    done, content = cv2.imencode(".png", pixels)
    if not done:
        raise UserError(f"cannot encode {path}")
    write_bytes(path, content.tobytes())
