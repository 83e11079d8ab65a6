"""Train and evaluate the same network under several losses and seeds."""

WANTED: str = "Python 3.10 or newer"

import argparse
import dataclasses
from pathlib import Path

import _start  # noqa: F401

import train
from randrop import cli
from randrop.cluster import options as cluster
from randrop.cluster import queue
from randrop.data.labelled import is_labelled
from randrop.errors import UserError
from randrop.files import output, ownership
from randrop.pycaffe import processes
from randrop.training import comparing, running
from randrop.training.settings import check_loss, settings_of

EXAMPLES = """\
  scripts/compare.py --data build/idrid --losses random-drop:LOG cross-entropy \\
      --seeds 1 2 --out build/compare -- --iterations 4000 --patch 256
  scripts/compare.py --data build/idrid --losses cross-entropy random-drop:LOG \\
      --learning-rates 3e-4 1e-3 3e-3 --search-iterations 800 --seeds 1 2 \\
      --out build/compare-lr -- --iterations 4000
  scripts/compare.py --data build/organs2d --losses cross-entropy cross-entropy+dice \\
      --seeds 1 2 3 --out build/compare-organs -- --iterations 1500 --batch 2

scripts/train.py --help lists the losses. Arguments after -- go to train.py. Run the
same command again to continue after a stop; finished runs are kept. When this script
ends, its trainings end too; after Ctrl-C or SIGTERM they write a snapshot first. OUT
contains one folder per run, summary.json, summary.md (mean and spread over seeds, and
differences to the first loss or --reference, paired by seed) and summary.png.

With --learning-rates, each loss uses its own best rate: it is trained with every rate
on the first four fifths of the training photographs, and the rate with the highest mean
average precision on the last fifth wins. The validation photographs are not used.
"""


def check(plan: comparing.Plan) -> None:
    """Check all trainings before the first: losses, data, arguments after --.

    Raises
    ------
    UserError
        As in scripts/train.py; names the loss.
    """
    settings = None
    for loss in dict.fromkeys(plan.losses):
        own = train.arguments(comparing.steps_of(plan, loss, plan.seeds[0])["train"])
        if settings is None:
            settings = settings_of(own)
        else:
            check_loss(own, settings)


def arguments() -> argparse.Namespace:
    """Parse the command line; arguments after `--` go to train.py."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        help="prepared photographs or a labelled set",
    )
    add("--split", type=Path, help="as --split of train.py; photographs only")
    add(
        "--lesions",
        nargs="+",
        default=["MA", "HE"],
        help="lesion types; photographs only",
    )
    add("--losses", nargs="+", required=True, help="as --loss of train.py")
    add("--learning-rates", type=cli.above_zero, nargs="+", default=[], metavar="LR",
        help="train each loss with the best of these; photographs only")  # fmt: skip
    add(
        "--search-iterations",
        type=int,
        default=800,
        help="iterations per trial of a rate",
    )
    add("--seeds", type=int, nargs="+", default=[1])
    add("--out", type=Path, required=True)
    add(
        "--reference", metavar="LOSS", help="compare with this loss; default: the first"
    )
    add("--costs", action="store_true", help="also time one iteration of each loss")
    cluster.add_arguments(parser, "so many trainings at once")
    add("--results", type=Path,
        help="also write the summary to NAME.json, NAME.md and NAME.png")  # fmt: skip
    add("training", nargs="*", help="after --: arguments for train.py")
    return parser.parse_args()


def main() -> int:
    """Run all, continue after failures, write the summary and print its tables."""
    options = arguments()
    if options.costs and options.executor != "local":
        raise UserError(
            "--costs times iterations on this machine: omit it, and add it when you "
            "run the same command on a node without --executor"
        )
    settings = cluster.check(options)
    if not options.data.is_dir():
        raise UserError(f"--data {options.data}: the folder does not exist")
    if options.reference not in (None, *options.losses):
        raise UserError(
            f"--reference {options.reference} is not among the --losses: add it, or "
            "choose one of them"
        )
    running.check_training(
        options.training,
        ("--data", "--split", "--lesions", "--out", "--resume", "--force", "--seed"),
    )
    if options.learning_rates:
        if is_labelled(options.data):
            raise UserError(
                "--learning-rates works only with photographs: give --lr after --"
            )
        if "--lr" in options.training:
            raise UserError("give --learning-rates, or --lr after --, not both")
    fields = [field.name for field in dataclasses.fields(comparing.Plan)]
    plan = comparing.Plan(**{name: getattr(options, name) for name in fields})
    check(plan)
    results = options.results and [
        options.results,
        *(options.results.with_suffix(suffix) for suffix in (".md", ".png")),
    ]
    if results:
        ownership.check_kind(options.results, ".json", '"differences"')
        ownership.check(*results)
    names = ("summary.json", "summary.md", "summary.png", "search/split.json")
    logs = ("*-seed*/*.out", "search/*/*-seed*/*.out", *queue.STREAMS)
    written = output(options.out, "compare", names, streams=logs)
    with written, processes.Children() as children:
        execute = cluster.executor(options, settings, options.out, children)
        content = comparing.compare(plan, execute)
        for path in {options.out / "summary.json", options.results} - {None}:
            text = comparing.write(path, content)
        print(text)
        return 1 if content["failed"] else 0


if __name__ == "__main__":
    cli.run(main)
