"""Average precision and FROC of snapshots on whole validation photographs.

`validation.json` of a run has a point for each snapshot that was validated. Points are
never estimated from patches: each photograph is predicted as scripts/predict.py does,
all pixels of all photographs are pooled, and the measures are those of
scripts/evaluate.py. The snapshot with the highest mean average precision is kept as
`best.caffemodel`.
"""

import dataclasses
import json
import logging
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from randrop.data import Case, read_dataset
from randrop.errors import UserError
from randrop.evaluation import lesions as by_lesion
from randrop.evaluation import metrics
from randrop.files import schema, write_bytes, write_json
from randrop.files.documents import Validation, read_run
from randrop.prediction import maps, networks, predicting
from randrop.training import snapshots

log = logging.getLogger(__name__)

FILE = "validation.json"
BEST = "best.caffemodel"

SHARE = 0.1
"""Of the time of a training, what validations may take where no interval is given."""

COST = 0.5
"""Time to predict and measure a pixel, in times to train on one.

A training step is about three forward passes; tiles overlap by a quarter of their area,
and reading and measuring take a part, too.
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """When a training is validated, and on what.

    Attributes
    ----------
    every : int
        Iterations between validations.
    last : int
        The last iteration, which is validated, too.
    names : tuple of str
        The photographs.
    gpu : bool
        Predict on the first GPU.
    """

    every: int
    last: int
    names: tuple[str, ...]
    gpu: bool = False

    def includes(self, state: Path) -> bool:
        """Return whether a snapshot is to be validated."""
        at = snapshots.iteration_of(state)
        return at == self.last or at % self.every == 0


def plan_of(settings: Mapping[str, Any], always: bool = False) -> Plan | None:
    """Return the plan that the settings of a run give; None without validation.

    Parameters
    ----------
    settings : mapping
        As run.json holds them.
    always : bool
        Also return one if validation during the training was turned off.
    """
    every, last = settings.get("validate_every", 0), settings["iterations"]
    if settings.get("labels") or not (every or always):
        return None
    dataset = read_dataset(settings["data"], settings["split"])
    cases = chosen(dataset.subset("validation"), settings["validate_photographs"])
    names = tuple(case.name for case in cases)
    return Plan(every or last, last, names, settings["gpu"])


def chosen(cases: Sequence[Case], count: int) -> tuple[Case, ...]:
    """Return at most `count` photographs, evenly spaced, always the same ones."""
    if count >= len(cases):
        return tuple(cases)
    return tuple(cases[k * len(cases) // count] for k in range(count))


def interval(cases: Sequence[Case], pixels: int, snapshot: int, iterations: int) -> int:
    """Return the iterations between validations that keep them below `SHARE`.

    Parameters
    ----------
    cases : sequence of Case
        The photographs of a validation.
    pixels : int
        Pixels of an iteration.
    snapshot : int
        Iterations between snapshots, of which the result is a multiple.
    iterations : int
        Of the training; the result is at most the first multiple above it.
    """
    each = COST * sum(height * width for height, width in (c.size() for c in cases))
    times = math.ceil(each / (SHARE * snapshot * pixels))
    return snapshot * max(1, min(times, math.ceil(iterations / snapshot)))


def measure(
    run: Path, weights: Path, names: Sequence[str], gpu: bool = False
) -> dict[str, dict[str, float | None]]:
    """Measure weights of a run on photographs of its validation set.

    Parameters
    ----------
    run : Path
        Folder of a training.
    weights : Path
        A caffemodel of its network.
    names : sequence of str
        Photographs of the validation set.
    gpu : bool

    Returns
    -------
    dict
        Lesion type to `average_precision` and `froc_score`; None for a type without a
        lesion in the photographs, and for one that nobody looked for there.

    Raises
    ------
    UserError
        If photographs, masks or weights cannot be read.
    """
    network = networks.trained(run, weights=weights)
    data = network.facts["data"]
    dataset = read_dataset(data, networks.split_of(network.facts, data))
    wanted = set(names)
    cases = [case for case in dataset.subset("validation") if case.name in wanted]
    loaded = networks.opened(network, "caffe", gpu)
    options = predicting.tiled(predicting.Options({}, gpu=gpu), loaded)
    pooled = {name: np.zeros((2, maps.LEVELS), np.int64) for name in network.channels}
    found: dict[str, list] = {name: [] for name in network.channels}
    for case in cases:
        image = case.image()
        scale = predicting.scale_of(case.name, image, options, network)
        probability = predicting.probability_of(image, scale, loaded, options)
        known = [name for name in network.channels if name not in case.unknown]
        for lesion, mask in zip(known, case.masks(known) if known else (), strict=True):
            levels = maps.levels_of(probability[network.channels.index(lesion)])
            pooled[lesion] += metrics.histogram(levels, mask)
            found[lesion].append(by_lesion.detect(levels, mask))
    return {
        lesion: {
            "average_precision": metrics.average_precision(metrics.curve(counts)),
            "froc_score": by_lesion.froc_score(found[lesion]),
        }
        if counts[1].any()
        else {"average_precision": None, "froc_score": None}
        for lesion, counts in pooled.items()
    }


def mean(lesions: Mapping[str, Mapping[str, float | None]]) -> float | None:
    """Return the mean average precision over the lesion types that have one."""
    known = [own["average_precision"] for own in lesions.values()]
    known = [value for value in known if value is not None]
    return float(np.mean(known)) if known else None


def main() -> None:
    """Measure and print the result as JSON: the child process of a training."""
    # Not at the solver's cost, if there are fewer processors than programs.
    os.nice(5)
    cv2.setNumThreads(1)
    asked = json.loads(sys.argv[1])
    began = time.perf_counter()
    try:
        lesions = measure(
            *(Path(asked["run"]), Path(asked["weights"])),
            *(asked["photographs"], asked["gpu"]),
        )
    except UserError as error:
        sys.exit(f"error: {error}")
    seconds = round(time.perf_counter() - began, 2)
    print(json.dumps({"lesions": lesions, "seconds": seconds}))


def read(run: Path) -> dict[str, Any]:
    """Return the content of validation.json; without a point if there is none.

    A damaged file counts as none: its points are measured again.
    """
    path = run / FILE
    if path.exists():
        try:
            return schema.read_json(path, Validation, "")
        except UserError as error:
            log.warning("%s; the snapshots are validated again", error)
    return {"photographs": [], "points": []}


def add(run: Path, plan: Plan, point: Mapping[str, Any]) -> None:
    """Add a point to validation.json, and keep the best snapshot."""
    found = read(run)
    if found["photographs"] != list(plan.names):
        found = {"photographs": list(plan.names), "points": []}
    points = {one["iteration"]: one for one in found["points"]}
    points[point["iteration"]] = dict(point)
    found["points"] = [points[iteration] for iteration in sorted(points)]
    write_json(run / FILE, found)
    keep_best(run)


def pending(run: Path, plan: Plan, until: int) -> list[Path]:
    """Return the snapshots up to an iteration that lack a point, oldest first."""
    found = read(run)
    known = {}
    if found["photographs"] == list(plan.names):
        known = {one["iteration"]: one["weights_sha256"] for one in found["points"]}
    return [
        state
        for state in reversed(snapshots.states(run))
        if plan.includes(state)
        and (at := snapshots.iteration_of(state)) <= until
        and snapshots.is_sealed(state)
        and known.get(at) != snapshots.digest_of(state.with_suffix(".caffemodel"))
    ]


def best_of(points: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the point with the highest mean average precision; the first of equals.

    None if no point has one.
    """
    known = [one for one in points if one["mean_average_precision"] is not None]
    best = max(known, key=lambda one: one["mean_average_precision"], default=None)
    return best and dict(best)


