"""What the figures of `surface.py` share: lines, formats, saving."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from randrop.errors import UserError
from randrop.files import replacing
from randrop.report.precision_recall import STYLES

FORMATS = ("png", "pdf", "svg")

RC = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    # Text stays text, which an editor of vector graphics can change.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "randrop",
}
"""Settings for `matplotlib.rc_context` around drawing and saving."""

_MARKERS = ("", "o", "s", "^", "D", "v")
# Without the time of writing: the same input gives the same file.
_METADATA = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None},
}


def lines(count: int, marked: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the style of each of `count` lines, which differ without colour, too.

    `marked`: each point of each line has a marker.
    """
    for k in range(count):
        colour, line = STYLES[k % len(STYLES)]
        marker = _MARKERS[(k // len(STYLES) + marked) % len(_MARKERS)]
        yield {
            "color": colour,
            "linestyle": line,
            "marker": marker,
            "markevery": 1 if marked else 0.12,
            "markersize": 3.5,
        }


def plain(text: str) -> str:
    """Return text in which matplotlib sees no mathematics."""
    return text.replace("$", r"\$")


def save(figure: Figure, paths: Iterable[Path], dpi: int = 200) -> None:
    """Write a figure to files, whose suffixes choose the formats.

    Raises
    ------
    UserError
        If a file cannot be written.
    """
    # It reports each step of putting a font into a PDF file.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    for path in paths:
        with replacing(path) as temporary, mpl.rc_context(RC):
            form = path.suffix.lower().lstrip(".")
            figure.savefig(temporary, dpi=dpi, metadata=_METADATA[form])


def paths_of(out: Path, stems: Sequence[str], formats: Sequence[str]) -> list[Path]:
    """Return the files of the figures: in the folder `out`, or `out` if it is a figure.

    Raises
    ------
    UserError
        If `out` has the suffix of another file format.
    """
    suffix = out.suffix.lower().lstrip(".")
    if suffix in FORMATS:
        return [out]
    if suffix and not out.is_dir():
        raise UserError(
            f"--out is {out}: figures have the suffix {', '.join(FORMATS)}; give such "
            "a file, or a folder"
        )
    return [out / f"{stem}.{form}" for stem in stems for form in formats]
