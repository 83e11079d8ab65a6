"""Cross-validate: train k folds, and measure every photograph by the one without it."""

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
from randrop.training import (
    continuing,
    cross_validating,
    prototxts,
    running,
    starting,
)
from randrop.training.settings import settings_of

EXAMPLES = """\
  scripts/cross_validate.py --data build/idrid --folds 5 --out build/folds -- \\
      --loss random-drop:LOG --iterations 4000
  scripts/cross_validate.py --data build/idrid-large --folds 5 --out build/larger \\
      --start build/folds -- --loss random-drop:LOG --lr 1e-3 --iterations 2000
      further, at a higher resolution
  scripts/predict.py --run build/folds --out build/maps eye1.jpg
  scripts/evaluate.py --probabilities build/folds/out-of-fold --data build/idrid \\
      --split build/folds/out-of-fold.json --subset out-of-fold --out build/report

The training and validation photographs are divided among the folds, with no patient in
two of them; a test set takes no part. Arguments after -- go to train.py. Run the same
command again to continue after a stop; finished folds are kept. When this script ends,
its trainings end too; after Ctrl-C or SIGTERM they write a snapshot first.

OUT contains
  fold1/, fold2/, ...    split.json, run, prediction and evaluation of each fold
  out-of-fold/           the map of each photograph, by the network that was not
                         trained on it
  evaluation/            these maps measured: metrics.json with intervals, report.html
  summary.json, .md      each fold, mean and spread, and all photographs together
  ensemble.json          the networks as one: predict.py --run OUT takes the mean of
                         their probabilities
"""


REMEDY = (
    "repeat the arguments of that run, in the same folders, or choose another --out"
)


def check(plan: cross_validating.Plan) -> None:
    """Check data and arguments of the trainings before the first.

    Raises
    ------
    UserError
        As in scripts/train.py, or for folds that cannot be.
    """
    # Another's file of that name is no list of folds.
    ownership.check(plan.out / cross_validating.FOLDS, maker="cross_validate")
    splits = cross_validating.splits_of(plan)
    wanted = cross_validating.check_folds(plan, splits)
    starts = cross_validating.starts_of(plan, wanted)
    for fold in range(1, len(splits) + 1):
        folder = cross_validating.folder_of(plan, fold)
        known = (folder / "run/run.json").exists()
        if known:
            words = cross_validating.steps_of(plan, fold, starts)["train"]
        else:
            # Subsets and weights are not written yet, and any will do.
            words = running.steps_on_photographs(
                folder, plan.data, plan.lesions, plan.split, plan.training
            )["train"]
        if known or fold == 1:
            settings = settings_of(train.arguments(words))
        if starts and fold == 1 and not known:
            # A training would find it, in a folder that is begun.
            texts = prototxts.texts(folder / "run", settings, 0)
            starting.check(plan.start, starts, texts["deploy.prototxt"])
        if known:
            continuing.same_settings((folder / "run").resolve(), settings, True, REMEDY)


def arguments() -> argparse.Namespace:
    """Parse the command line; arguments after `--` go to train.py."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="photographs, prepared or not")
    add("--split", type=Path, help="as --split of train.py; its test set is left out")
    add("--lesions", nargs="+", default=["MA", "HE"], help="lesion types")
    add("--folds", type=int, default=5)
    add("--fold-seed", type=int, default=0, help="seed of the draw of the folds")
    add("--out", type=Path, required=True)
    add(
        "--start",
        type=Path,
        help="start each fold from the network of that fold in another "
        "cross-validation, or in a model that export_model.py made of one",
    )
    cluster.add_arguments(parser, "so many trainings at once")
    add("training", nargs="*", help="after --: arguments for train.py")
    return parser.parse_args()


def main() -> int:
    """Run all folds, pool them, write the summary and print its tables."""
    options = arguments()
    settings = cluster.check(options)
    if not options.data.is_dir():
        raise UserError(f"--data {options.data}: the folder does not exist")
    if is_labelled(options.data):
        raise UserError(
            f"--data {options.data} is a labelled set, whose subsets are fixed: give "
            "photographs"
        )
    running.check_training(
        options.training,
        ("--data", "--split", "--lesions", "--out", "--resume", "--force"),
    )
    if options.start:
        running.check_training(options.training, ("--weights",))
    options.seed = options.fold_seed
    fields = [field.name for field in dataclasses.fields(cross_validating.Plan)]
    plan = cross_validating.Plan(**{name: getattr(options, name) for name in fields})
    check(plan)
    names = ["summary.json", "summary.md", "ensemble.json", cross_validating.FOLDS]
    names += [f"{cross_validating.POOLED}.json"]
    names += [f"{cross_validating.POOLED}/prediction.json"]
    if plan.start:
        names += [f"start/fold{k}.caffemodel" for k in range(1, plan.folds + 1)]
    names += [f"fold{k}/split.json" for k in range(1, plan.folds + 1)]
    names += [
        f"{cross_validating.POOLED}/{lesion}/{name}.png"
        for split in cross_validating.splits_of(plan)
        for name in split["validation"]
        for lesion in plan.lesions
    ]
    written = output(
        options.out,
        "cross_validate",
        names,
        streams=("fold#/*.out", "evaluate.out", *queue.STREAMS),
    )
    with written, processes.Children() as children:
        execute = cluster.executor(options, settings, options.out, children)
        content = cross_validating.cross_validate(plan, execute, children)
        print(cross_validating.write(options.out, content))
        return 1 if content["failed"] else 0


if __name__ == "__main__":
    cli.run(main)
