"""The figures of a protocol, from the records of its trainings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop.evaluation import calibration as reliability
from randrop.evaluation import metrics, run_record
from randrop.prediction.maps import LEVELS

DRAWS = 2000

_EDGES = np.arange(1, 11) / 10
"""Calibration is measured on pixels with a probability of at least 0.1: the others are
right by being nearly 0, and outnumber them a thousand times."""


def calibration(measured: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return how far probabilities are from the shares of lesion pixels.

    Parameters
    ----------
    measured : sequence of mapping
        One lesion type in the records of several folds.

    Returns
    -------
    dict
        `sum_ratio`: the sum of all probabilities, divided by the number of lesion
        pixels; 1 is right. `error`: the expected calibration error, the mean distance
        of probability and share over the pixels with a probability of at least 0.1,
        nine bins; None if there is none.
    """
    levels, counts = [], []
    for own in measured:
        edges = np.append(run_record.edges(own), LEVELS)
        levels.append((edges[:-1] + edges[1:] - 1) / 2 / (LEVELS - 1))
        counts.append(np.sum(list(run_record.histograms(own).values()), axis=0))
    p, both = np.concatenate(levels), np.concatenate(counts, axis=1)
    likely = p >= _EDGES[0]
    return {
        "sum_ratio": float((p * both.sum(0)).sum() / max(both[1].sum(), 1)),
        "error": reliability.expected_error(
            *reliability.binned(_EDGES, p[likely], both[:, likely])
        ),
    }


def nested(
    ours: Sequence[Mapping[str, NDArray[np.int64]]],
    theirs: Sequence[Mapping[str, NDArray[np.int64]]] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return bootstrapped means over folds of the average precision or its difference.

    Each draw takes folds (with their seeds) with replacement, and in each of them
    photographs with replacement: both kinds of chance are in the spread. Two losses
    are compared on the same photographs in every draw.

    Parameters
    ----------
    ours, theirs : sequence of mapping
        One mapping of photograph to histogram (2, B) per fold, the same folds in both.
    draws, seed : int

    Returns
    -------
    ndarray (draws,)
        NaN for a draw without a lesion.
    """
    rng = np.random.default_rng(seed)
    sets = [ours] if theirs is None else [ours, theirs]
    stacks = [[np.stack(list(fold.values())) for fold in one] for one in sets]
    found = np.empty(draws)
    for k in range(draws):
        values = []
        for fold in rng.integers(len(ours), size=len(ours)):
            count = len(stacks[0][fold])
            times = np.bincount(rng.integers(count, size=count), minlength=count)
            precision = [
                _precision(np.tensordot(times, one[fold], axes=1)) for one in stacks
            ]
            values.append(precision[0] - (precision[1] if theirs is not None else 0))
        found[k] = np.mean(values)
    return found


def of_loss(
    records: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Return the figures of one loss, and its difference to the reference.

    Parameters
    ----------
    records : sequence of mapping
        The records of its folds, in order, at its own learning rate.
    others : sequence of mapping, optional
        Those of the reference; the folds that both have are compared.

    Returns
    -------
    dict
        Lesion type to `folds` (average precision of each), `mean`, `interval`,
        `froc_score`, `calibration`, `confusion` and, with `others`, `difference`,
        `difference_interval`, `better` and `common`: on how many of the common folds it
        is above the reference.
    """
    result = {}
    for lesion in records[0]["lesions"]:
        own = [record["lesions"][lesion] for record in records]
        precisions = [one["average_precision"] for one in own]
        cell: dict[str, Any] = {
            "folds": precisions,
            "mean": float(np.mean(precisions)),
            "interval": metrics.interval(
                nested([run_record.histograms(one) for one in own])
            ),
            "froc_score": float(np.mean([one["froc_score"] for one in own])),
            "calibration": calibration(own),
            "confusion": _mean_confusion([one["confusion"] for one in own]),
        }
        if others is not None:
            common = [
                (one, other)
                for one in records
                for other in others
                if one["fold"] == other["fold"]
            ]
            pairs = [
                tuple(record["lesions"][lesion] for record in pair) for pair in common
            ]
            gains = [
                one["average_precision"] - other["average_precision"]
                for one, other in pairs
            ]
            drawn = nested(
                [run_record.histograms(one) for one, _ in pairs],
                [run_record.histograms(other) for _, other in pairs],
            )
            cell |= {
                "difference": float(np.mean(gains)),
                "difference_interval": metrics.interval(drawn),
                "better": sum(gain > 0 for gain in gains),
                "common": len(gains),
            }
        result[lesion] = cell
    return result


def growth(record: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Return the precision on the validation photographs at each point of the curve."""
    lesions = next(iter(record["curve"].values()))
    return {
        name: [point[name] for point in record["curve"].values()] for name in lesions
    }


def mean_growth(
    records: Sequence[Mapping[str, Any]],
) -> dict[str, list[float | None]]:
    """Return the mean over folds of `growth`."""
    found = [growth(record) for record in records]
    return {
        name: [
            None if None in values else float(np.mean(values))
            for values in zip(*(own[name] for own in found), strict=True)
        ]
        for name in found[0]
    }


def _mean_confusion(found: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    known = [one for one in found if one is not None]
    if not known:
        return None
    return {
        "precision": float(np.mean([one["precision"] for one in known])),
        **{
            key: {
                name: float(np.mean([one[key][name] for one in known]))
                for name in known[0][key]
            }
            for key in ("false_per_true", "without")
        },
    }


def _precision(counts: NDArray[np.int64]) -> float:
    found = metrics.curve(counts)
    return metrics.average_precision(found) if found.positives else float("nan")
