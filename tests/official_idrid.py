"""The segmentation part of IDRiD as distributed, drawn small.

Folders and names are the official ones; photographs 01 to 54 are for training, 55 to
81 for testing. Masks are palette TIFFs (0 and 1) in one subset and RGBA TIFFs (red on
black) in the other. A photograph without lesions of a type has no mask file for it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from randrop.data.phantom import fundus

FOLDERS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
    "OD": "5. Optic Disc",
}
SUBSETS = {"a. Training Set": range(1, 55), "b. Testing Set": range(55, 82)}
WIDTH = 144
DRAWN = 6  # different eyes; the others repeat them


def write_official_idrid(
    root: Path, width: int = WIDTH, only: Sequence[int] = range(1, 82)
) -> Path:
    """Write the tree below `root`, beside the other two parts of IDRiD.

    `only` are the numbers of its photographs, `width` is theirs.
    """
    part = root / "A. Segmentation"
    eyes = {
        k: _eye(np.random.default_rng((7, k)), width)
        for k in {number % DRAWN for number in only}
    }
    for subset, numbers in SUBSETS.items():
        images = part / "1. Original Images" / subset
        images.mkdir(parents=True)
        truth = part / "2. All Segmentation Groundtruths" / subset
        for folder in FOLDERS.values():
            (truth / folder).mkdir(parents=True)
        for number in sorted({*numbers} & {*only}):
            image, masks = eyes[number % DRAWN]
            name = f"IDRiD_{number:02}"
            Image.fromarray(image).save(images / f"{name}.jpg", quality=92)
            for lesion, mask in masks.items():
                if mask.any():
                    path = truth / FOLDERS[lesion] / f"{name}_{lesion}.tif"
                    _write_mask(path, mask, rgba=subset.startswith("b."))
    # Parts B and C also have original images, but no masks.
    for other in ("B. Disease Grading", "C. Localization"):
        for folder in ("1. Original Images", "2. Groundtruths"):
            (root / other / folder / "a. Training Set").mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(
            root / other / "1. Original Images/a. Training Set/IDRiD_001.jpg"
        )
    return part


def _eye(rng, width):
    image, masks = fundus(rng, width, ("MA", "HE", "EX", "SE"))
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    disc = np.hypot(y - image.shape[0] / 2, x - width / 3) < width / 16
    return image, {**masks, "OD": disc.astype(np.uint8)}


def _write_mask(path, mask, rgba):
    if rgba:
        pixels = np.zeros((*mask.shape, 4), np.uint8)
        pixels[..., 0] = mask * 255
        pixels[..., 3] = 255
        Image.fromarray(pixels).save(path, compression="tiff_lzw")
    else:
        image = Image.fromarray(mask.astype(np.uint8)).convert("P")
        image.putdata(mask.ravel().tolist())
        image.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
        image.save(path, compression="tiff_adobe_deflate")
