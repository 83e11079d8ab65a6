"""A prediction as a list of lesions, by photograph or as one table."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from randrop.data.regions import regions
from randrop.files import write_text

COLUMNS = {
    **{name: name for name in ("type", "x", "y", "pixels")},
    **{name: name for name in ("left", "top", "width", "height")},
    "mean_probability": "mean_probability",
    "probability": "max_probability",
}
"""Keys of the list, and the heads of the table's columns after the photograph."""


def called(
    values: NDArray[np.float32], threshold: float, fewest: int = 1
) -> NDArray[np.bool_]:
    """Return where a type is listed: regions of at least `fewest` pixels, (H, W)."""
    reached = values >= threshold
    if fewest < 2:
        return reached
    labels, count = regions(reached)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= fewest
    large[0] = False
    return large[labels]


def lesions_in(
    probability: Mapping[str, NDArray[np.float32]],
    thresholds: Mapping[str, float],
    smallest: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """List the regions that reach the threshold of their type.

    Parameters
    ----------
    probability : mapping of str to ndarray (H, W)
        By lesion type.
    thresholds : mapping of str to float
        By lesion type.
    smallest : mapping of str to int, optional
        By lesion type, the fewest pixels of a region that is listed; 1 by default.

    Returns
    -------
    list of dict
        type; x, y, the centre of mass in pixels from the left and the top; left, top,
        width, height of the bounding box; pixels; probability, the largest in the
        region, and mean_probability. Sorted from most to least probable.
    """
    found = []
    for lesion, values in probability.items():
        fewest = (smallest or {}).get(lesion, 1)
        labels, count = regions(called(values, thresholds[lesion], fewest))
        if not count:
            continue
        # Only for the few pixels in regions: a photograph has a dozen million.
        rows, columns = np.nonzero(labels)
        region = labels[rows, columns] - 1
        sizes = np.bincount(region)
        ys, xs = (np.bincount(region, at) / sizes for at in (rows, columns))
        own = values[rows, columns]
        surest = np.zeros(count, values.dtype)
        np.maximum.at(surest, region, own)
        means = np.bincount(region, own) / sizes
        boxes = scipy.ndimage.find_objects(labels)
        for box, size, most, mean, y, x in zip(
            boxes, sizes, surest, means, ys, xs, strict=True
        ):
            found.append(
                {
                    "type": lesion,
                    "x": round(float(x), 1),
                    "y": round(float(y), 1),
                    "left": box[1].start,
                    "top": box[0].start,
                    "width": box[1].stop - box[1].start,
                    "height": box[0].stop - box[0].start,
                    "pixels": int(size),
                    "probability": round(float(most), 4),
                    "mean_probability": round(float(mean), 4),
                }
            )
    return sorted(found, key=lambda lesion: -lesion["probability"])


def write_table(path: Path, lists: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the lesions of several photographs as CSV, a row a lesion.

    Parameters
    ----------
    path : Path
    lists : mapping of str to sequence of dict
        File name of the photograph to the result of `lesions_in`.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("photograph", *COLUMNS.values()))
    for photograph, lesions in lists.items():
        rows.writerows((photograph, *(one[key] for key in COLUMNS)) for one in lesions)
    write_text(path, text.getvalue())
