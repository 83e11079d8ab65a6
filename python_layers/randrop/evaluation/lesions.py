"""How well a map finds lesions, not pixels: FROC, and overlap for exudates."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from randrop.data.regions import regions
from randrop.evaluation.metrics import FEWEST, interval

RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
"""False alarms per photograph at which sensitivity is averaged."""

DRAWN = tuple(2 ** (k / 3) for k in range(-9, 19))
"""False alarms per photograph at which a curve is drawn: 1/8 to 64."""

SPACING = 0.004
"""Least distance of two detections, in widths of the photograph: that of a small
microaneurysm's diameter."""

COVERED = 0.2
"""Share of an exudate, or of what is called one, that is to be covered by the other."""

_FLOOR = 66  # levels: a probability of 0.001


class Detections(NamedTuple):
    """The detections in one photograph.

    Attributes
    ----------
    lesions : ndarray (L,)
        For each lesion of the mask (an 8-connected region), the highest level of the
        detections in it; 0 without one.
    alarms : ndarray (A,)
        Levels of the detections outside all lesions.
    """

    lesions: NDArray[np.uint16]
    alarms: NDArray[np.uint16]


def detect(levels: NDArray[np.uint16], mask: NDArray) -> Detections:
    """Match the peaks of a probability map with the lesions of a mask.

    A detection is one of `peaks` at `SPACING`; it hits the lesion that contains it.

    Parameters
    ----------
    levels : ndarray (H, W), uint16
        Probability x 65535.
    mask : ndarray (H, W)
        Nonzero where there is a lesion.
    """
    labels, count = regions(mask)
    found = peaks_of(levels)
    values, hit = levels[found], labels[found]
    lesions = np.zeros(count + 1, np.uint16)
    np.maximum.at(lesions, hit, values)
    return Detections(lesions[1:], values[hit == 0])


