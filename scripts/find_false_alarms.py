"""Find where a network sees lesions that are none, to train on these places again."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
import shlex
from pathlib import Path

import _start  # noqa: F401

from randrop import cli
from randrop.data import check_lesions, read_dataset
from randrop.errors import UserError
from randrop.evaluation.false_alarms import find
from randrop.files import ownership, schema, write_json
from randrop.files.documents import Prediction

log = logging.getLogger("randrop")

DESCRIPTION = """\
Find the false alarms of a network in its training photographs.

Reads the probability maps that predict.py wrote for them, and writes FILE (JSON): the
place and the probability of each peak outside all lesions of its type, of which
train.py --false-alarms --false-alarm-share then takes its share of patches.
"""

EXAMPLES = """\
  predict.py --run build/run --data build/data --subset train --out build/seen
  find_false_alarms.py --probabilities build/seen --data build/data --out build/fa.json
  train.py --data build/data --false-alarms build/fa.json --false-alarm-share 0.2 \\
           --out build/run2
"""


def main(arguments: list[str] | None = None) -> int:
    """Find and write; return 0."""
    options = _parse(arguments)
    if not 0 <= options.least <= 1:
        raise UserError(f"--least is {options.least:g}: give a probability, 0 to 1")
    if options.most < 1:
        raise UserError(f"--most is {options.most}: give at least 1")
    ownership.check_kind(options.out, ".json", '"randrop false alarms"')
    root = options.probabilities
    lesions = options.lesions or _predicted(root)
    check_lesions(lesions)
    cases = read_dataset(options.data, options.split).subset(options.subset)
    found = find(cases, lesions, root, options.least, options.most)
    for lesion in lesions:
        count = sum(
            alarm["type"] == lesion
            for own in found["photographs"].values()
            for alarm in own["alarms"]
        )
        log.info(
            "%s: %d false alarms of at least %g in %d photographs",
            *(lesion, count, options.least, len(cases)),
        )
    if not any(own["alarms"] for own in found["photographs"].values()):
        raise UserError(
            f"there is no false alarm of at least {options.least:g}: give a smaller "
            "--least; nothing was written"
        )
    write_json(options.out, found)
    log.info(
        "Train: train.py --false-alarms %s --false-alarm-share 0.2",
        shlex.quote(str(options.out)),
    )
    return 0


def _predicted(root: Path) -> list[str]:
    path = root / "prediction.json"
    if not path.is_file():
        raise UserError(f"{root} has no prediction.json: give the --lesions to look at")
    remedy = "predict again with scripts/predict.py"
    return schema.read_json(path, Prediction, remedy, ("lesions",))["lesions"]


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add(
        "--probabilities",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of maps, from predict.py --subset train",
    )
    add("--data", type=Path, required=True, help="data set with the masks")
    add("--split", type=Path, help="JSON file with the subsets")
    add("--subset", default="train", help="the subset that was predicted")
    add("--lesions", nargs="+", help="types; default: all of the maps")
    add("--out", type=Path, required=True, metavar="FILE", help="JSON file to write")
    add(
        "--least",
        type=cli.finite,
        default=0.1,
        metavar="P",
        help="smallest probability of a false alarm",
    )
    add(
        "--most",
        type=int,
        default=50,
        metavar="N",
        help="false alarms of a type in a photograph, the most probable ones",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
