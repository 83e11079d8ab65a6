"""Measuring the probability maps of a data set against its masks."""

import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from randrop.data import Case
from randrop.errors import UserError
from randrop.evaluation import calibration, metrics
from randrop.evaluation.lesions import (
    RATES,
    Detections,
    detect,
    froc,
    froc_curve,
    froc_score,
    overlap,
    sensitivities,
)
from randrop.files import schema
from randrop.files.documents import Prediction
from randrop.files.locks import check_idle
from randrop.prediction import maps
from randrop.pycaffe import processes

log = logging.getLogger("randrop")


class Measured(NamedTuple):
    """The measurements.

    Attributes
    ----------
    lesions : dict
        Lesion type to its measures; see `metrics.summary`.
    histograms : dict
        Lesion type to the pooled histogram, (2, 65536).
    coarse : dict
        Lesion type to the histogram of each photograph in bins, see `metrics.coarse`.
    detections : dict
        Lesion type to the `lesions.Detections` of each photograph.
    """

    lesions: dict[str, dict]
    histograms: dict[str, NDArray[np.int64]]
    coarse: dict[str, list[NDArray[np.int64]]]
    detections: dict[str, list[Detections]]


def measure(
    cases: Sequence[Case], lesions: Sequence[str], root: Path, workers: int = 1
) -> Measured:
    """Measure the maps `root/<lesion>/<name>.png` against the masks of `cases`.

    All pixels of all photographs are pooled per lesion type. Photographs without a mask
    of the type count: every detection there is a false alarm. Photographs in which
    nobody looked for the type do not count.

    Raises
    ------
    UserError
        If maps are missing or do not match their masks, or no mask has a lesion.
    """
    check_maps(cases, lesions, root)
    pooled = {name: np.zeros((2, maps.LEVELS), np.int64) for name in lesions}
    kept: dict[str, list] = {name: [] for name in lesions}
    detections: dict[str, list] = {name: [] for name in lesions}
    images: dict[str, dict] = {name: {} for name in lesions}
    bits = set()
    one = functools.partial(_parts, lesions=lesions, root=root)
    parts = processes.mapped(one, cases, workers)
    bar = tqdm(cases, desc="evaluate", unit="photo", disable=None)
    for case, found in zip(bar, parts, strict=True):
        for lesion, depth, compact, detected in found:
            counts = compact.whole()
            bits.add(depth)
            pooled[lesion] += counts
            kept[lesion].append(compact)
            detections[lesion].append(detected)
            own = metrics.summary(counts)
            images[lesion][case.name] = {
                key: own[key] for key in ("positives", "average_precision")
            }
    if not any(counts[1].any() for counts in pooled.values()):
        raise UserError(
            f"no mask of the {len(cases)} photograph(s) has a lesion of the types "
            f"{' '.join(lesions)}, so there is nothing to measure: check the folders "
            "and names of the masks, or choose another --subset"
        )
    if 8 in bits:
        log.warning(
            "Some maps have 8 bits per pixel. Their 256 levels make a coarse curve, "
            "which may lower average precision; scripts/predict.py writes 16 bits"
        )
    coarse = {lesion: metrics.coarse(counts) for lesion, counts in kept.items()}
    results = {}
    for lesion, counts in pooled.items():
        own = images[lesion].values()
        results[lesion] = {
            **metrics.summary(counts),
            "average_precision_95": metrics.interval(metrics.resampled(coarse[lesion])),
            "mean_average_precision": _mean(
                [image["average_precision"] for image in own]
            ),
            "froc": _froc(detections[lesion]),
            "calibration": calibration.measures(counts),
            "images": len(own),
            "images_with_lesion": sum(image["positives"] > 0 for image in own),
            "map_bits": sorted(bits),
            "per_image": images[lesion],
        }
    if "EX" in results and results["EX"]["positives"]:
        results["EX"]["overlap"] = _overlap(cases, root, results["EX"]["threshold"])
    return Measured(results, pooled, coarse, detections)


def _parts(
    case: Case, lesions: Sequence[str], root: Path
) -> list[tuple[str, int, metrics.Compact, Detections]]:
    """Return what is measured of one photograph: type, bits, histogram, detections."""
    return [
        (lesion, depth, metrics.Compact.of(counts), detect(levels, mask))
        for lesion, levels, depth, mask, counts in counted(case, lesions, root)
    ]


def looked_for(cases: Sequence[Case], lesions: Sequence[str]) -> list[str]:
    """Return the types that somebody looked for in at least one photograph.

    Warns of the others: their maps cannot be measured.

    Raises
    ------
    UserError
        If that leaves none.
    """
    known = [x for x in lesions if any(x not in case.unknown for case in cases)]
    left = [lesion for lesion in lesions if lesion not in known]
    if not known:
        raise UserError(
            f"nobody looked for {' or '.join(lesions)} in the {len(cases)} "
            "photograph(s), so there is nothing to measure: choose other --lesions or "
            "another --subset"
        )
    if left:
        log.warning(
            "%s not measured: nobody looked for it in the %d photograph(s)",
            *(f"{' and '.join(left)} {'is' if len(left) == 1 else 'are'}", len(cases)),
        )
    return known


