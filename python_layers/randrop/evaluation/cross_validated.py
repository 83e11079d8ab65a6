"""Figures of a cross-validated model: everything chosen on other folds."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from randrop.data import Case
from randrop.errors import UserError
from randrop.evaluation import calibration, metrics, operating, photographs
from randrop.files import schema
from randrop.files.documents import Prediction
from randrop.prediction.calibration import Platt
from randrop.prediction.maps import LEVELS

log = logging.getLogger("randrop")


class Figures(NamedTuple):
    """The figures of out-of-fold maps.

    Attributes
    ----------
    measured : Measured
        All photographs together.
    thresholds : dict
        Lesion type to the threshold with the largest F1 on all photographs.
    scalings : dict
        Lesion type to the calibration, fitted on all photographs; without types that
        cannot be calibrated, as of a network that hardly trained.
    at_threshold : dict
        Lesion type to the figures of `operating.by_pixels`, where each fold has the
        threshold that is best on the others.
    calibration : dict
        Lesion type to `before`, `after` and `prevalence`, as of
        `calibrating.before_and_after`, where each fold has the scaling that was fitted
        on the others.
    """

    measured: photographs.Measured
    thresholds: dict[str, float]
    scalings: dict[str, Platt]
    at_threshold: dict[str, dict[str, Any]]
    calibration: dict[str, dict[str, Any]]


def measure(
    folds: Sequence[Sequence[Case]], lesions: Sequence[str], root: Path
) -> Figures:
    """Measure out-of-fold maps.

    Parameters
    ----------
    folds : sequence of sequence of Case
        The photographs that each network was not trained on.
    lesions : sequence of str
    root : Path
        Folder of their maps, uncalibrated.

    Raises
    ------
    UserError
        If maps are missing or do not fit, or a type has lesions in one fold at most:
        nothing can be chosen on the others.
    """
    cases = [case for fold in folds for case in fold]
    measured = photographs.measure(cases, lesions, root)
    parts = [photographs.pooled(fold, lesions, root) for fold in folds]
    for lesion in lesions:
        having = sum(bool(part[lesion][1].any()) for part in parts)
        if having < 2:
            raise UserError(
                f"{having} of the folds have a mask with {lesion}, so no threshold can "
                "be chosen on others: train without this type, or give --data in which "
                "it was outlined"
            )
    at_threshold, scalings, checked = {}, {}, {}
    for lesion in lesions:
        own = [part[lesion] for part in parts]
        at_threshold[lesion] = operating.by_folds(
            own,
            _divided(folds, lesion, measured.detections[lesion]),
            [_best(_others(own, k)) for k in range(len(folds))],
        )
        try:
            scalings[lesion] = calibration.fit(measured.histograms[lesion])
            checked[lesion] = _checked(own)
        except UserError as error:
            log.warning("%s is not calibrated: %s", lesion, error)
            scalings.pop(lesion, None)
    best = {lesion: _best(measured.histograms[lesion]) for lesion in lesions}
    return Figures(measured, best, scalings, at_threshold, checked)


def check_maps(root: Path, digest: str, lesions: Sequence[str]) -> bool:
    """Refuse maps that are not the uncalibrated out-of-fold maps of some networks.

    Parameters
    ----------
    root : Path
        Folder of the maps.
    digest : str
        SHA-256 of the ensemble.json of the networks.
    lesions : sequence of str
        The types of the networks.

    Returns
    -------
    bool
        Whether they were predicted with flips.

    Raises
    ------
    UserError
        Names the folder.
    """
    path, again = root / "prediction.json", "predict them with --out-of-fold"
    record = schema.read_json(path, Prediction, again)
    if record.get("calibration"):
        raise UserError(f"the maps in {root} are calibrated: {again} --uncalibrated")
    if not record.get("out_of_fold"):
        raise UserError(
            f"the maps in {root} are of networks that were trained on the photographs: "
            f"{again}"
        )
    if record["weights_sha256"] != digest:
        raise UserError(
            f"the maps in {root} are of another cross-validation, or of an earlier "
            f"state of this one: {again}"
        )
    missing = [lesion for lesion in lesions if lesion not in record["lesions"]]
    if missing:
        raise UserError(
            f"the maps in {root} are without {', '.join(missing)}, and a model is "
            f"measured with all its types: {again} and without --lesions"
        )
    return bool(record.get("flips"))


def _others(parts: Sequence[NDArray[np.int64]], fold: int) -> NDArray[np.int64]:
    return sum(part for k, part in enumerate(parts) if k != fold)


def _best(counts: NDArray[np.int64]) -> float:
    return metrics.best_f1_level(metrics.curve(counts)) / (LEVELS - 1)


def _divided(
    folds: Sequence[Sequence[Case]], lesion: str, found: Sequence[Any]
) -> list[list[Any]]:
    """Return what was found in photographs by fold; unknown types have nothing."""
    rest = iter(found)
    return [
        [next(rest) for case in fold if lesion not in case.unknown] for fold in folds
    ]


def _checked(parts: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    before = sum(parts)
    after = sum(
        calibration.scaled(part, calibration.fit(_others(parts, k)))
        for k, part in enumerate(parts)
    )
    return {
        "before": calibration.measures(before),
        "after": calibration.measures(after),
        "prevalence": float(before[1].sum() / before.sum()),
    }
