"""Write the measures of recordings as JSON."""

import argparse
import contextlib
import logging
from pathlib import Path

NAME = "measures"
HELP = "the measures of recordings as JSON"
DESCRIPTION = """\
Write what recordings measured as JSON, for tables and for other programs.

Of each recording it has the iterations, and one list for each measure: accuracy, IoU,
confidence on foreground and on background, average precision and calibration error of
each channel, the IoU of the pixels with p >= 0.5, and the loss of the training. The
reliability curve is that of the last snapshot. A measure is null where it is undefined.
The recordings must be of the same images, so that their measures compare.
"""
EXAMPLES = """\
  surface.py measures log/surface/recording.h5 focal/surface/recording.h5 \\
      --out results/losses.json
"""

log = logging.getLogger("randrop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "recordings",
        type=Path,
        nargs="+",
        metavar="RECORDING",
        help="files of surface.py record",
    )
    add(
        "--subset",
        choices=("training", "validation"),
        default="validation",
        help="whose measures; default: validation",
    )
    add("--out", type=Path, required=True, help="JSON file to write")


def run(options: argparse.Namespace) -> int:
    """Write the file; return 0."""
    from randrop.files import ownership, write_json
    from randrop.surface.recording import Recording
    from randrop.surface.summary import summary

    ownership.check_kind(options.out, ".json", '"recordings": [')
    with contextlib.ExitStack() as stack:
        recordings = [
            stack.enter_context(Recording.open(path)) for path in options.recordings
        ]
        content = summary(recordings, options.subset)
    write_json(options.out, content)
    log.info("%s: %d recordings", options.out, len(recordings))
    return 0
