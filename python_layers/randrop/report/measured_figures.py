"""Figures of what metrics.json holds: free-response curves, reliability."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from randrop.files import replacing
from randrop.report import drawing
from randrop.report.precision_recall import STYLES

FEWEST = 20
"""Pixels of a bin whose share is drawn."""


def froc_curves(path: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw sensitivity to lesions over false alarms, with its interval, to a PNG file.

    Parameters
    ----------
    path : Path
        File to write.
    results : mapping of str to mapping
        Lesion type to its measures (`evaluation.photographs.measure`). Types without a
        lesion have no curve.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with drawing.measured_style():
        figure = drawing.figure(figsize=(7, 5.6))
        axes = figure.add_subplot(xscale="log", ylim=(0, 1.01))
        for (lesion, result), (colour, line) in zip(
            results.items(), STYLES, strict=False
        ):
            froc = result["froc"]
            if not froc:
                continue
            curve = froc["curve"]
            rates = curve["alarms_per_photograph"]
            if curve["low"]:
                axes.fill_between(
                    rates, curve["low"], curve["high"], color=colour, alpha=0.15, lw=0
                )
            label = f"{lesion}: FROC score {froc['score']:.3f}"
            axes.plot(
                rates, curve["sensitivity"], color=colour, linestyle=line, label=label
            )
            axes.plot(
                *(froc["alarms_per_photograph"], froc["sensitivity"], "o"),
                color=colour,
                ms=5,
            )
            fixed = result.get("at_threshold")
            if fixed and fixed["lesions_found"] is not None:
                axes.plot(
                    *(fixed["alarms_per_photograph"], fixed["lesions_found"], "D"),
                    color=colour,
                    mec="black",
                    ms=7,
                )
        axes.plot([], [], "o", color="0.3", ms=5, label="rates of the score")
        if any(result.get("at_threshold") for result in results.values()):
            axes.plot([], [], "D", color="0.3", ms=7, label="at the threshold")
        axes.set_xticks(
            [2.0**k for k in range(-3, 7)],
            ["⅛", "¼", "½", *(str(2**k) for k in range(7))],
        )
        axes.minorticks_off()
        axes.set_xlabel("False alarms a photograph")
        axes.set_ylabel("Sensitivity (share of lesions that are found)")
        axes.spines.right.set_visible(False)
        axes.grid(alpha=0.25)
        figure.legend(frameon=False, loc="outside lower center", ncols=2)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=160)


def reliability_curves(
    path: Path, results: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> None:
    """Draw the share of lesion pixels over predicted probability to a PNG file.

    Both axes are logits: a tenth of a percent is as far from a percent as 90 from 99.

    Parameters
    ----------
    path : Path
        File to write.
    results : mapping of str to mapping
        Title of a panel to lesion type to `evaluation.calibration.measures`. A bin with
        fewer than `FEWEST` pixels, or without a lesion pixel or another one, is not
        drawn: its share is not known well enough.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with drawing.measured_style():
        figure = drawing.figure(figsize=(0.6 + 5.4 * len(results), 5.6))
        panels = figure.subplots(1, len(results), squeeze=False, sharey=True)[0]
        ends = (1e-5, 1 - 1e-4)
        for axes, (title, found) in zip(panels, results.items(), strict=True):
            axes.set(xscale="logit", yscale="logit", xlim=ends, ylim=ends)
            axes.plot(ends, ends, color="0.6", lw=1)
            for (lesion, measures), (colour, line) in zip(
                found.items(), STYLES, strict=False
            ):
                points = [
                    (p, share)
                    for p, share, count in zip(
                        *(measures["reliability_logit"][key] for key in _DRAWN),
                        strict=True,
                    )
                    if count >= FEWEST and 0 < share < 1 and 0 < p < 1
                ]
                if points:
                    label = f"{lesion}: ECE {measures['ece']:.2g}"
                    style = {"color": colour, "linestyle": line, "marker": "o"}
                    axes.plot(*np.transpose(points), **style, ms=4, label=label)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_ticks(_TICKS, [f"{tick:g}" for tick in _TICKS], fontsize=9)
            axes.minorticks_off()
            axes.set_xlabel("Predicted probability")
            axes.set_title(title)
            axes.spines.right.set_visible(False)
            axes.grid(alpha=0.25)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(frameon=False)
        panels[0].set_ylabel("Share of these pixels that are lesion")
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=160)


_TICKS = (1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
_DRAWN = ("confidence", "frequency", "count")
