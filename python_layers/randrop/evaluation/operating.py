"""What maps call a lesion at fixed thresholds: regions, and types taken for others."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from randrop.data import Case
from randrop.data.cases import STRUCTURES
from randrop.data.regions import regions
from randrop.evaluation import calibration, metrics
from randrop.evaluation.lesions import Detections
from randrop.prediction import maps
from randrop.prediction.maps import LEVELS
from randrop.pycaffe import processes

NOTHING = "nothing"

Masks = Mapping[str, NDArray[np.bool_]]


def level_of(threshold: float) -> int:
    """Return the lowest level that counts as called at a probability."""
    return max(1, round(threshold * (LEVELS - 1)))


def by_pixels(
    histogram: NDArray[np.int64], found: Sequence[Detections], threshold: float
) -> dict[str, float | None]:
    """Return how well one type is found at a threshold fixed in advance.

    Parameters
    ----------
    histogram : ndarray (2, 65536)
        Pooled over photographs.
    found : sequence of Detections
        Of each photograph.
    threshold : float

    Returns
    -------
    dict
        threshold; sensitivity, precision, f1 and iou over pixels; lesions_found, the
        share of lesions with a detection, and alarms_per_photograph, as in FROC. None
        where there is no lesion.
    """
    return {"threshold": threshold, **_figures(_counts(histogram, found, threshold))}


def by_folds(
    histograms: Sequence[NDArray[np.int64]],
    found: Sequence[Sequence[Detections]],
    thresholds: Sequence[float],
) -> dict[str, Any]:
    """Return `by_pixels` over folds that each have a threshold of their own.

    Parameters
    ----------
    histograms : sequence of ndarray (2, 65536)
        Pooled over the photographs of a fold.
    found : sequence of sequence of Detections
    thresholds : sequence of float

    Returns
    -------
    dict
        As of `by_pixels`, of all folds together, but `thresholds` for `threshold`.
    """
    folds = zip(histograms, found, thresholds, strict=True)
    counts = [_counts(*fold) for fold in folds]
    total = _Counts(*(sum(values) for values in zip(*counts, strict=True)))
    return {"thresholds": list(thresholds), **_figures(total)}


class _Counts(NamedTuple):
    hits: int
    alarms: int
    positives: int
    lesions: int
    lesions_found: int
    false_regions: int
    photographs: int


def _counts(
    histogram: NDArray[np.int64], found: Sequence[Detections], threshold: float
) -> _Counts:
    level = level_of(threshold)
    curve = metrics.curve(histogram)
    lesions = [one.lesions for one in found]
    return _Counts(
        int(curve.hits[level]),
        int(curve.alarms[level]),
        curve.positives,
        sum(one.size for one in lesions),
        sum(int(np.sum(one >= level)) for one in lesions),
        sum(int(np.sum(one.alarms >= level)) for one in found),
        len(found),
    )


def _figures(counts: _Counts) -> dict[str, float | None]:
    called = counts.hits + counts.alarms
    precision = counts.hits / called if called else 1.0
    recall = counts.hits / max(counts.positives, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-12)
    result = {
        "sensitivity": recall,
        "precision": precision,
        "f1": f1,
        "iou": f1 / (2 - f1),
        "lesions_found": (
            counts.lesions_found / counts.lesions if counts.lesions else None
        ),
        "alarms_per_photograph": counts.false_regions / max(counts.photographs, 1),
    }
    if not counts.positives:
        result |= dict.fromkeys(("sensitivity", "f1", "iou"))
    return result


class Compared(NamedTuple):
    """The regions and pixels of one mask, and what others have there.

    Attributes
    ----------
    count : int
        Regions, R.
    pixels, region : ndarray (N,)
        Flat index of each pixel of the mask, and the number of its region.
    inside : dict of str to ndarray (N,), bool
        By mask, which of these pixels it has, too.
    touched : dict of str to ndarray (R,), bool
        By mask, which of these regions share a pixel with it.
    """

    count: int
    pixels: NDArray[np.intp]
    region: NDArray[np.intp]
    inside: dict[str, NDArray[np.bool_]]
    touched: dict[str, NDArray[np.bool_]]


def compare(what: NDArray[np.bool_], others: Masks) -> Compared:
    """Compare one mask, (H, W), with others of its shape."""
    labels, count = regions(what)
    # Only the few pixels in regions: a photograph has a dozen million.
    pixels = np.flatnonzero(labels)
    region = labels.ravel()[pixels] - 1
    inside = {name: other.ravel()[pixels] for name, other in others.items()}
    touched = {
        name: np.bincount(region, hits, count) > 0 for name, hits in inside.items()
    }
    return Compared(count, pixels, region, inside, touched)


def pooled_regions(
    touched: Sequence[NDArray], right: Sequence[NDArray], highest: Sequence[NDArray]
) -> dict[str, Any]:
    """Return the figures of one type region by region, over several photographs.

    Parameters
    ----------
    touched : sequence of ndarray (L,), bool
        For each lesion of a photograph, whether a called region shares a pixel with it.
    right : sequence of ndarray (R,), bool
        For each called region, whether it shares a pixel with a lesion.
    highest : sequence of ndarray (R,)
        Its highest level.

    Returns
    -------
    dict
        lesions, and how many are touched; called regions, and how many are right;
        sensitivity (None without a lesion), precision (1 if nothing is called) and f1
        of them; ece and reliability of the highest probability in a region, which lists
        of lesions tell, as a probability that the region is right.
    """
    touched, right, highest = (
        np.concatenate([np.zeros(0), *parts]) for parts in (touched, right, highest)
    )
    sensitivity = float(touched.mean()) if touched.size else None
    precision = float(right.mean()) if right.size else 1.0
    f1 = None
    if sensitivity is not None:
        f1 = 2 * precision * sensitivity / max(precision + sensitivity, 1e-12)
    edges = [k / calibration.BINS for k in range(calibration.BINS + 1)]
    # (2, R): each region is a case without or with a lesion.
    cases = np.stack([1 - right, right]).astype(np.int64)
    bins = calibration.binned(edges, highest / (LEVELS - 1), cases)
    return {
        "lesions": int(touched.size),
        "touched": int(touched.sum()),
        "called": int(right.size),
        "right": int(right.sum()),
        "sensitivity": sensitivity,
        "precision": precision,
        "f1": f1,
        "ece": calibration.expected_error(*bins),
        "reliability": calibration.reliability(edges, *bins),
    }


def taken_for(
    called: Mapping[str, Compared], truth: Mapping[str, Compared]
) -> dict[str, dict[str, dict]]:
    """Return what was taken for what in one photograph.

    Parameters
    ----------
    called : mapping of str to Compared
        By lesion type of the maps, what is called it, compared with the truth.
    truth : mapping of str to Compared
        By lesion type, what is it, compared with what is called each type.

    Returns
    -------
    dict
        `pixels` and `regions`, each with `called` and `true`: a row for each type.
        `called[t]`: how many are called t (`all`), are t (`t`), are not t but another
        type (by its name), and are `nothing`. `true[t]`: how many are t (`all`), are
        called t, are not called t but another type, and are called `nothing`. A region
        is another type if they share a pixel; one that shares pixels with several types
        counts for each.
    """
    ways = {"called": called, "true": truth}
    return {
        "pixels": {
            way: {t: _row(one.pixels.size, t, one.inside) for t, one in rows.items()}
            for way, rows in ways.items()
        },
        "regions": {
            way: {t: _row(one.count, t, one.touched) for t, one in rows.items()}
            for way, rows in ways.items()
        },
    }


def _row(count: int, name: str, are: Masks) -> dict[str, int]:
    """Return how many of `count` cases are each type, themselves first."""
    right = are.get(name, np.zeros(count, bool))
    row = {"all": int(count)}
    if name in are:
        row[name] = int(right.sum())
    row |= {t: int((mask & ~right).sum()) for t, mask in are.items() if t != name}
    any_of = np.logical_or.reduce([right, *are.values()])
    return row | {NOTHING: int(count - any_of.sum())}


def added(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of dictionaries with the same keys, whose leaves are numbers."""
    first = rows[0]
    return {
        key: added([row[key] for row in rows])
        if isinstance(value, Mapping)
        else sum(row[key] for row in rows)
        for key, value in first.items()
    }


