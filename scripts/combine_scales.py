"""Combine cross-validations at several resolutions: their networks' mean, as one."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from pathlib import Path

import _start  # noqa: F401

from randrop import cli
from randrop.errors import UserError
from randrop.exchange import merging
from randrop.files import output
from randrop.training import scales

log = logging.getLogger("randrop")

DESCRIPTION = """\
Combine cross-validations of the same folds at several resolutions.

A network sees a limited surrounding of each pixel. At a high resolution it finds the
smallest lesions, at half of it those that need more surroundings to be told apart. For
each fold this writes one network, which runs the network of the widest field of view on
its input, the others on the means of it over 2 x 2, 4 x 4 or 8 x 8 pixels, and takes
the mean of their probabilities.

Writes into OUT:
  fold1/, ...       split.json, and in run/: deploy.prototxt, final.caffemodel,
                    final.sha256, run.json
  out-of-fold.json  all photographs, as a subset for evaluate.py --split
  ensemble.json     the networks as one, as of cross_validate.py: for predict.py
                    (--out-of-fold) and export_model.py
"""

EXAMPLES = """\
  prepare.py idrid SOURCE build/idrid-1440 --width 1440
  prepare.py idrid SOURCE build/idrid-720 --width 720 --cover 0.5
  cross_validate.py --data build/idrid-1440 --out build/fine -- --iterations 8000
  cross_validate.py --data build/idrid-720 --out build/coarse --start build/fine \\
      -- --iterations 4000 --lr 2e-3
  combine_scales.py --runs build/fine build/coarse --out build/both
  predict.py --run build/both --data build/idrid-1440 --out-of-fold --out build/maps
"""


def main(arguments: list[str] | None = None) -> int:
    """Combine and write; return 0."""
    options = _parse(arguments)
    runs, weights = options.runs, options.weights or []
    if weights and len(weights) != len(runs):
        raise UserError(
            f"--weights has {len(weights)} numbers, and --runs {len(runs)} folders: "
            "give one number for each"
        )
    found = scales.opened(runs)
    factors = scales.factors_of(found)
    merging.checked(len(found), factors, weights)
    names = scales.names_of(len(found[0].members))
    with output(options.out, "combine_scales", names):
        path = scales.combine(found, weights, options.out)
    for one, factor in zip(found, factors, strict=True):
        log.info("%s: the photograph reduced to 1/%d", one.run, factor)
    log.info("%d networks: %s", len(found[0].members), path)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add(
        "--runs",
        type=Path,
        nargs="+",
        required=True,
        help="output folders of cross_validate.py, of the same folds",
    )
    add(
        "--weights",
        type=cli.above_zero,
        nargs="+",
        help="weight of each in the mean (default: all alike)",
    )
    add("--out", type=Path, required=True, help="output folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
