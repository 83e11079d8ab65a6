"""Figures of what a recording measured: graphs of a training, reliability."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from randrop.surface import drawing
from randrop.surface.recording import Recording

MEASURES = {
    "loss": "loss of the training",
    "accuracy": "accuracy",
    "iou": "soft IoU",
    "confidence_foreground": "confidence, foreground",
    "confidence_background": "confidence, background",
    "average_precision": "average precision",
    "ece": "calibration error (ECE)",
}

SUBSETS = ("validation", "training")
_LINES = {"validation": "-", "training": "--"}


def graphs(
    recordings: Sequence[Recording],
    channels: Sequence[str],
    measures: Sequence[str],
    width: float = 7.0,
    subsets: Sequence[str] = SUBSETS,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw measures over the iterations, a colour for each recording.

    Validation is a line, training a thinner, dashed one. Where a measure is undefined,
    the line has a gap.

    Parameters
    ----------
    recordings : sequence of Recording
    channels : sequence of str
        Of each the panels of the measures that channels have.
    measures : sequence of str
        Of `MEASURES`; a panel for each.
    width : float
        Inches.
    subsets : sequence of {"validation", "training"}
        Lines of a recording. Where there is one, lines differ without colour, too.
    names : sequence of str, optional
        Of the recordings; by default their runs and losses.
    """
    names = names or [_name(recording) for recording in recordings]
    panels = [
        (channel, measure)
        for channel in channels
        for measure in measures
        if measure != "loss"
    ]
    panels += [(channels[0], "loss")] * ("loss" in measures)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(drawing.RC):
        size = (width, 0.29 * width * rows + 0.35 + 0.18 * len(recordings))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel in axes[len(panels) :]:
            panel.set_axis_off()
        for panel, (channel, measure) in zip(axes, panels, strict=False):
            _graph(panel, recordings, (channel, measure), subsets, names)
            title = MEASURES[measure]
            if measure != "loss":
                title = f"{drawing.plain(channel)}: {title}"
            panel.set_title(title)
            panel.set_xlabel("iteration", fontsize=8)
        lines, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            *(lines, labels), loc="outside lower center", ncols=columns, fontsize=8
        )
    return figure


def _graph(
    panel: Axes,
    recordings: Sequence[Recording],
    of: tuple[str, str],
    subsets: Sequence[str],
    names: Sequence[str],
) -> None:
    channel, measure = of
    styles = drawing.lines(len(recordings), marked=len(subsets) > 1)
    for recording, name, style in zip(recordings, names, styles, strict=True):
        for subset in subsets:
            if subset not in recording.subsets:
                continue
            values = [
                _measure(recording.measures(t)[subset], recording, channel, measure)
                for t in range(len(recording.iterations))
            ]
            if len(subsets) > 1:
                style |= {"linestyle": _LINES[subset], "markersize": 2}
            panel.plot(
                *(recording.iterations, values),
                **style,
                lw=1.4 if subset == subsets[0] else 0.9,
                label=f"{drawing.plain(name)}, {subset}",
            )
    if measure == "loss":
        panel.set_ylim(bottom=0)


def _measure(
    found: dict[str, Any], recording: Recording, channel: str, measure: str
) -> float:
    if measure == "loss":
        value = found["loss"].get(recording.facts["loss"])
    else:
        value = found["channels"][channel][measure]
    return np.nan if value is None else value


def _name(recording: Recording) -> str:
    run, loss = recording.facts["run"], recording.facts["loss"]
    return run if loss in run else f"{run} ({loss})"


def reliability(
    recordings: Sequence[Recording],
    channels: Sequence[str],
    steps: Sequence[Sequence[int]],
    subset: str,
    width: float = 7.0,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw how often a pixel is positive against its predicted probability.

    Below is how many pixels each bin of the probability has. A bin without a pixel has
    no point.

    Parameters
    ----------
    recordings : sequence of Recording
    channels : sequence of str
        A column for each.
    steps : sequence of sequence of int
        Of each recording, indices of snapshots.
    subset : {"training", "validation"}
    width : float
        Inches.
    names : sequence of str, optional
        Of the recordings; by default their runs and losses.

    References
    ----------
    C. Guo et al. On calibration of modern neural networks. ICML 2017, arXiv:1706.04599.
    """
    called: Sequence[str | None] = names or [_name(r) for r in recordings]
    if not names and len(recordings) == 1:
        called = [None]
    shown = [
        (recording, t, name)
        for recording, own, name in zip(recordings, steps, called, strict=True)
        for t in own
    ]
    size = width / max(2, len(channels))
    with mpl.rc_context(drawing.RC):
        figure = Figure(
            figsize=(width, 1.25 * size + 0.25 * len(shown)), layout="constrained"
        )
        axes = figure.subplots(
            *(2, len(channels)),
            squeeze=False,
            sharex=True,
            gridspec_kw={"height_ratios": [3, 1]},
        )
        for column, channel in zip(axes.T, channels, strict=True):
            column[0].plot([0, 1], [0, 1], color="0.7", lw=0.8)
            for (recording, t, name), style in zip(
                shown, drawing.lines(len(shown), marked=True), strict=True
            ):
                found = recording.measures(t)[subset]["channels"][channel]
                label = _moment_name(recording, t, found, name)
                _reliability(column, found, style, label)
            column[0].set(
                title=f"{drawing.plain(channel)}, {subset}",
                ylabel="share of positives",
                ylim=(-0.02, 1.02),
            )
            column[1].set(xlabel="predicted probability", ylabel="pixels", yscale="log")
            handles, labels = column[0].get_legend_handles_labels()
            column[1].legend(
                *(handles, labels),
                fontsize=7,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.5),
            )
    return figure


def _reliability(
    column: Sequence[Axes], found: dict[str, Any], style: dict[str, Any], label: str
) -> None:
    curve = found["reliability"]
    points = [
        pair
        for pair in zip(curve["confidence"], curve["frequency"], strict=True)
        if None not in pair
    ]
    style = {**style, "lw": 1.2}
    x, y = np.array(points).reshape(-1, 2).T
    column[0].plot(x, y, **style, label=label)
    counts = np.array(curve["count"], float)
    column[1].stairs(
        np.maximum(counts, 0.5),
        curve["edges"],
        baseline=0.5,
        color=style["color"],
        linestyle=style["linestyle"],
    )


def _moment_name(
    recording: Recording, t: int, found: dict[str, Any], called: str | None
) -> str:
    name = f"{drawing.plain(called)}, " if called else ""
    ece = "undefined" if found["ece"] is None else f"{found['ece']:.3g}"
    return f"{name}iteration {recording.iterations[t]:,}: ECE {ece}"
