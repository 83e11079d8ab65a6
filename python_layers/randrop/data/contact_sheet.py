"""Photographs of a prepared set on one sheet, with outlined lesions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from randrop.data.colours import COLOURS
from randrop.data.images import read_image, read_mask
from randrop.data.preprocessing import rescale_masks
from randrop.files import replacing

SIDE = 320
GAP = 8
TEXT = 18
MOST = 200
"""Photographs on a sheet: a thousand would make it a gigabyte."""


def contact_sheet(
    folder: Path, manifest: Mapping[str, Any], path: Path, columns: int = 5
) -> None:
    """Draw the photographs of a prepared set, or `MOST` of them at equal distances.

    Parameters
    ----------
    folder : Path
        The prepared set.
    manifest : mapping
        From `prepare.prepare`.
    path : Path
        The PNG to write.
    columns : int
        Photographs per row.
    """
    cases = _some(manifest["cases"])
    columns = min(columns, len(cases))
    tall = max(case["size"][0] / case["size"][1] for case in cases.values())
    height = round(SIDE * min(tall, 2))
    step = (SIDE + GAP, height + 2 * TEXT + GAP)
    rows = -(-len(cases) // columns)
    sheet = Image.new(
        "RGB", (columns * step[0] + GAP, rows * step[1] + GAP + TEXT), "white"
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    legend(draw, tuple(COLOURS))
    for k, name in enumerate(tqdm(cases, "contact sheet", unit="photo", disable=None)):
        x, y = GAP + k % columns * step[0], TEXT + GAP + k // columns * step[1]
        own = cases[name]
        picture = _outlined(folder, name, own["lesions"], (SIDE, height))
        sheet.paste(Image.fromarray(picture), (x, y))
        counts = " ".join(
            f"{lesion} {facts['count']}"
            for lesion, facts in own["lesions"].items()
            if facts["count"]
        )
        lines = (f"{name} ({own['subset']})", counts or "no lesion")
        for line, words in enumerate(lines):
            draw.text((x, y + height + 2 + TEXT * line), words, "black", font)
    with replacing(path) as temporary:
        sheet.save(temporary)


def legend(draw: ImageDraw.ImageDraw, lesions: Sequence[str]) -> None:
    """Draw the colours of lesion types along the upper edge of a sheet."""
    font = ImageFont.load_default(13)
    for k, lesion in enumerate(lesions):
        x = GAP + 60 * k
        draw.rectangle((x, 6, x + 12, 18), fill=COLOURS[lesion], outline="black")
        draw.text((x + 18, 4), lesion, "black", font)


def _some(cases: Mapping[str, Any]) -> dict[str, Any]:
    """Return at most `MOST` of the cases, the first among them."""
    names = list(cases)
    count = min(MOST, len(names))
    return {names[k]: cases[names[k]] for k in np.arange(count) * len(names) // count}


def _outlined(
    folder: Path, name: str, lesions: Mapping[str, Any], room: tuple[int, int]
) -> np.ndarray:
    image = read_image(folder / "images" / f"{name}.png")
    scale = min(1, room[0] / image.shape[1], room[1] / image.shape[0])
    size = tuple(max(1, int(n * scale)) for n in image.shape[:2])
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    for lesion, facts in lesions.items():
        if facts["pixels"]:
            mask = read_mask(folder / "masks" / lesion / f"{name}.png")
            mask = rescale_masks(mask[None], size)[0]
            outline = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > mask
            small[outline] = COLOURS[lesion]
    return small
