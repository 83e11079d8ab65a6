"""Time the losses, forward and backward, against Caffe's, PyTorch's and others'."""

WANTED: str = "Python 3.10 or newer"

import argparse
import json
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from randrop import cli
from randrop.benchmarks import losses
from randrop.benchmarks.timing import check_judges, in_a_process
from randrop.errors import UserError
from randrop.files import ownership, write_json


def measure(**task: Any) -> dict[str, float]:
    """Run a contender in its own process."""
    return in_a_process(__file__, task, task["threads"])


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(
        f"{__doc__} PyTorch, MONAI and nnU-Net come from build/judges "
        "(scripts/build_caffe.py --judges). The copy moves the bytes that a loss "
        "must move.",
        "  scripts/bench_losses.py --out results/bench_losses.json",
    )
    add = parser.add_argument
    add("--threads", type=int, nargs="+", default=[1, 2])
    add("--repeats", type=int, default=15, help="passes timed per process")
    add("--rounds", type=int, default=2, help="processes per contender")
    add(
        "--without-pytorch",
        action="store_true",
        help="time only our losses and Caffe's",
    )
    add("--out", type=Path, help="write the figures to NAME.json and NAME.png")
    add("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Time everything and print tables."""
    options = arguments()
    if options.child:
        print(json.dumps(losses.child(json.loads(options.child))))
        return
    if options.out:
        ownership.check_kind(options.out, ".json", '"growth"')
        ownership.check(options.out.with_suffix(".png"))
    if min(options.repeats, options.rounds, *options.threads) < 1:
        raise UserError("--repeats, --rounds and --threads must be at least 1")
    contenders = list(losses.CONTENDERS)
    if options.without_pytorch:
        contenders = ["native", "copy"]
    else:
        check_judges("torch", "pass --without-pytorch")
    settings = (options.threads, options.rounds, options.repeats)
    content = {
        "shapes": losses.compare(measure, contenders, *settings),
        "growth": losses.growth(measure, options.repeats),
    }
    if options.out:
        write_json(options.out, content)
        losses.draw(content, options.out.with_suffix(".png"))


if __name__ == "__main__":
    cli.run(main)
