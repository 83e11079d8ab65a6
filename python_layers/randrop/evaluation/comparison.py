"""The numbers of a comparison of losses over seeds and photographs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from randrop.evaluation import metrics

Histograms = Mapping[str, Sequence[NDArray[np.int64]]]
"""Lesion type to the coarse histogram of each photograph."""


def measures(measured: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the measures of a metrics.json that are compared.

    Parameters
    ----------
    measured : mapping
        As written by scripts/evaluate.py or scripts/evaluate_labels.py.

    Returns
    -------
    dict of str to float or None
        Larger is better; None if undefined.
    """
    if "labels" in measured:
        found = {"mean Dice": measured["mean_dice"], "mean IoU": measured["mean_iou"]}
        names = list(measured["labels"])[1:]
        return found | {f"Dice {n}": measured["labels"][n]["dice"] for n in names}
    return {
        f"{lesion} {name}": result[key]
        for lesion, result in measured["lesions"].items()
        for name, key in (
            ("average precision", "average_precision"),
            ("AUPR (33 thresholds)", "aupr_challenge"),
        )
    } | {
        f"{lesion} FROC score": (result["froc"] or {}).get("score")
        for lesion, result in measured["lesions"].items()
    }


def mean_average_precision(measures: Mapping[str, float | None]) -> float | None:
    """Return the mean over the lesion types that have one."""
    known = [
        value
        for name, value in measures.items()
        if name.endswith(" average precision") and value is not None
    ]
    return float(np.mean(known)) if known else None


def summary(
    runs: Sequence[Mapping[str, Any]], reference: str | None = None
) -> dict[str, Any]:
    """Summarise runs: mean and spread of each loss, and paired differences.

    Parameters
    ----------
    runs : sequence of mapping
        Each with `loss`, `seed` and `measures`.
    reference : str, optional
        The loss that the others are compared with; the first by default.

    Returns
    -------
    dict
        `losses`: loss to measure to {mean, sd, seeds}; sd is the standard deviation
        over seeds (n - 1), None for one seed. `reference`: the loss that the others are
        compared with. `differences`: each other loss to measure to {mean, low, high,
        better, seeds}: the mean over the seeds that both have, its 95 % interval by
        Student's t (None for one seed), and the number of seeds where it is above 0.
    """
    table: dict[str, dict[int, Mapping[str, float | None]]] = {}
    for run in runs:
        table.setdefault(run["loss"], {})[run["seed"]] = run["measures"]
    if reference not in table:
        reference = next(iter(table), None)
    result: dict[str, Any] = {"losses": {}, "reference": reference, "differences": {}}
    names = list(dict.fromkeys(itertools.chain(*(run["measures"] for run in runs))))
    for loss, by_seed in table.items():
        result["losses"][loss] = {
            name: _spread([by_seed[s].get(name) for s in by_seed]) for name in names
        }
        if loss == reference:
            continue
        both = [seed for seed in by_seed if seed in table[reference]]
        result["differences"][loss] = {
            name: _difference(
                [by_seed[s].get(name) for s in both],
                [table[reference][s].get(name) for s in both],
            )
            for name in names
        }
    return result


def by_photographs(
    histograms: Mapping[str, Sequence[Histograms]], reference: str
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return average precisions with intervals over photographs, not over seeds.

    Two or three seeds say little about how well a figure generalises to other
    photographs; the measured photographs do.

    Parameters
    ----------
    histograms : mapping of str to sequence of mapping
        Loss to one mapping per seed, with the photographs always in the same order.
    reference : str
        The loss that the others are compared with.

    Returns
    -------
    dict
        Loss to lesion type to {mean, interval, difference, difference_interval} of the
        average precision: means over the seeds; 95 % bootstrap intervals (None for few
        photographs), where both losses see the same photographs in every draw.
    """
    first = next(iter(histograms.values()))[0]
    # Without a lesion of a type, its precision is undefined.
    lesions = [x for x in first if any(counts[1].any() for counts in first[x])]
    means: dict[str, dict[str, float]] = {}
    drawn: dict[str, dict[str, Any]] = {}
    for loss, seeds in histograms.items():
        means[loss], drawn[loss] = {}, {}
        for lesion in lesions:
            found = [metrics.resampled(seed[lesion]) for seed in seeds]
            drawn[loss][lesion] = None if found[0] is None else np.mean(found, axis=0)
            pooled = (metrics.curve(sum(seed[lesion])) for seed in seeds)
            means[loss][lesion] = float(
                np.mean([metrics.average_precision(c) for c in pooled])
            )
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for loss in histograms:
        result[loss] = {}
        for lesion in lesions:
            own, other = drawn[loss][lesion], drawn[reference][lesion]
            result[loss][lesion] = {
                "mean": means[loss][lesion],
                "interval": metrics.interval(own),
            }
            if loss != reference:
                result[loss][lesion] |= {
                    "difference": means[loss][lesion] - means[reference][lesion],
                    "difference_interval": metrics.interval(metrics.minus(own, other)),
                }
    return result


def _spread(values: Sequence[float | None]) -> dict[str, float | int | None]:
    known = np.array([v for v in values if v is not None])
    return {
        "mean": float(known.mean()) if len(known) else None,
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "seeds": len(known),
    }


def _difference(
    values: Sequence[float | None], others: Sequence[float | None]
) -> dict[str, float | int | None]:
    pairs = zip(values, others, strict=True)
    known = np.array([a - b for a, b in pairs if a is not None and b is not None])
    n = len(known)
    result = _spread(known.tolist()) | {"low": None, "high": None}
    result["better"] = int((known > 0).sum())
    if n > 1:
        half = scipy.special.stdtrit(n - 1, 0.975) * known.std(ddof=1) / np.sqrt(n)
        result |= {"low": result["mean"] - half, "high": result["mean"] + half}
    del result["sd"]
    return {key: _plain(value) for key, value in result.items()}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
