"""What recordings measured, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from randrop import __version__
from randrop.errors import UserError
from randrop.surface.recording import Recording

MEASURES = (
    *("accuracy", "iou", "confidence_foreground", "confidence_background"),
    *("average_precision", "ece"),
)
_DIGITS = 6


def summary(recordings: Sequence[Recording], subset: str) -> dict[str, Any]:
    """Return the measures of recordings of the same images, for a JSON file.

    Parameters
    ----------
    recordings : sequence of Recording
    subset : {"training", "validation"}

    Returns
    -------
    dict
        made_by, subset, and recordings: of each its run, loss, images (number), data,
        size, iterations, training_loss (one value per iteration) and channels. A
        channel has the share of foreground among its pixels, a list for each of
        `MEASURES`, another for binary_iou, and the reliability curve of the last
        snapshot. Values are rounded to six decimals.

    Raises
    ------
    UserError
        If a recording has no snapshot, or is not of the images of the first.
    """
    first = recordings[0]
    for recording in recordings:
        if not recording.iterations:
            raise UserError(
                f"{recording.path} has no recorded snapshot yet: continue it with "
                "surface.py record"
            )
        what = _difference(first, recording, subset)
        if what:
            raise UserError(
                f"{recording.path} is not of the images of {first.path}: {what} "
                "differ: record both with the same --data, --images, --measured and "
                "--size"
            )
    return {
        "made_by": f"randrop {__version__}",
        "subset": subset,
        "recordings": [_one(recording, subset) for recording in recordings],
    }


def _difference(first: Recording, other: Recording, subset: str) -> str | None:
    """Return what shows that two recordings are of other images, or None.

    The digest of a softmax is of one class for each pixel, and differs from that of a
    sigmoid. Then pictures and numbers of pixels are compared.
    """
    if first.facts["size"] != other.facts["size"]:
        return "their sizes"
    if first.facts["activation"] == other.facts["activation"]:
        names = ("data", "channels")
        same = all(first.facts[name] == other.facts[name] for name in names)
        return None if same else "their data or channels"
    if (first.names, first.subsets) != (other.names, other.subsets):
        return "their names"
    if _pixels(first, subset) != _pixels(other, subset):
        return "their numbers of pixels"
    images = range(len(first.names))
    same = all(np.array_equal(first.picture(i), other.picture(i)) for i in images)
    return None if same else "their pictures"


def _pixels(recording: Recording, subset: str) -> set[int]:
    """Return how many pixels the channels have, which is one number."""
    channels = recording.measures(0)[subset]["channels"].values()
    return {sum(channel["reliability"]["count"]) for channel in channels}


def _one(recording: Recording, subset: str) -> dict[str, Any]:
    facts = recording.facts
    steps = [recording.measures(t)[subset] for t in range(len(recording.iterations))]
    return {
        "run": facts["run"],
        "loss": facts["loss"],
        "data": facts["data"],
        "size": facts["size"],
        "images": steps[-1]["photographs"],
        "iterations": list(recording.iterations),
        "training_loss": [_rounded(step["loss"].get(facts["loss"])) for step in steps],
        "channels": {
            name: _channel([step["channels"][name] for step in steps])
            for name in facts["channels"]
        },
    }


def _channel(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    curve = steps[-1]["reliability"]
    positives = sum(
        (frequency or 0) * count
        for frequency, count in zip(curve["frequency"], curve["count"], strict=True)
    )
    pixels = sum(curve["count"])
    return {
        "foreground_share": _rounded(positives / pixels if pixels else None),
        **{name: [_rounded(step[name]) for step in steps] for name in MEASURES},
        "binary_iou": [_rounded(binary_iou(step["reliability"])) for step in steps],
        "reliability": {
            name: [_rounded(value) for value in values]
            for name, values in curve.items()
        },
    }


def binary_iou(reliability: Mapping[str, Sequence[Any]]) -> float | None:
    """Return the IoU of the pixels with p >= 0.5, from the counts of the bins.

    None without foreground.
    """
    positive = [
        (frequency or 0) * count
        for frequency, count in zip(
            reliability["frequency"], reliability["count"], strict=True
        )
    ]
    if not sum(positive):
        return None
    half = len(positive) // 2
    predicted = sum(reliability["count"][half:])
    return sum(positive[half:]) / (predicted + sum(positive[:half]))


def _rounded(value: float | None) -> float | None:
    return value if value is None else round(value, _DIGITS)
