"""Measures of predictions on a set of images: confidence, overlap, calibration."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop.data import IGNORE_LABEL
from randrop.evaluation import calibration, metrics
from randrop.prediction.maps import LEVELS
from randrop.surface.recording import BINS


class Channel:
    """Sums over the pixels of one channel, from which all measures follow.

    Pixels that are ignored do not count. Sums are in double precision.
    """

    def __init__(self) -> None:
        # By truth (0, 1): pixels, sum of p, pixels with p >= 0.5.
        self._pixels = np.zeros(2, np.int64)
        self._sum = np.zeros(2)
        self._predicted = np.zeros(2, np.int64)
        # By bin of p: pixels, sum of p, positives.
        self._bins = np.zeros((3, BINS))
        self._levels = np.zeros((2, LEVELS), np.int64)
        self._finite = True

    def add(self, probability: NDArray[np.floating], truth: NDArray[np.uint8]) -> None:
        """Add the pixels of an image.

        Parameters
        ----------
        probability : floating (H, W)
        truth : uint8 (H, W)
            0, 1, or 255 where ignored.
        """
        valid = truth != IGNORE_LABEL
        p = probability[valid].astype(np.float64)
        y = truth[valid] == 1
        if not np.isfinite(p).all():
            self._finite = False
            return
        for value in (0, 1):
            own = p[y == value]
            self._pixels[value] += own.size
            self._sum[value] += own.sum()
            self._predicted[value] += np.count_nonzero(own >= 0.5)
        where = np.minimum((p * BINS).astype(np.intp), BINS - 1)
        for row, weights in enumerate((None, p, y)):
            self._bins[row] += np.bincount(where, weights, BINS)
        levels = np.rint(p * (LEVELS - 1)).astype(np.uint16)
        self._levels += metrics.histogram(levels, y)

    def measures(self) -> dict[str, Any]:
        """Return the measures; None where one is undefined.

        accuracy: share of pixels on the right side of p = 0.5. iou: with m the truth,
        sum m p / (sum m + sum p - sum m p). confidence_foreground, _background: mean
        probability of the true class there. average_precision: of p rounded to 1/65535.
        ece: expected calibration error, the mean of |mean p - share of positives| over
        `BINS` equal bins, weighted by their pixels. reliability: of each bin, mean p
        (confidence), share of positives (frequency) and pixels (count).

        References
        ----------
        C. Guo et al. On calibration of modern neural networks. ICML 2017,
        arXiv:1706.04599, equation 3 (there for the predicted class, here for p of this
        channel).
        """
        count, total, positives = self._bins
        edges = [k / BINS for k in range(BINS + 1)]
        names = ("accuracy", "iou", "confidence_foreground", "confidence_background")
        found = dict.fromkeys((*names, "average_precision", "ece"))
        if not self._finite or not self._pixels.sum():
            nothing = np.zeros(BINS)
            curve = calibration.reliability(edges, nothing, nothing, nothing)
            return found | {"reliability": curve}
        back, fore = self._pixels
        right = back - self._predicted[0] + self._predicted[1]
        found["accuracy"] = right / (back + fore)
        if fore:
            found["iou"] = self._sum[1] / (fore + self._sum[0])
            found["confidence_foreground"] = self._sum[1] / fore
            found["average_precision"] = metrics.average_precision(
                metrics.curve(self._levels)
            )
        if back:
            found["confidence_background"] = 1 - self._sum[0] / back
        found["ece"] = calibration.expected_error(count, total, positives)
        found = {
            name: None if value is None else float(value)
            for name, value in found.items()
        }
        curve = calibration.reliability(edges, count, total, positives)
        return found | {"reliability": curve}


def mean(values: list[float]) -> float | None:
    """Return the mean; None if there is no value, or one is not finite."""
    return float(np.mean(values)) if values and np.isfinite(values).all() else None
