"""How well probabilities find lesion pixels: everything from one histogram.

A 16-bit probability map has 65536 levels. The counts of lesion pixels and of other
pixels at each level, summed over all photographs, determine the precision-recall curve
exactly: hundreds of megapixels take one megabyte.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.prediction.maps import LEVELS

FEWEST = 5
"""Photographs with lesions that an interval needs."""

CHALLENGE_STEP = 8 * LEVELS // 256


class Curve(NamedTuple):
    """Pixel counts when each level and all above it are predicted as lesion.

    Attributes
    ----------
    hits, alarms : ndarray (65536,), int64
        True and false positives of the threshold "level >= index".
    positives, pixels : int
        Lesion pixels, and all pixels.
    """

    hits: NDArray[np.int64]
    alarms: NDArray[np.int64]
    positives: int
    pixels: int


def histogram(levels: NDArray[np.uint16], mask: NDArray) -> NDArray[np.int64]:
    """Count pixels by truth and level. Histograms of several photographs add up.

    Parameters
    ----------
    levels : ndarray (H, W), uint16
        Probability x 65535.
    mask : ndarray (H, W)
        Nonzero where there is a lesion.

    Returns
    -------
    ndarray (2, 65536), int64
        Pixels without and with lesion at each level.

    Raises
    ------
    UserError
        If the shapes differ.
    """
    if levels.shape != mask.shape:
        raise UserError(
            f"the probability map is {levels.shape[1]} x {levels.shape[0]} pixels, "
            f"the mask {mask.shape[1]} x {mask.shape[0]}: predict from the "
            "photographs of these masks, at the same size"
        )
    total = np.bincount(levels.ravel(), minlength=LEVELS)
    lesion = np.bincount(levels[mask != 0], minlength=LEVELS)
    return np.stack([total - lesion, lesion])


def curve(counts: NDArray[np.int64]) -> Curve:
    """Return true and false positives at every threshold from a histogram."""
    alarms, hits = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    return Curve(hits, alarms, int(hits[0]), int(hits[0] + alarms[0]))


def precision_recall(
    hits: NDArray[np.int64], alarms: NDArray[np.int64], positives: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision (1 if nothing is predicted) and recall."""
    predicted = hits + alarms
    precision = np.where(predicted == 0, 1.0, hits / np.maximum(predicted, 1))
    return precision, hits / max(positives, 1)


def aupr_challenge(c: Curve) -> float:
    """Return the area under the precision-recall curve as in the IDRiD challenge.

    33 thresholds (0, 8, ..., 256) / 256, the trapezoid rule over (recall, precision).
    At 256 / 256 nothing is predicted, so the curve ends in (0, 1), even when
    probabilities are rounded to 1.

    References
    ----------
    P. Porwal et al. IDRiD: Diabetic Retinopathy - Segmentation and Grading Challenge.
    Medical Image Analysis 59, 101561, 2020.
    """
    at = np.arange(0, LEVELS, CHALLENGE_STEP)
    hits, alarms = np.append(c.hits[at], 0), np.append(c.alarms[at], 0)
    precision, recall = precision_recall(hits, alarms, c.positives)
    return float(np.trapezoid(precision[::-1], recall[::-1]))


def average_precision(c: Curve) -> float:
    """Return the exact average precision, as scikit-learn defines it.

    The sum of precision x increase of recall over all thresholds, not interpolated.
    """
    precision, recall = precision_recall(c.hits, c.alarms, c.positives)
    return float(np.sum(precision * (recall - np.append(recall[1:], 0))))


def best_f1_level(c: Curve) -> int:
    """Return the level with the largest F1 score; the highest of equal ones."""
    return LEVELS - 1 - int(np.argmax(_f1(c)[::-1]))


def summary(counts: NDArray[np.int64]) -> dict:
    """Derive all measures from a histogram.

    Parameters
    ----------
    counts : ndarray (2, 65536), int64
        From `histogram`, summed over photographs.

    Returns
    -------
    dict
        positives, pixels : int; prevalence, which equals the average precision of a
        constant; aupr_challenge; average_precision; best_f1, and at its threshold
        (probability) iou, sensitivity and precision. Without a lesion pixel these are
        None, and `undefined` gives the reason.
    """
    c = curve(counts)
    result: dict = {
        "positives": c.positives,
        "pixels": c.pixels,
        "prevalence": c.positives / max(c.pixels, 1),
    }
    names = ("aupr_challenge", "average_precision", "best_f1", "threshold")
    names += ("iou", "sensitivity", "precision")
    if not c.positives:
        return {
            **result,
            **dict.fromkeys(names),
            "undefined": "no mask has a pixel of this lesion type",
        }
    level = best_f1_level(c)
    precision, recall = precision_recall(c.hits, c.alarms, c.positives)
    f1 = float(_f1(c)[level])
    values = (aupr_challenge(c), average_precision(c), f1, level / (LEVELS - 1))
    values += (f1 / (2 - f1), float(recall[level]), float(precision[level]))
    return result | dict(zip(names, values, strict=True))


