"""A prediction as a list of lesions and as a picture."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from randrop.data.contact_sheet import COLOURS
from randrop.data.regions import regions


def lesions_in(
    probability: Mapping[str, NDArray[np.float32]], thresholds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """List the regions that reach the threshold of their type.

    Parameters
    ----------
    probability : mapping of str to ndarray (H, W)
        By lesion type.
    thresholds : mapping of str to float
        By lesion type.

    Returns
    -------
    list of dict
        type; x, y, the centre of mass in pixels from the left and the top; left, top,
        width, height of the bounding box; pixels; probability, the largest in the
        region. Sorted from most to least probable.
    """
    found = []
    for lesion, values in probability.items():
        labels, count = regions(values >= thresholds[lesion])
        if not count:
            continue
        # Only for the few pixels in regions: a photograph has a dozen million.
        rows, columns = np.nonzero(labels)
        region = labels[rows, columns] - 1
        sizes = np.bincount(region)
        ys, xs = (np.bincount(region, at) / sizes for at in (rows, columns))
        surest = np.zeros(count, values.dtype)
        np.maximum.at(surest, region, values[rows, columns])
        boxes = ndimage.find_objects(labels)
        for box, size, most, y, x in zip(boxes, sizes, surest, ys, xs, strict=True):
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
                }
            )
    return sorted(found, key=lambda lesion: -lesion["probability"])


def overlay(
    image: NDArray[np.uint8],
    probability: Mapping[str, NDArray[np.float32]],
    thresholds: Mapping[str, float],
) -> NDArray[np.uint8]:
    """Return a photograph, RGB, with outlined regions of each type.

    Lines are drawn around a region, not on it, and are thicker on larger photographs.
    """
    picture = image.copy()
    width = 1 + max(image.shape) // 1000
    kernel = np.ones((2 * width + 3, 2 * width + 3), np.uint8)
    for lesion, values in probability.items():
        region = (values >= thresholds[lesion]).astype(np.uint8)
        room = cv2.dilate(region, np.ones((3, 3), np.uint8))
        picture[cv2.dilate(region, kernel) > room] = COLOURS[lesion]
    return picture
