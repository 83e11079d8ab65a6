"""Write one HTML page that shows recordings and landscapes."""

import argparse
import contextlib
import logging
from pathlib import Path

from randrop.errors import UserError

NAME = "view"
HELP = "one HTML page that shows recordings and landscapes"
DESCRIPTION = """\
Write one HTML page that shows recordings and landscapes.

The page has all maps of a recording, at each snapshot and with a slider through the
training: the image, the truth, the prediction, the loss of each pixel, and which
pixels a loss keeps; and graphs of the measures. Two recordings of the same images
stand side by side. Landscapes are shown as contours and as surfaces.

The page is one file. It opens from disk, and loads nothing from any address.
"""
EXAMPLES = """\
  surface.py view build/run/surface/recording.h5
  surface.py view ce/surface/recording.h5 focal/surface/recording.h5 --out both.html
  surface.py view build/run/surface/recording.h5 --landscapes build/plane.h5
"""

LARGE = 20e6
"""Bytes from which on a page is slow to send and to open."""

log = logging.getLogger("randrop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "recordings",
        type=Path,
        nargs="*",
        metavar="RECORDING",
        help="one or two files of surface.py record",
    )
    add(
        "--landscapes",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files of surface.py landscape",
    )
    add(
        "--out",
        type=Path,
        help="HTML file to write; default: viewer.html beside the first file",
    )
    add("--title", help="default: the names of the runs")
    add(
        "--images",
        nargs="+",
        default=[],
        metavar="NAME",
        help="show only these images of the recordings",
    )
    add(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="show each N-th snapshot, and the last",
    )


def run(options: argparse.Namespace) -> int:
    """Write the page; return 0."""
    from randrop.files import ownership
    from randrop.surface.landscape_file import Landscape
    from randrop.surface.recording import Recording
    from randrop.surface.viewer import contents, page

    _check(options)
    beside = (*options.recordings, *options.landscapes)[0]
    out = options.out or beside.with_name("viewer.html")
    ownership.check_kind(out, ".html", '<main id="content-start">')
    landscapes = [(Landscape.open(path), path.name) for path in options.landscapes]
    blobs = contents.Blobs()
    with contextlib.ExitStack() as stack:
        recordings = [
            stack.enter_context(Recording.open(path)) for path in options.recordings
        ]
        names: list[str] = []
        if recordings:
            contents.check_pair(recordings)
            names = contents.common_names(recordings, options.images)
        runs = [
            contents.of_recording(r, blobs, names, options.every) for r in recordings
        ]
    shown = [contents.of_landscape(*landscape) for landscape in landscapes]
    subjects = dict.fromkeys(part["facts"]["run"] for part in runs or shown)
    title = options.title or f"What losses do: {' and '.join(subjects)}"
    page.write(out, title, runs, shown, blobs)
    _report(out)
    return 0


def _check(options: argparse.Namespace) -> None:
    if not options.recordings and not options.landscapes:
        raise UserError(
            "nothing to show: give a recording (surface.py record), or --landscapes "
            "(surface.py landscape)"
        )
    if len(options.recordings) > 2:
        raise UserError(
            f"{len(options.recordings)} recordings: the page shows one or two side by "
            "side"
        )
    if options.every < 1:
        raise UserError(f"--every {options.every} must be at least 1")


def _report(path: Path) -> None:
    size = path.stat().st_size
    log.info("%s (%.1f MB)", path, size / 1e6)
    if size > LARGE:
        log.warning(
            "this page is large: show fewer snapshots with --every 2, or fewer "
            "images with --images NAME"
        )