def keep_best(run: Path) -> None:
    """Write the best snapshot as best.caffemodel, and its measures into run.json."""
    best = best_of(read(run)["points"])
    if not best:
        return
    del best["seconds"]
    settings = read_run(run, "train again")
    path = run / BEST
    if settings.get("best") == best and snapshots.is_sealed(path):
        return
    model = (
        run / "snapshots" / f"{snapshots.PREFIX}_iter_{best['iteration']}.caffemodel"
    )
    if not model.is_file() or snapshots.digest_of(model) != best["weights_sha256"]:
        log.warning("%s is gone: %s stays as it was", model, path)
        return
    write_bytes(path, snapshots.weights_of(model))
    snapshots.seal(path)
    write_json(run / "run.json", settings | {"best": best})


def curves(run: Path) -> dict[str, dict[str, list[list[float]]]]:
    """Return what curves.json has of the validations.

    Returns
    -------
    dict
        `average_precision` and `froc_score`: lesion type to a list of [iteration,
        value].
    """
    found: dict[str, dict[str, list]] = {"average_precision": {}, "froc_score": {}}
    for point in read(run)["points"]:
        for lesion, own in point["lesions"].items():
            for name, value in own.items():
                if value is not None:
                    line = found[name].setdefault(lesion, [])
                    line.append([point["iteration"], value])
    return found


def in_words(lesions: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return measures as `measure` gives them as a line for people."""
    parts = [
        f"{lesion} average precision {own['average_precision']:.4f}, FROC "
        f"{own['froc_score']:.3f}"
        for lesion, own in lesions.items()
        if own["average_precision"] is not None
    ]
    return "; ".join(parts) or "no lesion in the photographs"


def sentence(point: Mapping[str, Any]) -> str:
    """Return a point as a line for people."""
    return (
        f"randrop.validation: iteration {point['iteration']}: "
        f"{in_words(point['lesions'])} ({point['seconds']} s)"
    )
