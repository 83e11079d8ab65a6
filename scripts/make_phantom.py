"""Draw a phantom data set: synthetic fundus photographs with lesions and masks."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
import os
from pathlib import Path

import _start  # noqa: F401

from randrop import cli
from randrop.data import LESIONS
from randrop.data.phantom import HEIGHT
from randrop.data.phantom_set import write_phantom

log = logging.getLogger("randrop")

EXAMPLES = """\
  scripts/make_phantom.py build/phantom
  scripts/make_phantom.py build/phantom-large --images 200 --size 1024 --seed 7
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="output folder")
    add("--images", type=int, default=32, help="number of photographs")
    add("--size", type=int, default=512, help="width in pixels")
    add("--seed", type=int, default=0)
    add("--lesions", nargs="+", choices=LESIONS, default=["MA", "HE"])
    add("--validation-share", type=cli.finite, default=0.25)
    add("--workers", type=int, default=os.cpu_count(), help="parallel processes")
    return parser.parse_args()


def main() -> None:
    """Write the set and report its content."""
    options = arguments()
    manifest = write_phantom(
        options.out.resolve(),
        options.images,
        options.size,
        options.seed,
        options.lesions,
        options.validation_share,
        options.workers,
    )
    pixels = options.images * options.size * round(HEIGHT * options.size)
    cases = manifest["cases"].values()
    shares = [
        f"{lesion} {sum(c[lesion]['count'] for c in cases)} lesions, "
        f"{100 * sum(c[lesion]['pixels'] for c in cases) / pixels:.2f} % of the pixels"
        for lesion in options.lesions
    ]
    log.info("%s: %d photographs; %s", options.out, options.images, "; ".join(shares))


if __name__ == "__main__":
    cli.run(main)
