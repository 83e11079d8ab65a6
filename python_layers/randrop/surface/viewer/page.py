"""The page: a template, its style, its scripts and what they show, in one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
from markupsafe import Markup

import randrop
from randrop.files import write_text
from randrop.report.precision_recall import STYLES
from randrop.surface.viewer import packing
from randrop.surface.viewer.contents import Blobs

HERE = Path(__file__).parent

SCRIPTS = (
    *("base", "codec", "colour", "maps", "panels", "pointer", "plot", "graphs"),
    *("contour", "surface3d", "landscape", "saving", "controls", "main"),
)
"""The scripts of js/, in the order in which they need each other."""

MAPS = {"sequential": "viridis", "confidence": "cividis"}
"""Colour maps that people with the common colour vision deficiencies can read, too."""

PALETTE = (*(colour for colour, _ in STYLES), "#E69F00", "#56B4E9", "#8B6F00")
"""Of lines."""


def write(
    path: Path,
    title: str,
    runs: Sequence[dict[str, Any]],
    landscapes: Sequence[dict[str, Any]],
    blobs: Blobs,
) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
        HTML file to write.
    title : str
    runs, landscapes : sequence of dict
        From `contents.of_recording` and `contents.of_landscape`.
    blobs : Blobs
        The maps of the runs.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    content = {
        "version": randrop.__version__,
        "runs": runs,
        "landscapes": landscapes,
        "packing": {
            "half": packing.HALF,
            "probabilities": packing.probabilities()[:-1].tolist(),
        },
        "palette": PALETTE,
        "colours": {name: _table(mapped) for name, mapped in MAPS.items()},
    }
    html = environment.get_template("viewer.html").render(
        title=title,
        style=Markup((HERE / "viewer.css").read_text()),
        script=Markup(_script()),
        content=content,
        blobs=blobs.texts,
        runs=runs,
        landscapes=landscapes,
        version=randrop.__version__,
    )
    write_text(path, html)


def _script() -> str:
    parts = [(HERE / "js" / f"{name}.js").read_text() for name in SCRIPTS]
    return "\n".join(parts)


def _table(name: str) -> str:
    """Return the 256 colours of a map, as hexadecimal digits."""
    table = mpl.colormaps[name](np.arange(256))[:, :3]
    return np.rint(table * 255).astype(np.uint8).tobytes().hex()
