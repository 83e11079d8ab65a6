"""Small drawn sets in the folders of e-ophtha and DDR, as they are distributed."""

import numpy as np
from PIL import Image

SIZE = (150, 200)


def photograph(path, seed=0, colour=(180, 90, 40)):
    """Write a disc of one colour on black as a fundus photograph."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: SIZE[0], : SIZE[1]]
    eye = np.hypot(y - SIZE[0] / 2, x - SIZE[1] / 2) < 65
    image = np.where(eye[..., None], colour, 3).astype(float)
    image += rng.normal(0, 2, image.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=95)


def mask(path, *pixels, value=255):
    """Write a mask with these pixels (y, x)."""
    content = np.zeros(SIZE, np.uint8)
    for pixel in pixels:
        content[pixel] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(content).save(path)


def eophtha(root):
    for lesion, patients in (("MA", ("E01", "E02")), ("EX", ("E02", "E03"))):
        part = root / f"e_optha_{lesion}"
        for patient in patients:
            photograph(part / lesion / patient / "C1.jpg")
            suffix = "" if lesion == "MA" else "_EX"
            mask(part / f"Annotation_{lesion}" / patient / f"C1{suffix}.png", (70, 99))
        photograph(part / "healthy" / f"H{lesion}" / "DS1.JPG")
    return root


def ddr(root):
    for subset, labels in (
        ("train", "label"), ("valid", "segmentation label"), ("test", "label"),
    ):  # fmt: skip
        for k in range(2):
            name = f"{subset}{k}"
            photograph(root / "lesion_segmentation" / subset / "image" / f"{name}.jpg")
            for lesion in ("MA", "HE", "EX", "SE"):
                where = root / "lesion_segmentation" / subset / labels / lesion
                mask(where / f"{name}.tif", *([(70, 99)] if lesion == "EX" else []))
    return root