def thinned(c: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall and precision for drawing: one point per change of recall."""
    precision, recall = precision_recall(c.hits, c.alarms, c.positives)
    keep = np.append(np.diff(recall) != 0, True)
    return recall[keep][::-1], precision[keep][::-1]


def edges_of(counts: NDArray[np.int64], most: int = 2048) -> NDArray[np.intp]:
    """Return the first level of each bin that a histogram can be summed into.

    The average precision is a sum over the levels with lesion pixels. Where these are
    at most `most`, a bin begins at each and nothing is lost; else each bin has about
    the same share of the lesion. Either way the bins follow the ranking of the pixels
    alone: probabilities that rank them equally have equal bins.

    Parameters
    ----------
    counts : ndarray (2, 65536), int64
        Of all photographs together.
    most : int

    Returns
    -------
    ndarray (B,), ascending, from 0
    """
    levels = np.flatnonzero(counts[1])
    if levels.size > most:
        own = counts[1, levels]
        share = (np.cumsum(own) - own) * most // own.sum()
        levels = levels[np.unique(share, return_index=True)[1]]
    return np.unique(np.append(levels, 0))


def binned(counts: NDArray[np.int64], edges: NDArray[np.intp]) -> NDArray[np.int64]:
    """Sum a histogram (2, 65536) into bins with these first levels."""
    return np.add.reduceat(counts, edges, axis=1)


class Compact(NamedTuple):
    """The part of a histogram that is not 0, to keep one per photograph.

    Attributes
    ----------
    at : ndarray (n,)
        Indices into the flattened histogram.
    counts : ndarray (n,), int64
    """

    at: NDArray[np.intp]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> "Compact":
        """Return the compact form of a histogram (2, 65536)."""
        at = np.flatnonzero(counts)
        return cls(at, counts.ravel()[at])

    def whole(self) -> NDArray[np.int64]:
        """Return the histogram (2, 65536)."""
        counts = np.zeros(2 * LEVELS, np.int64)
        counts[self.at] = self.counts
        return counts.reshape(2, LEVELS)


def coarse(kept: Sequence[Compact]) -> list[NDArray[np.int64]]:
    """Return the histograms of photographs in bins that fit all of them together.

    Parameters
    ----------
    kept : sequence of Compact

    Returns
    -------
    list of ndarray (2, B), int64
    """
    if not kept:
        return []
    edges = edges_of(sum(one.whole() for one in kept))
    return [binned(one.whole(), edges) for one in kept]


def _drawn(photographs: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Return how often each photograph is drawn, (draws, photographs)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(photographs, np.full(photographs, 1 / photographs), draws)


def resampled(
    histograms: Sequence[NDArray[np.int64]], draws: int = 1000, seed: int = 0
) -> NDArray[np.float64] | None:
    """Return the average precision of photographs drawn with replacement.

    Photographs, not pixels, are drawn: pixels of one eye are not independent. Two
    models are compared on the same photographs in every draw, so that what is hard for
    both cancels in the difference.

    Parameters
    ----------
    histograms : sequence of ndarray (2, B), int64
        One for each photograph, from `coarse`.
    draws, seed : int
        Number of sets drawn, and the random seed.

    Returns
    -------
    ndarray (draws,) or None
        NaN for a set without a lesion; None for fewer than `FEWEST` photographs with
        lesions, which say little about others.
    """
    with_lesions = sum(bool(counts[1].any()) for counts in histograms)
    if not histograms or with_lesions < FEWEST:
        return None
    times, stack = _drawn(len(histograms), draws, seed), np.stack(histograms)
    # As floats the product goes through BLAS; counts below 2^53 stay exact.
    sums = np.tensordot(times.astype(float), stack.astype(float), axes=1)
    curves = (curve(counts.astype(np.int64)) for counts in sums)
    return np.array([average_precision(c) if c.positives else np.nan for c in curves])


def minus(
    ours: NDArray[np.float64] | None, theirs: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Return the differences of two models, draw by draw; None if either is None."""
    return None if ours is None or theirs is None else ours - theirs


def interval(values: NDArray[np.float64] | None) -> tuple[float, float] | None:
    """Return the 2.5 and 97.5 percentiles of a result of `resampled` or a difference.

    None for None.
    """
    if values is None:
        return None
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def _f1(c: Curve) -> NDArray[np.float64]:
    return 2 * c.hits / np.maximum(c.positives + c.hits + c.alarms, 1)