def peaks_of(levels: NDArray[np.uint16]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the detections in a map: `peaks` at `SPACING`."""
    return peaks(levels, max(1, round(SPACING * levels.shape[1])))


def peaks(
    levels: NDArray[np.uint16], distance: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the local maxima above 0.001, no two of them nearer than `distance`.

    The result equals that of `skimage.feature.peak_local_max`, which takes minutes
    where a map is flat: the highest first; of equal ones the first, row by row.

    Parameters
    ----------
    levels : ndarray (H, W), uint16
        Probability x 65535.
    distance : int
        In pixels, along either axis. A maximum is the highest value within it.

    Returns
    -------
    rows, columns : ndarray (P,)
    """
    highest = cv2.dilate(
        levels, np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    )
    rows, columns = np.nonzero((levels == highest) & (levels > _FLOOR))
    order = np.argsort(-levels[rows, columns].astype(np.int32), kind="stable")
    rows, columns = rows[order], columns[order]
    taken = np.zeros(levels.shape, bool)
    kept = []
    reach = distance - 1
    for k, (y, x) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        if not taken[y, x]:
            kept.append(k)
            top, left = max(0, y - reach), max(0, x - reach)
            taken[top : y + distance, left : x + distance] = True
    return rows[kept], columns[kept]


class Froc(NamedTuple):
    """Sensitivity over false alarms per photograph, from the highest threshold down.

    Attributes
    ----------
    alarms : ndarray (T,)
        False alarms per photograph.
    sensitivity : ndarray (T,)
    levels : ndarray (T,)
        Thresholds; a detection counts at levels up to its own.
    """

    alarms: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    levels: NDArray[np.uint16]


def froc(found: Sequence[Detections]) -> Froc:
    """Return the free-response curve of several photographs.

    References
    ----------
    M. Niemeijer et al. Retinopathy Online Challenge: automatic detection of
    microaneurysms in digital color fundus photographs. IEEE Transactions on Medical
    Imaging 29(1), 2010.
    """
    lesions = np.concatenate([one.lesions for one in found])
    alarms = np.concatenate([one.alarms for one in found])
    levels = np.unique(np.concatenate([lesions[lesions > 0], alarms]))[::-1]
    reached = [
        np.searchsorted(np.sort(values), levels, side="left")
        for values in (alarms, lesions)
    ]
    return Froc(
        (alarms.size - reached[0]) / len(found),
        (lesions.size - reached[1]) / max(lesions.size, 1),
        levels,
    )


def sensitivities(curve: Froc, rates: Sequence[float] = RATES) -> NDArray[np.float64]:
    """Return the sensitivity with at most so many false alarms, for each of `rates`."""
    at = np.searchsorted(curve.alarms, rates, side="right")
    return np.append(0.0, curve.sensitivity)[at]


def froc_score(found: Sequence[Detections]) -> float:
    """Return the mean of `sensitivities`."""
    return float(sensitivities(froc(found)).mean())


def froc_resampled(
    found: Sequence[Detections],
    rates: Sequence[float],
    draws: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64] | None:
    """Return the sensitivities of photographs drawn with replacement.

    Returns
    -------
    ndarray (D, len(rates)) or None
        One row a draw; a draw without a lesion has none. None for fewer than
        `metrics.FEWEST` photographs with lesions.
    """
    if sum(one.lesions.size > 0 for one in found) < FEWEST:
        return None
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        drawn = [found[k] for k in rng.integers(len(found), size=len(found))]
        if any(one.lesions.size for one in drawn):
            rows.append(sensitivities(froc(drawn), rates))
    return np.array(rows)


def froc_interval(
    found: Sequence[Detections], draws: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of the score over photographs.

    None for fewer than `metrics.FEWEST` photographs with lesions.
    """
    rows = froc_resampled(found, RATES, draws, seed)
    return None if rows is None else interval(rows.mean(axis=1))


def froc_curve(
    found: Sequence[Detections], draws: int = 1000, seed: int = 0
) -> dict[str, list[float] | tuple[float, float] | None]:
    """Return the free-response curve with its 95 % bootstrap band, and the score's.

    Returns
    -------
    dict
        alarms_per_photograph, `DRAWN`; sensitivity, low and high at each; score_95.
        low, high and score_95 are None for few photographs with lesions.
    """
    rows = froc_resampled(found, (*RATES, *DRAWN), draws, seed)
    result: dict = {
        "alarms_per_photograph": list(DRAWN),
        "sensitivity": sensitivities(froc(found), DRAWN).tolist(),
        **dict.fromkeys(("low", "high", "score_95")),
    }
    if rows is not None:
        low, high = np.percentile(rows[:, len(RATES) :], (2.5, 97.5), axis=0)
        result |= {"low": low.tolist(), "high": high.tolist()}
        result["score_95"] = interval(rows[:, : len(RATES)].mean(axis=1))
    return result


class Overlap(NamedTuple):
    """Regions of a mask and of the prediction at one threshold.

    Attributes
    ----------
    hits, lesions : int
        Lesions of which more than `COVERED` is predicted, and all lesions.
    right, regions : int
        Predicted regions of which more than `COVERED` is lesion, and all regions.
    """

    hits: int
    lesions: int
    right: int
    regions: int


def overlap(predicted: NDArray, mask: NDArray) -> Overlap:
    """Count lesions and predicted regions that cover each other, as for exudates.

    References
    ----------
    X. Zhang et al. Exudate detection in color retinal images for mass screening of
    diabetic retinopathy. Medical Image Analysis 18(7), 2014, section 4.1.
    """
    hits, lesions = _covered(mask != 0, predicted != 0)
    right, regions = _covered(predicted != 0, mask != 0)
    return Overlap(hits, lesions, right, regions)


def _covered(what: NDArray[np.bool_], by: NDArray[np.bool_]) -> tuple[int, int]:
    labels, count = regions(what)
    size = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    common = np.bincount(labels[by], minlength=count + 1)[1:]
    return int(np.count_nonzero(common > COVERED * size)), count
