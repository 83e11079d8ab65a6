"""A phantom data set on disk: photographs, masks, split, manifest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from randrop.data.cases import LESIONS
from randrop.data.phantom import fundus
from randrop.data.regions import regions
from randrop.errors import UserError
from randrop.files import building, schema, write_json
from randrop.files.documents import PhantomManifest
from randrop.pycaffe import processes

VERSION = 1
"""Rises when the drawing changes, so that old sets are told from new ones."""


def write_phantom(
    folder: Path,
    images: int = 32,
    size: int = 512,
    seed: int = 0,
    lesions: Sequence[str] = ("MA", "HE"),
    validation_share: float = 0.25,
    workers: int = 2,
) -> dict[str, Any]:
    """Write a phantom data set, atomically.

    Parameters
    ----------
    folder : Path
        Receives images/, masks/<type>/, split.json and manifest.json.
    images : int
        How many, at least 2.
    size : int
        Width in pixels, at least 128.
    seed : int
        Image k depends only on (seed, k), `size` and `lesions`.
    lesions : sequence of str
        From MA, HE, EX, SE.
    validation_share : float
        Share of the images, the last ones, for validation; at least one.
    workers : int
        Drawing processes.

    Returns
    -------
    dict
        The manifest. If the set exists, it is left alone; another phantom of ours is
        replaced.

    Raises
    ------
    UserError
        If a parameter is out of range, the folder holds something else, or it cannot
        be written.
    """
    unknown = sorted(set(lesions) - set(LESIONS))
    if unknown or not lesions:
        raise UserError(
            f"unknown lesions {', '.join(unknown)}: choose from {', '.join(LESIONS)}"
        )
    if images < 2 or size < 128 or not 0 < validation_share < 1 or seed < 0:
        raise UserError(
            f"images is {images} (at least 2), size {size} (at least 128), seed {seed} "
            f"(at least 0), validation share {validation_share} (between 0 and 1)"
        )
    settings = {"generator": "randrop phantom", "version": VERSION, "images": images}
    settings |= {"size": size, "seed": seed, "lesions": list(lesions)}
    settings["validation_share"] = validation_share
    known = _manifest(folder)
    if known is not None and {k: known.get(k) for k in settings} == settings:
        return known
    with building(folder, "make_phantom") as temporary:
        manifest = settings | {"cases": _draw(temporary, settings, workers)}
        names = list(manifest["cases"])
        held_out = max(1, round(validation_share * images))
        write_json(
            temporary / "split.json",
            {"train": names[:-held_out], "validation": names[-held_out:]},
        )
        write_json(temporary / "manifest.json", manifest)
    return manifest


def _manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / "manifest.json"
    found = schema.generated(path, "randrop phantom")
    return found and schema.check(
        found, PhantomManifest, f"{path}", "it is damaged: choose a new folder"
    )


def _draw(folder: Path, settings: dict[str, Any], workers: int) -> dict[str, Any]:
    (folder / "images").mkdir(parents=True)
    for lesion in settings["lesions"]:
        (folder / "masks" / lesion).mkdir(parents=True)
    arguments = [(folder, settings, k) for k in range(settings["images"])]
    with processes.pool(workers) as pool:
        drawn = tqdm(
            pool.map(_draw_one, arguments),
            "drawing",
            len(arguments),
            unit="image",
            disable=None,
        )
        return dict(drawn)


def _draw_one(arguments: tuple[Path, dict[str, Any], int]) -> tuple[str, Any]:
    folder, settings, k = arguments
    name = f"phantom_{k:04}"
    rng = np.random.default_rng((settings["seed"], k))
    image, masks = fundus(rng, settings["size"], tuple(settings["lesions"]))
    # The format of cameras; at this quality, lesions of two pixels survive.
    _write(
        folder / "images" / f"{name}.jpg",
        cv2.imencode(
            ".jpg",
            cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, 95],
        )[1],
    )
    counts = {}
    for lesion, mask in masks.items():
        path = folder / "masks" / lesion / f"{name}_{lesion}.png"
        _write(path, cv2.imencode(".png", mask * 255)[1])
        counts[lesion] = {
            "pixels": int(mask.sum()),
            "count": regions(mask)[1],
        }
    return name, counts


def _write(path: Path, content: np.ndarray) -> None:
    # OpenCV's own writer does not report a full disk.
    path.write_bytes(content.tobytes())
