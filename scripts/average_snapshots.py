"""Average the weights of the last snapshots of a training (SWA)."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from randrop import cli
from randrop.data import read_dataset
from randrop.data.datasets import digests
from randrop.errors import UserError
from randrop.files import output, ownership, write_json
from randrop.files.documents import read_run
from randrop.training import averaging, snapshots, validation

log = logging.getLogger("randrop")

EXAMPLES = """\
  scripts/average_snapshots.py --run build/run --last 5
  scripts/predict.py --run build/run --weights build/run/averaged.caffemodel eye.jpg

The mean of the weights of the last K snapshots often generalises better than the last
weights alone, if the snapshots lie far enough apart: train with a --snapshot of a
twentieth of the iterations, for instance. The statistics of batch normalisation are
computed anew over training patches. RUN, or the folder of --out, then contains
averaged.caffemodel with its SHA-256, and averaged.json: the iterations, and average
precision and FROC of the mean and of the last snapshot on the validation photographs.
Nothing else in RUN changes.
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--run", type=Path, required=True, help="folder of a training")
    add("--last", type=int, default=5, metavar="K", help="number of snapshots")
    add(
        "--batches",
        type=int,
        default=200,
        help="training batches for the statistics of batch normalisation",
    )
    add("--out", type=Path, help="folder of the result; default: RUN")
    add(
        "--no-measure",
        action="store_true",
        help="do not measure the result on the validation photographs",
    )
    return parser.parse_args()


def check_data(run: Path, settings: dict[str, Any]) -> None:
    """Refuse data that are not those of the training any more.

    Others would decide the statistics of batch normalisation, and those that were held
    out would be measured on them.

    Raises
    ------
    UserError
    """
    root, split = Path(settings["data"]), settings.get("split")
    again = f"that {run} was trained on: put it back, or a link to it"
    for path in filter(None, (root, split)):
        if not Path(path).exists():
            raise UserError(f"{path} is missing, {again}")
    found = digests(read_dataset(root, split), split)
    other = [k for k, own in found.items() if settings.get(k) not in (None, own)]
    if other:
        raise UserError(
            f"{root} is not as it was when {run} was trained (another split, size, "
            f"photograph or mask; {' and '.join(other)} in run.json): restore it"
        )


def main() -> int:
    """Average, write and measure; return 0."""
    options = arguments()
    run = options.run.resolve()
    settings = read_run(run, "give the output folder of scripts/train.py with --run")
    if options.batches < 1:
        raise UserError("--batches must be at least 1")
    if "labels" not in settings:
        check_data(run, settings)
    states = averaging.last_states(run, options.last)
    names = (averaging.NAME, "averaged.sha256", "averaged.json")
    out = options.out.resolve() if options.out else run
    with output(out, "average_snapshots", names):
        path = averaging.average(run, states, options.batches, out)
        content: dict[str, Any] = {
            "iterations": [snapshots.iteration_of(state) for state in states],
            "batches": options.batches,
            "weights_sha256": ownership.sha256(path),
        }
        # As during the training, or as it would have been.
        plan = validation.plan_of({"validate_photographs": 16, **settings}, always=True)
        if plan and not options.no_measure:
            content["photographs"] = list(plan.names)
            last = states[-1].with_suffix(".caffemodel")
            for what, weights in (("averaged", path), ("last", last)):
                found = validation.measure(run, weights, plan.names, plan.gpu)
                content[what] = found
                log.info("%s: %s", what, validation.in_words(found))
        write_json(out / "averaged.json", content)
    log.info(
        "Mean of iterations %s: %s",
        *(", ".join(map(str, content["iterations"])), path),
    )
    return 0


if __name__ == "__main__":
    cli.run(main)
