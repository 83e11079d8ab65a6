"""Measure a trained network on a labelled set: Dice and IoU of every label."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from pathlib import Path

import _start  # noqa: F401

from randrop import cli
from randrop.data.labelled import SUBSETS, read_labelled
from randrop.evaluation import labels
from randrop.files import output, write_json

log = logging.getLogger("randrop")

EXAMPLES = """\
  scripts/evaluate_labels.py --run build/run-organs --data build/organs2d \\
      --out build/evaluation

Writes metrics.json and predictions.png into OUT. Overlaps are computed per image and
averaged; the means exclude the background.
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--run", type=Path, required=True, help="output folder of scripts/train.py")
    add("--data", type=Path, required=True, help="the labelled set")
    add("--subset", choices=SUBSETS, default="validation")
    add("--out", type=Path, required=True, help="output folder")
    return parser.parse_args()


def shown(number: float | None) -> str:
    """Return a number as text, or a dash if it is undefined (None)."""
    return "-" if number is None else f"{number:.4f}"


def main() -> None:
    """Evaluate, write, and print a table."""
    options = arguments()
    data = read_labelled(options.data)
    with output(options.out, "evaluate_labels", ("metrics.json", "predictions.png")):
        result = labels.measure(
            options.run, data, options.subset, options.out / "predictions.png"
        )
        write_json(options.out / "metrics.json", {"data": data.folder.name, **result})
    log.info("%-16s %8s %7s %7s", "label", "pixels", "Dice", "IoU")
    for name, label in result["labels"].items():
        dice, iou = shown(label["dice"]), shown(label["iou"])
        log.info("%-16s %8d %7s %7s", name, label["pixels"], dice, iou)
    dice, iou = shown(result["mean_dice"]), shown(result["mean_iou"])
    log.info("mean Dice %s, mean IoU %s", dice, iou)


if __name__ == "__main__":
    cli.run(main)
