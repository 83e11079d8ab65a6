"""What losses do to confidence: optic discs, and lesions (docs/explanation)."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from figures.words import bullets, listed
from randrop.report.markdown import table

DISCS = {
    "ce-1": "cross-entropy 1 : 1",
    "ce-2": "cross-entropy 2 : 1",
    "ce-3": "cross-entropy 3 : 1",
    "focal-1": "focal, γ = 1",
    "focal-2": "focal, γ = 2",
    "focal-3": "focal, γ = 3",
    "focal-5": "focal, γ = 5",
}
"""By the run's name; the foreground's weight comes first."""

SOURCE = {"ce-1": (0.91, 0.95), "focal-2": (0.87, 0.87), "focal-3": (0.86, 0.80)}
"""IoU and confidence on foreground at the end, read off the graphs of P. Kim et al.,
Interpretable loss functions for deep learning based biomedical image segmentation
models (their data, network and training)."""

_GAMMAS = {"ce-1": 0, "focal-1": 1, "focal-2": 2, "focal-3": 3, "focal-5": 5}
_WEIGHTS = ("ce-1", "ce-2", "ce-3")
_REACHED, _RANKED, _NEAR = 0.8, 0.98, 0.05
_NOTHING = 0.01
_HEADS = {
    "binary_iou": "IoU at p ≥ 0.5",
    "iou": "soft IoU",
    "confidence_foreground": "confidence, foreground",
    "confidence_background": "confidence, background",
    "accuracy": "accuracy",
    "average_precision": "average precision",
    "ece": "ECE",
}


def discs(content: Mapping[str, Any]) -> str:
    """Return the measures of each loss at the end of its training."""
    runs = _runs(content)
    heads = ["loss", "run", "`train.py --loss`", *_HEADS.values()]
    rows = [
        [
            *(name, f"`{run}`", f"`{runs[run]['loss']}`"),
            *(_number(_last(runs[run], m)) for m in _HEADS),
        ]
        for run, name in DISCS.items()
    ]
    return table(heads, rows)


def disc_facts(content: Mapping[str, Any]) -> str:
    """Return what was measured on which images."""
    first = content["recordings"][0]
    share = first["channels"]["OD"]["foreground_share"]
    side = " × ".join(map(str, first["size"]))
    return (
        f"Measured on {first['images']} {content['subset']} crops of {side} pixels, "
        f"of which the disc covers {share:.1%}, after {first['iterations'][-1]} "
        "iterations."
    )


def disc_agreement(content: Mapping[str, Any]) -> str:
    """Return where our figures differ from those of the source, and where not."""
    runs = _runs(content)
    near, far = [], []
    for m, what in enumerate(("binary_iou", "confidence_foreground")):
        for run, values in SOURCE.items():
            ours, theirs = _last(runs[run], what), values[m]
            said = f"{_HEADS[what]} of {DISCS[run]}: {ours:.2f} against {theirs:.2f}"
            (near if abs(ours - theirs) <= _NEAR else far).append(said)
    lines = [
        f"**Not as there** (more than {_NEAR} away): {'; '.join(far) or 'none'}.",
        f"**As there**: {'; '.join(near) or 'none'}.",
    ]
    lines += _along_gamma(runs)
    for measure in ("confidence_foreground", "confidence_background"):
        values = [_last(runs[run], measure) for run in _WEIGHTS]
        lines.append(
            f"**{_HEADS[measure]}**, foreground weight 1, 2, 3: {_trend(values)}."
        )
    for measure in ("binary_iou", "accuracy", "average_precision"):
        values = [_last(runs[run], measure) for run in DISCS]
        lines.append(
            f"**{_HEADS[measure]}** of all seven: {min(values):.3f} to "
            f"{max(values):.3f}."
        )
    return bullets(lines)


def disc_seed(content: Mapping[str, Any]) -> str:
    """Return what another seed shows of focal loss."""
    runs = _runs(content)
    gammas = _present(runs)
    limits = [f"{_limit(runs[run]):.1f}" for run in gammas]
    precisions = [f"{_last(runs[run], 'average_precision'):.3f}" for run in gammas]
    return bullets(
        [
            f"**No probability is above** {', '.join(limits)}, {_words(gammas)}.",
            f"**{_HEADS['average_precision']}**: {', '.join(precisions)}.",
            *_along_gamma(runs),
        ]
    )


def _present(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [run for run in _GAMMAS if run in runs]


def _words(gammas: Sequence[str]) -> str:
    return f"γ = {listed([str(_GAMMAS[run]) for run in gammas])}"


def _limit(run: Mapping[str, Any]) -> float:
    """Return the upper edge of the highest bin of p with a pixel."""
    curve = run["channels"]["OD"]["reliability"]
    return max(
        edge
        for edge, count in zip(curve["edges"][1:], curve["count"], strict=True)
        if count
    )


def _along_gamma(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what becomes slower, more or less with γ."""
    gammas = _present(runs)
    reached = [_first(runs[run], "average_precision", _RANKED) for run in gammas]
    overlap = [_first(runs[run], "binary_iou", _REACHED) for run in gammas]
    said = "Here, too" if _is_slower(reached) and _is_slower(overlap) else "Not here"
    lines = [
        f"**Slower with a larger γ?** {said}: with {_words(gammas)} the average "
        "precision, which depends on the ranking of the pixels alone, first reaches "
        f"{_RANKED} at iteration {_shown(reached)}, and the IoU {_REACHED} at "
        f"iteration {_shown(overlap)}."
    ]
    measures = ("confidence_foreground", "confidence_background", "binary_iou", "iou")
    for measure in (*measures, "ece"):
        values = [_last(runs[run], measure) for run in gammas]
        lines.append(f"**{_HEADS[measure]}**, {_words(gammas)}: {_trend(values)}.")
    return lines


