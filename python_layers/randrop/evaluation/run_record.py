"""What a protocol keeps of one training: small, and enough to analyse again.

Maps of a run take tens of megabytes. Their histograms by photograph, in bins that are
even in the logit, take some kilobytes and still give average precision, calibration
and their intervals over photographs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from randrop.data import Case
from randrop.evaluation import metrics, photographs
from randrop.evaluation.lesions import detect, froc_score
from randrop.prediction import maps

RECALL = 0.5
"""Recall at which false pixels are counted: the same for every loss."""

NOTHING = "elsewhere"
"""Pixels on no lesion of any type."""

_QUANTILES = 200
_LIMIT = 11.0  # logit of the outermost levels


def edges_of(counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the first level of each bin for a run.

    Average precision is a sum over bins of the precision at a bin's end: no bin may
    hold much of the lesion. Calibration wants bins that are narrow everywhere.

    Parameters
    ----------
    counts : ndarray (2, 65536), int64
        Of all photographs of the run.

    Returns
    -------
    ndarray (B,)
        From 0: steps of the logit, and the quantiles of the lesion's pixels.
    """
    logit = np.linspace(-_LIMIT, _LIMIT, 45)
    even = np.rint((maps.LEVELS - 1) / (1 + np.exp(-logit))).astype(np.intp)
    share = np.cumsum(counts[1]) / max(counts[1].sum(), 1)
    cuts = np.searchsorted(share, np.linspace(0, 1, _QUANTILES + 1)[1:-1])
    return np.unique(np.concatenate([[0], even, cuts]))


class Kinds(NamedTuple):
    """Pixels of photographs by level and by what they lie on.

    Attributes
    ----------
    names : tuple of str
        The lesion type itself, the other types, and NOTHING.
    counts : ndarray (len(names), 65536), int64
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]


def by_kind(
    levels: NDArray[np.uint16], masks: Mapping[str, NDArray], lesion: str
) -> Kinds:
    """Count the pixels of a map by level and by what they lie on.

    Parameters
    ----------
    levels : ndarray (H, W), uint16
        Probability x 65535 of `lesion`.
    masks : mapping of str to ndarray (H, W)
        Every lesion type's mask. Where they overlap, a pixel counts as `lesion`, else
        as the first type.
    lesion : str

    Returns
    -------
    Kinds
    """
    names = (lesion, *(name for name in masks if name != lesion), NOTHING)
    kind = np.full(levels.shape, len(names) - 1, np.uint8)
    for k in reversed(range(len(names) - 1)):
        kind[masks[names[k]] != 0] = k
    joint = kind.ravel().astype(np.int64) * maps.LEVELS + levels.ravel()
    counts = np.bincount(joint, minlength=len(names) * maps.LEVELS)
    return Kinds(names, counts.reshape(len(names), maps.LEVELS))


def confusion(found: Kinds, recall: float = RECALL) -> dict[str, Any] | None:
    """Return what the false pixels lie on, at a given recall.

    Parameters
    ----------
    found : Kinds
        Summed over photographs.
    recall : float
        The threshold is the highest that finds this share of the lesion's pixels.

    Returns
    -------
    dict or None
        `threshold`, `precision`, `false_per_true` (for each other kind, its pixels
        above the threshold, divided by the lesion's) and `without` (for each other
        kind, the average precision if its pixels are left out). None without a lesion.
    """
    positives = int(found.counts[0].sum())
    if not positives:
        return None
    above = np.cumsum(found.counts[:, ::-1], axis=1)[:, ::-1]
    level = int(np.flatnonzero(above[0] >= recall * positives)[-1])
    hits = int(above[0, level])
    false = above[1:, level]
    without = {
        name: metrics.average_precision(
            metrics.curve(
                np.stack(
                    [np.delete(found.counts, (0, k), axis=0).sum(0), found.counts[0]]
                )
            )
        )
        for k, name in enumerate(found.names[1:-1], 1)
    }
    return {
        "threshold": level / (maps.LEVELS - 1),
        "precision": hits / (hits + int(false.sum())),
        "false_per_true": {
            name: int(count) / hits
            for name, count in zip(found.names[1:], false, strict=True)
        },
        "without": without,
    }


def of_maps(
    cases: Sequence[Case], lesions: Sequence[str], types: Sequence[str], root: Path
) -> dict[str, dict[str, Any]]:
    """Measure the maps of a run.

    Parameters
    ----------
    cases : sequence of Case
        Photographs that were annotated for all of `types`.
    lesions : sequence of str
        The types that the network finds.
    types : sequence of str
        All types that pixels can lie on.
    root : Path
        Folder of the maps.

    Returns
    -------
    dict
        Lesion type to `average_precision`, `froc_score`, `confusion` (see there) and
        `photographs`: name to the pixels without and with the lesion in each bin;
        `edges` has the first level of each. Numbers are a text, with blanks between:
        `histograms` and `edges` read them.

    Raises
    ------
    UserError
        If maps are missing or do not fit.
    """
    photographs.check_maps(cases, lesions, root)
    kinds: dict[str, list[Kinds]] = {lesion: [] for lesion in lesions}
    detections: dict[str, list] = {lesion: [] for lesion in lesions}
    for case in tqdm(cases, desc="record", unit="photo", disable=None):
        masks = dict(zip(types, case.masks(types), strict=True))
        for lesion in lesions:
            levels, _ = maps.read_map(maps.path_of(root, lesion, case.name))
            kinds[lesion].append(by_kind(levels, masks, lesion))
            detections[lesion].append(detect(levels, masks[lesion]))
    names = [case.name for case in cases]
    return {
        lesion: _of_lesion(names, kinds[lesion])
        | {"froc_score": froc_score(detections[lesion])}
        for lesion in lesions
    }


def _of_lesion(names: Sequence[str], found: Sequence[Kinds]) -> dict[str, Any]:
    whole = Kinds(found[0].names, sum(own.counts for own in found))
    cuts = edges_of(two(whole))
    return {
        "average_precision": _precision(two(whole)),
        "confusion": confusion(whole),
        "edges": _text(cuts),
        "photographs": {
            name: [_text(row) for row in metrics.binned(two(own), cuts)]
            for name, own in zip(names, found, strict=True)
        },
    }


def histograms(measured: Mapping[str, Any]) -> dict[str, NDArray[np.int64]]:
    """Return the histogram (2, B) of each photograph, of one type in a record."""
    return {
        name: np.stack([_numbers(row) for row in rows])
        for name, rows in measured["photographs"].items()
    }


def edges(measured: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the first level of each bin, (B,), of one type in a record."""
    return _numbers(measured["edges"])


def _text(numbers: NDArray) -> str:
    """Return numbers on one line: JSON would give each a line of its own."""
    return " ".join(map(str, numbers.tolist()))


def _numbers(text: str) -> NDArray[np.int64]:
    return np.array(text.split(), np.int64)


def two(kinds: Kinds) -> NDArray[np.int64]:
    """Return the histogram (2, 65536) of pixels without and with the lesion."""
    return np.stack([kinds.counts[1:].sum(0), kinds.counts[0]])


def _precision(counts: NDArray[np.int64]) -> float | None:
    found = metrics.curve(counts)
    return metrics.average_precision(found) if found.positives else None