def measure(
    cases: Sequence[Case],
    root: Path,
    thresholds: Mapping[str, float],
    workers: int = 1,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """Measure maps at thresholds, region by region, and what was taken for what.

    Parameters
    ----------
    cases : sequence of Case
    root : Path
        Folder of the maps.
    thresholds : mapping of str to float
        By lesion type.
    workers : int
        Processes.

    Returns
    -------
    regions : dict
        Lesion type to `pooled_regions` over the photographs in which it was looked for.
    confusion : dict or None
        As `taken_for`, over the photographs in which all these types were looked for;
        the truth has all types with a mask there, too. photographs: their number. None
        if there is no such photograph.
    """
    kinds = _kinds(cases, tuple(thresholds))
    found: dict[str, list] = {lesion: [] for lesion in thresholds}
    confused = []
    one = functools.partial(_parts, root=root, thresholds=thresholds, kinds=kinds)
    parts = processes.mapped(one, cases, workers)
    for rows, taken in tqdm(
        parts, "regions", total=len(cases), unit="photo", disable=None
    ):
        for lesion, row in rows.items():
            found[lesion].append(row)
        confused += [taken] if taken else []
    pooled = {
        lesion: pooled_regions(*(zip(*rows, strict=True) if rows else ((),) * 3))
        for lesion, rows in found.items()
    }
    if not confused:
        return pooled, None
    return pooled, {"photographs": len(confused), **added(confused)}


def _parts(
    case: Case,
    root: Path,
    thresholds: Mapping[str, float],
    kinds: Sequence[str],
) -> tuple[dict[str, tuple], dict[str, Any] | None]:
    """Return what is measured of one photograph.

    Returns
    -------
    rows : dict
        Lesion type to its part of what `pooled_regions` takes.
    taken : dict or None
        As `taken_for`; None if one of the types is unknown there.
    """
    wanted = [t for t in STRUCTURES if t in {*kinds, *thresholds} - {*case.unknown}]
    if not wanted:
        return {}, None
    pairs = zip(wanted, case.masks(wanted), strict=True)
    masks = {t: mask != 0 for t, mask in pairs}
    levels = {
        t: maps.read_map(maps.path_of(root, t, case.name))[0]
        for t in thresholds
        if t in masks
    }
    reached = {t: own >= level_of(thresholds[t]) for t, own in levels.items()}
    called = {t: compare(mask, masks) for t, mask in reached.items()}
    truth = {t: compare(mask, reached) for t, mask in masks.items()}
    rows = {}
    for t, own in called.items():
        highest = np.zeros(own.count, np.uint16)
        np.maximum.at(highest, own.region, levels[t].ravel()[own.pixels])
        rows[t] = (truth[t].touched[t], own.touched[t], highest)
    if not kinds or set(kinds) - set(masks):
        return rows, None
    return rows, taken_for(called, {t: truth[t] for t in kinds})


def _kinds(cases: Sequence[Case], lesions: Sequence[str]) -> tuple[str, ...]:
    """Return the types of the truth in a confusion, those of the maps first.

    Photographs in which one of the maps' types is unknown do not take part. Of the
    other types, those take part that have a mask and are unknown in none of them.
    """
    known = [case for case in cases if not case.unknown & set(lesions)]
    if not known:
        return ()
    others = [
        kind
        for kind in STRUCTURES
        if kind not in lesions
        and any(kind in case.mask_paths for case in known)
        and not any(kind in case.unknown for case in known)
    ]
    return (*lesions, *others)
