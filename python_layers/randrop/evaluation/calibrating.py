"""Calibrating a trained network on photographs, and storing that in its run.json."""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop.data import Case
from randrop.errors import UserError
from randrop.evaluation import calibration, photographs
from randrop.files import ownership, reading, replacing, schema
from randrop.files.documents import Prediction
from randrop.prediction import networks, predicting
from randrop.prediction.calibration import Platt, of_facts

log = logging.getLogger("randrop")

Histograms = Mapping[str, NDArray[np.int64]]


def histograms(
    cases: Sequence[Case], network: networks.Trained, options: predicting.Options
) -> dict[str, NDArray[np.int64]]:
    """Predict photographs, and return the histogram of each type over all of them.

    Raises
    ------
    UserError
        If a photograph cannot be predicted or a mask not be read.
    """
    with tempfile.TemporaryDirectory() as work:
        predicting.predict(cases, network, options, Path(work))
        return photographs.pooled(cases, tuple(options.thresholds), Path(work))


def check_uncalibrated(root: Path) -> None:
    """Refuse maps that predict.py calibrated already.

    Raises
    ------
    UserError
        Names the folder.
    """
    path = root / "prediction.json"
    if not path.exists():
        return
    record = schema.read_json(path, Prediction, "predict again, or remove the file")
    if record.get("calibration"):
        raise UserError(
            f"the maps in {root} are calibrated: predict them with --uncalibrated"
        )


def fits(found: Histograms) -> dict[str, Platt]:
    """Return the scaling of each type.

    Raises
    ------
    UserError
        Names the type that cannot be calibrated.
    """
    scalings = {}
    for lesion, counts in found.items():
        try:
            scalings[lesion] = calibration.fit(counts)
        except UserError as error:
            raise UserError(
                f"{lesion}: {error}; or name the others with --lesions"
            ) from error
    return scalings


def before_and_after(
    found: Histograms, scalings: Mapping[str, Platt]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the `calibration.measures` of each type, uncalibrated and calibrated."""
    return {
        lesion: {
            "before": calibration.measures(found[lesion]),
            "after": calibration.measures(calibration.scaled(found[lesion], scaling)),
            "prevalence": float(found[lesion][1].sum() / found[lesion].sum()),
        }
        for lesion, scaling in scalings.items()
    }


def changed(
    facts: Mapping[str, Any], scalings: Mapping[str, Platt], digest: str, **about: Any
) -> dict[str, Any]:
    """Return a run.json with a calibration; a type that is not given loses its own.

    Parameters
    ----------
    facts : mapping
        The content of run.json.
    scalings : mapping of str to Platt
    digest : str
        SHA-256 of the weights.
    **about
        What else the calibration tells of itself.

    Returns
    -------
    dict
        Its thresholds call the same pixels as before.
    """
    old = of_facts(facts)
    if facts.get("calibration", {}).get("weights_sha256") == digest:
        # Types that were left out this time stay calibrated.
        scalings = {**old, **scalings}
    same = Platt(1.0, 0.0)
    thresholds = {
        lesion: float(
            scalings.get(lesion, same).apply(old.get(lesion, same).undo(threshold))
        )
        for lesion, threshold in facts.get("thresholds", {}).items()
    }
    return {
        **facts,
        **({"thresholds": thresholds} if thresholds else {}),
        "calibration": {
            "weights_sha256": digest,
            **about,
            "types": {lesion: one._asdict() for lesion, one in scalings.items()},
        },
    }


def store(run: Path, scalings: Mapping[str, Platt], digest: str, **about: Any) -> None:
    """Write a calibration into the run.json of a training or an exported model.

    Raises
    ------
    UserError
        If the weights were replaced meanwhile.
    """
    path = run / "run.json"
    if ownership.sha256(run / "final.caffemodel") != digest:
        raise UserError(
            f"{run / 'final.caffemodel'} was replaced while it was calibrated: run "
            "this again"
        )
    content = changed(networks.read_run(run), scalings, digest, **about)
    # A model that somebody passed on has no list of files; its settings stay.
    with replacing(path, edited=not ownership.is_ours(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def digest_of(network: networks.Trained) -> str:
    """Return the SHA-256 of the weights, which must exist."""
    reading.read_bytes(network.weights, "give the folder of a finished training")
    return ownership.sha256(network.weights)
