"""Figures of the curves that `randrop.surface.curves` computes."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from randrop.surface import drawing

ABSCISSAE = {
    "logit": ("logit", "logit x of the true class"),
    "p": ("p_t", "probability $p_t$ of the true class"),
}
"""The names on the command line: the key in the document, and the label."""

PANELS = {
    "loss": "loss",
    "lesion_loss": "loss, lesion pixel",
    "background_loss": "loss, background pixel",
    "lesion_gradient": "|gradient|, lesion pixel",
    "background_gradient": "|gradient|, background pixel",
    "used_background": "share of background used",
}

_DECADES = 6
"""What is smaller by more orders of magnitude than this counts as none."""

_FAR = 20
"""Curves whose largest values differ by more than this factor need a log scale."""


def caption(document: Mapping[str, Any], activation: str) -> str:
    """Return what scene the curves are of, and how to read them."""
    scene = document["scene"]
    size = (
        f"An image of {scene['pixels']:,} pixels, {scene['lesions']:,} of them lesion "
        f"({scene['share']:.2g}). "
    )
    logit = "have the same logit x in favour of their own class, $p_t$ = sigmoid(x)"
    if scene["name"] == "all":
        text = f"{size}All pixels {logit}. "
    else:
        (background, spread), (lesion, lesion_spread) = scene["others"]
        text = (
            f"{size}One lesion pixel and one background pixel {logit}; the others' "
            f"are normally distributed, {background:g} ± {spread:g} in the background "
            f"and {lesion:g} ± {lesion_spread:g} in lesions. Loss: the number of "
            "pixels times the pixel's part of the loss, for overlap losses in "
            "proportion to its error. "
        )
    text += (
        "Gradient: the number of pixels times the derivative of the loss by the "
        "pixel's logit. Losses with a divisor are means over pixels."
    )
    if any(
        entry["is_expectation"] and entry["activation"] == activation
        for entry in document["losses"]
    ):
        text += (
            " Random drop: lines are expectations over the masks, points are masks "
            "that were drawn"
        )
        text += "." if scene["name"] == "all" else " (where a pixel is dropped, none)."
    return text


def draw(document: Mapping[str, Any], activation: str, against: str) -> Figure:
    """Draw a row of panels for each family of losses.

    Parameters
    ----------
    document : mapping
        From `curves.document`.
    activation : {"sigmoid", "softmax"}
        Losses with another one are left out.
    against : {"logit", "p"}
    """
    entries = [e for e in document["losses"] if e["activation"] == activation]
    families = list(dict.fromkeys(entry["family"] for entry in entries))
    reference = next((e for e in entries if e["loss"] == "cross-entropy"), None)
    columns = len(document["quantities"])
    width = 2.35 * columns + 2.5
    with mpl.rc_context(drawing.RC), np.errstate(over="ignore"):
        heights = [*[2.5] * len(families), 0.75]
        figure = Figure(figsize=(width, sum(heights)))
        rows = figure.subfigures(len(heights), 1, height_ratios=heights)
        for row, family in zip(rows, families, strict=False):
            members = [e for e in entries if e["family"] == family]
            shown = [reference] if reference and reference not in members else []
            right = 1 - 2.3 / width
            panels = row.subplots(1, columns)
            row.subplots_adjust(0.5 / width, 0.2, right, 0.8, wspace=0.36)
            row.suptitle(family, x=0.1 / width, y=0.98, ha="left", weight="bold")
            _row(panels, document, members, shown, against)
            handles, names = panels[0].get_legend_handles_labels()
            names = [name.replace(",", ",\n") for name in names]
            row.legend(
                handles, names, loc="center left", bbox_to_anchor=(right + 0.01, 0.5)
            )
        words = textwrap.fill(caption(document, activation), int(15.5 * width))
        rows[-1].text(0.1 / width, 0.95, words, va="top", fontsize=8)
    return figure


def _row(
    panels: Sequence[Axes],
    document: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    reference: Sequence[Mapping[str, Any]],
    against: str,
) -> None:
    key, label = ABSCISSAE[against]
    for axes, name in zip(panels, document["quantities"], strict=True):
        if name.startswith("used") and all(
            set(entry["curve"][name]) == {1.0} for entry in members
        ):
            axes.set_axis_off()
            continue
        for entry in reference:
            values = _sizes(entry["curve"][name])
            axes.plot(document[key], values, color="0.6", lw=1, label=entry["loss"])
        for entry, style in zip(members, drawing.lines(len(members)), strict=True):
            values = _sizes(entry["curve"][name])
            axes.plot(document[key], values, **style, lw=1.4, label=entry["loss"])
            if "sampled" in entry:
                _points(axes, entry["sampled"], name, against, style["color"])
        axes.set_title(PANELS[name])
        axes.set_xlabel(label, fontsize=8)
        axes.tick_params(labelsize=8)
        _scale(axes, name, [*members, *reference])


def _points(
    axes: Axes, sampled: Mapping[str, Any], name: str, against: str, colour: str
) -> None:
    values = _sizes(sampled[name])
    x = np.array(sampled["logit"])
    if against == "p":
        x = 1 / (1 + np.exp(-x))
    at = np.broadcast_to(x[:, None], values.shape)
    axes.plot(at.ravel(), values.ravel(), ".", color=colour, ms=3, alpha=0.3, zorder=1)


def _sizes(values: Any) -> np.ndarray:
    # All gradients are at most 0: they are derivatives by the logit of the own class.
    # Matplotlib multiplies limits, which must stay finite.
    return np.minimum(np.abs(np.array(values, float)), 1e300)


def _scale(axes: Axes, name: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Set the range; a log scale where classes or losses differ many times over."""
    curves = [_sizes(entry["curve"][name]) for entry in entries]
    largest = [values[np.isfinite(values)].max(initial=0) for values in curves]
    top = max(largest)
    least = min(values[values > 0].min(initial=top) for values in curves)
    if name.endswith("gradient"):
        is_linear = not top
    elif name.startswith("used"):
        is_linear = _FAR * least > top
    else:
        is_linear = _FAR * min(largest) > top
    if is_linear:
        axes.set_ylim(bottom=0)
        return
    axes.set_yscale("log")
    axes.set_ylim(max(least / 2, top / 10**_DECADES), 2 * top)
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_formatter(NullFormatter())