def counted(case: Case, lesions: Sequence[str], root: Path) -> Iterator[tuple]:
    """Yield type, levels, bits, mask and histogram per type looked for in a case."""
    looked_for = [lesion for lesion in lesions if lesion not in case.unknown]
    masks = case.masks(looked_for) if looked_for else ()
    for lesion, mask in zip(looked_for, masks, strict=True):
        path = maps.path_of(root, lesion, case.name)
        levels, depth = maps.read_map(path)
        try:
            counts = metrics.histogram(levels, mask)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        yield lesion, levels, depth, mask, counts


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean over the photographs with lesions."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _froc(found: Sequence[Detections]) -> dict | None:
    """Return the lesion-level measures of a type; None without a lesion."""
    count = sum(one.lesions.size for one in found)
    if not count:
        return None
    curve = froc_curve(found)
    return {
        "score": froc_score(found),
        "score_95": curve.pop("score_95"),
        "alarms_per_photograph": RATES,
        "sensitivity": sensitivities(froc(found)).tolist(),
        "lesions": count,
        "curve": curve,
    }


def _overlap(cases: Sequence[Case], root: Path, threshold: float) -> dict:
    """Measure exudates as regions, at the threshold of the largest F1."""
    level = round(threshold * (maps.LEVELS - 1))
    total = np.zeros(4, int)
    for case in cases:
        if "EX" not in case.unknown:
            levels, _ = maps.read_map(maps.path_of(root, "EX", case.name))
            total += overlap(levels >= level, case.masks(("EX",))[0])
    hits, lesions, right, regions = map(int, total)
    return {
        "sensitivity": hits / max(lesions, 1),
        "precision": right / regions if regions else 1.0,
        "lesions": lesions,
        "regions": regions,
    }


def compare(ours: Measured, theirs: Measured) -> dict[str, dict]:
    """Return how much better ours is per lesion type, with 95 % intervals.

    Both were measured on the same photographs; see `metrics.resampled`.
    """
    result = {}
    for lesion, own in ours.lesions.items():
        other = theirs.lesions.get(lesion)
        if other is None or not own["positives"]:
            continue
        result[lesion] = {
            "average_precision": own["average_precision"] - other["average_precision"],
            "average_precision_95": metrics.interval(
                metrics.minus(
                    *(metrics.resampled(m.coarse[lesion]) for m in (ours, theirs))
                )
            ),
            "froc_score": own["froc"]["score"] - other["froc"]["score"],
        }
    return result


def coarse_histograms(
    cases: Sequence[Case], lesions: Sequence[str], root: Path
) -> dict[str, list[NDArray[np.int64]]]:
    """Return the coarse histograms of photographs by lesion type, for `resampled`.

    Each type skips photographs in which nobody looked for it.

    Raises
    ------
    UserError
        If maps are missing.
    """
    check_maps(cases, lesions, root)
    kept: dict[str, list] = {lesion: [] for lesion in lesions}
    for case in cases:
        for lesion, *_, counts in counted(case, lesions, root):
            kept[lesion].append(metrics.Compact.of(counts))
    return {lesion: metrics.coarse(counts) for lesion, counts in kept.items()}


def pooled(
    cases: Sequence[Case], lesions: Sequence[str], root: Path
) -> dict[str, NDArray[np.int64]]:
    """Return the histogram of each type over all photographs, (2, 65536).

    Raises
    ------
    UserError
        If maps are missing or do not match their masks.
    """
    check_maps(cases, lesions, root)
    found = {lesion: np.zeros((2, maps.LEVELS), np.int64) for lesion in lesions}
    for case in cases:
        for lesion, *_, counts in counted(case, lesions, root):
            found[lesion] += counts
    return found


def check_maps(cases: Sequence[Case], lesions: Sequence[str], root: Path) -> None:
    """Check that all maps exist before long work.

    Raises
    ------
    UserError
        Gives the number of missing maps and the first names; also while maps are being
        written, and for maps that are left from another prediction than the one that
        prediction.json records.
    """
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder: give the output folder of scripts/predict.py"
        )
    check_idle(root)
    paths = [maps.path_of(root, lesion, c.name) for lesion in lesions for c in cases]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        more = ", ..." if len(missing) > 5 else ""
        raise UserError(
            f"{len(missing)} of {len(paths)} probability maps are missing: "
            f"{', '.join(missing[:5])}{more}; predict them with scripts/predict.py, "
            "or choose a --subset and --lesions that have maps"
        )
    record = root / "prediction.json"
    if record.is_file():
        _check_recorded(cases, lesions, record)


def _check_recorded(cases: Sequence[Case], lesions: Sequence[str], path: Path) -> None:
    """Refuse maps that are left from an earlier prediction into the same folder."""
    record = schema.read_json(path, Prediction, "predict again, or remove the file")
    left = [lesion for lesion in lesions if lesion not in record["lesions"]]
    left += [case.name for case in cases if case.name not in record["seconds"]]
    if left:
        more = ", ..." if len(left) > 5 else ""
        raise UserError(
            f"{path} records no prediction of {', '.join(left[:5])}{more}: these maps "
            "are of another prediction: predict all again, or choose a --subset and "
            "--lesions that were predicted together"
        )


def telling(result: dict) -> dict[str, str]:
    """Choose photographs to show: best, median and worst by average precision.

    Parameters
    ----------
    result : dict
        Measures of one lesion type.

    Returns
    -------
    dict of str to str
        Label, such as "best", to the name of the photograph; only photographs with
        lesions, each at most once.
    """
    ranked = sorted(
        (image["average_precision"], name)
        for name, image in result["per_image"].items()
        if image["average_precision"] is not None
    )
    if len(ranked) == 1:
        return {"the only one": ranked[0][1]}
    if not ranked:
        return {}
    chosen: dict[str, str] = {}
    for which, at in (("best", -1), ("median", len(ranked) // 2), ("worst", 0)):
        name = ranked[at][1]
        if name not in chosen.values():
            chosen[which] = name
    return chosen