def lesions(channel: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that makes the table of a lesion type."""

    def made(content: Mapping[str, Any]) -> str:
        share = content["recordings"][0]["channels"][channel]["foreground_share"]
        heads = [f"{channel}, {share:.2%} of the pixels", "mean probability"]
        heads += [_HEADS[m] for m in _HEADS if m != "accuracy"]
        rows = [
            [
                f"`{run['loss']}`",
                f"{_mean_probability(run['channels'][channel]):.2%}",
                *(
                    _number(_last_of(run, channel, m), m)
                    for m in _HEADS
                    if m != "accuracy"
                ),
            ]
            for run in content["recordings"]
        ]
        return table(heads, rows)

    return made


def lesion_facts(content: Mapping[str, Any]) -> str:
    """Return what was measured on which images."""
    first = content["recordings"][0]
    side = " × ".join(map(str, first["size"]))
    return (
        f"Measured on {first['images']} {content['subset']} crops of {side} pixels "
        f"after {first['iterations'][-1]} iterations."
    )


def lesion_verdict(content: Mapping[str, Any]) -> str:
    """Return which losses are calibrated, and which predict too much or too little."""
    lines = []
    first = content["recordings"][0]
    for channel, found in first["channels"].items():
        share = found["foreground_share"]
        factors = {
            run["loss"]: _mean_probability(run["channels"][channel]) / share
            for run in content["recordings"]
        }
        above = [_times(k, v) for k, v in factors.items() if v > 2]
        below = [_times(k, v) for k, v in factors.items() if v < 0.5]
        near = [f"`{k}`" for k, v in factors.items() if 0.5 <= v <= 2]
        order = sorted(
            content["recordings"],
            key=lambda run: _last_of(run, channel, "ece"),
        )
        nothing = [
            f"`{run['loss']}`"
            for run in content["recordings"]
            if _last_of(run, channel, "binary_iou") < _NOTHING
        ]
        best = max(
            content["recordings"],
            key=lambda run: _last_of(run, channel, "average_precision"),
        )
        lines.append(
            f"**{channel}**: the mean probability is more than twice the share of "
            f"{channel} with {listed(above)}; less than half of it with "
            f"{listed(below)}; between with {listed(near)}. "
            f"Smallest and largest ECE: {_of(order[0], channel, 'ece')}, "
            f"{_of(order[-1], channel, 'ece')}. Highest average precision: "
            f"{_of(best, channel, 'average_precision')}. With an IoU below "
            f"{_NOTHING} at p ≥ 0.5, and so without use there: {listed(nothing)}."
        )
    return bullets(lines)


def calibration(content: Mapping[str, Any]) -> str:
    """Return how probabilities are before and after a calibration."""
    heads = ["", "share of lesion", "mean probability", "ECE", "skill"]
    rows = []
    for lesion, found in content["checked"]["lesions"].items():
        for when in ("before", "after"):
            measures = found[when]
            rows.append(
                [
                    f"{lesion}, {when}",
                    f"{found['prevalence']:.2%}",
                    f"{measures['mean_probability']:.2%}",
                    f"{measures['ece']:.4f}",
                    f"{measures['skill']:.2f}".replace("-", "−"),
                ]
            )
    return table(heads, rows)


def _times(loss: str, factor: float) -> str:
    return f"`{loss}` ({factor:.2g} times)"


def _of(run: Mapping[str, Any], channel: str, measure: str) -> str:
    return f"`{run['loss']}` {_last_of(run, channel, measure):.3f}"


def _runs(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {run["run"]: run for run in content["recordings"]}


def _last(run: Mapping[str, Any], measure: str) -> float:
    return _last_of(run, "OD", measure)


def _last_of(run: Mapping[str, Any], channel: str, measure: str) -> float:
    value = run["channels"][channel][measure][-1]
    return float("nan") if value is None else value


def _number(value: float, measure: str = "") -> str:
    """Return a measure; confidence on background is near 1 if lesions are rare."""
    return f"{value:.4f}" if measure == "confidence_background" else f"{value:.3f}"


def _mean_probability(channel: Mapping[str, Any]) -> float:
    """Return the mean predicted probability of all pixels."""
    share = channel["foreground_share"]
    return share * channel["confidence_foreground"][-1] + (1 - share) * (
        1 - channel["confidence_background"][-1]
    )


def _first(run: Mapping[str, Any], measure: str, threshold: float) -> float:
    """Return the first snapshot in which a measure reaches a threshold, or infinity."""
    values = run["channels"]["OD"][measure]
    for iteration, value in zip(run["iterations"], values, strict=True):
        if value is not None and value >= threshold:
            return iteration
    return float("inf")


def _is_slower(iterations: Sequence[float]) -> bool:
    """Return whether the iterations rise, at no step falling."""
    return list(iterations) == sorted(iterations) and iterations[-1] > iterations[0]


def _shown(iterations: Sequence[float]) -> str:
    return ", ".join("never" if i == float("inf") else str(i) for i in iterations)


def _trend(values: Sequence[float]) -> str:
    """Return values, and whether they fall or rise at each step."""
    steps = [b - a for a, b in itertools.pairwise(values)]
    said = "neither falls nor rises at each step"
    if max(steps) < 0:
        said = "falls at each step"
    elif min(steps) > 0:
        said = "rises at each step"
    return f"{said} ({', '.join(f'{value:.3f}' for value in values)})"
