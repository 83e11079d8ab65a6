"""Figures of measurements."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from randrop.evaluation import metrics
from randrop.files import replacing
from randrop.report import drawing

# M. Okabe and K. Ito's palette, with line styles for print without colour.
STYLES = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#555555", (0, (3, 1, 1, 1, 1, 1))),
)


def pr_curves(path: Path, histograms: Mapping[str, NDArray[np.int64]]) -> None:
    """Draw precision over recall, one curve per lesion type, to a PNG file.

    Parameters
    ----------
    path : Path
        File to write.
    histograms : mapping of str to ndarray (2, 65536)
        Lesion type to the result of `metrics.histogram`, summed over photographs. Types
        without a lesion pixel have no curve.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with drawing.measured_style():
        figure = drawing.figure(figsize=(7, 5.6))
        axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1.01))
        for (lesion, counts), (colour, line) in zip(
            histograms.items(), STYLES, strict=False
        ):
            result = metrics.summary(counts)
            if not result["positives"]:
                continue
            recall, precision = metrics.thinned(metrics.curve(counts))
            label = f"{lesion}: average precision {result['average_precision']:.3f}"
            axes.plot(recall, precision, color=colour, linestyle=line, label=label)
            axes.plot(
                result["sensitivity"], result["precision"], "o", color=colour, ms=7
            )
            axes.axhline(
                result["prevalence"], color=colour, linestyle=line, lw=0.8, alpha=0.6
            )
        axes.plot([], [], "o", color="0.3", ms=7, label="largest F1")
        axes.plot([], [], color="0.3", lw=0.8, label="a constant (prevalence)")
        axes.set_xlabel("Recall (share of lesion pixels that are found)")
        axes.set_ylabel("Precision (share of detected pixels that are lesion)")
        axes.spines.right.set_visible(False)
        axes.grid(alpha=0.25)
        figure.legend(frameon=False, loc="outside lower center", ncols=2)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=160)
