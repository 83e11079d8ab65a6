"""Draw a labelled phantom set: organs of very different size, in images or volumes."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from pathlib import Path

import _start  # noqa: F401

from randrop import cli
from randrop.data.organ_set import write_organs

log = logging.getLogger("randrop")

EXAMPLES = """\
  scripts/make_organs.py build/organs2d
  scripts/make_organs.py build/organs3d --dimensions 3 --size 32 --labels 20 \\
      --smallest 0.001

The folder contains train.h5 and validation.h5 (data and label, as Caffe's HDF5Data
reads them), manifest.json (names, shape, pixels of each label) and preview.png.
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="output folder")
    add("--dimensions", type=int, default=2, help="2 for images, 3 for volumes")
    add("--size", type=int, default=128, help="pixels along each axis")
    add("--labels", type=int, default=9, help="labels: the organs and the background")
    add(
        "--smallest",
        type=cli.finite,
        default=0.003,
        help="size of the smallest organ relative to the largest",
    )
    add("--train", type=int, default=40, help="training images")
    add("--validation", type=int, default=20, help="validation images")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Write the set and report its content."""
    options = arguments()
    manifest = write_organs(
        options.out.resolve(),
        options.size,
        options.dimensions,
        options.labels,
        options.smallest,
        options.train,
        options.validation,
        options.seed,
    )
    log.info(
        "%s: %d labels in images of %s; the smallest organ has %.2f %% of the pixels "
        "of the largest",
        options.out,
        len(manifest["labels"]),
        " x ".join(map(str, manifest["shape"][1:])),
        100 * manifest["smallest_to_largest_organ"],
    )


if __name__ == "__main__":
    cli.run(main)
