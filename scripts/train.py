"""Train a U-Net on fundus photographs by `caffe train` with the loss of your choice."""

import argparse
import logging
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from randrop import cli, curves, training
from randrop.data import check_lesions, read_dataset
from randrop.errors import UserError
from randrop.losses import SCHEDULES

log = logging.getLogger("randrop")

EXAMPLES = """\
  scripts/train.py --data data/idrid --lesions MA HE --out build/run
  scripts/train.py --data data/idrid --loss cross-entropy --out build/run-ce
  scripts/train.py --data data/idrid --out build/run --resume

Ctrl-C snapshots and stops; --resume goes on from there. The folder then holds
train_val, solver and deploy.prototxt, log.txt, curves.json and .png, snapshots/ and
final.caffemodel.
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of photographs and masks")
    add("--split", type=Path, help="JSON file: names for training and validation")
    add("--lesions", nargs="+", default=["MA", "HE"], help="output channels, in order")
    add("--out", type=Path, required=True, help="run folder")
    add("--loss", choices=list(training.LOSSES), default="random-drop")
    add("--schedule", choices=SCHEDULES, default="LOG", help="of random-drop")
    add("--python-layer", action="store_true", help="its Python twin, for any Caffe")
    add("--iterations", type=int, default=4000)
    add("--batch", type=int, default=2, help="patches an iteration")
    add("--patch", type=int, default=256, help="side of a patch in pixels")
    add("--base-channels", type=int, default=16, help="channels of the first level")
    add("--depth", type=int, default=4, help="levels of the U-Net")
    add("--prior", type=float, default=0.01, help="first probability of every pixel")
    add("--lr", type=float, default=1e-3, help="first learning rate; falls to 0")
    add("--lesion-share", type=float, default=0.5, help="patches centred on a lesion")
    add("--seed", type=int, default=1, help="of weights, patches and masks")
    add("--workers", type=int, default=1, help="processes that cut patches")
    add("--threads", type=int, help="of the BLAS library; by default all")
    add("--test-interval", type=int, default=200, help="iterations between validations")
    add("--test-iterations", type=int, default=20, help="batches of a validation")
    add("--snapshot", type=int, default=1000, help="iterations between snapshots")
    add("--watch-mask", action="store_true", help="record the share of negatives kept")
    add("--weights", type=Path, help="start from this caffemodel")
    add("--gpu", action="store_true", help="train on the first visible GPU")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume", action="store_true", help="go on from the newest snapshot"
    )
    start.add_argument(
        "--force", action="store_true", help="train anew, whatever the folder holds"
    )
    return parser.parse_args()


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what defines the run, as run.json holds it."""
    settings = dict(vars(options))
    for name in ("out", "resume", "force", "threads"):
        del settings[name]
    for name in ("data", "split", "weights"):
        path = settings[name]
        settings[name] = None if path is None else str(path.resolve())
    settings["stride"] = 2 ** (options.depth - 1)
    return settings


def check(options: argparse.Namespace) -> None:
    """Refuse impossible settings and bad data before anything is written."""
    stride = 2 ** (options.depth - 1)
    if options.patch < 1 or options.patch % stride:
        raise UserError(
            f"--patch {options.patch} is no multiple of {stride}, which --depth "
            f"{options.depth} wants"
        )
    for name in ("iterations", "batch", "test_interval", "test_iterations", "snapshot"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1")
    if options.weights and not options.weights.exists():
        raise UserError(f"--weights {options.weights}: no such file")
    check_lesions(options.lesions)
    dataset = read_dataset(options.data, options.split)
    for subset in ("train", "validation"):
        for case in dataset.subset(subset):
            case.check_headers(options.lesions)


def main() -> int:
    """Write the run folder, train, and draw the curves."""
    options = arguments()
    settings = settings_of(options)
    run = options.out.resolve()
    check(options)
    known = not options.force and training.same_settings(run, settings)
    if known and (run / "final.caffemodel").exists():
        log.info("%s is trained already; --force trains anew", run)
        return 0
    snapshot = None
    if options.resume:
        snapshot = training.newest_snapshot(run)
        if not known:
            raise UserError(f"{run} has no run.json: --resume cannot tell its settings")
    elif not options.force and list(run.glob("snapshots/*.solverstate")):
        raise UserError(
            f"{run} holds a run that was stopped: --resume goes on with it, --force "
            "trains anew"
        )
    training.write_run(run, settings, snapshot)
    log.info("Training in %s; its log is log.txt there", run)
    complete = training.train(
        run, options.iterations, snapshot, options.weights, options.threads
    )
    curves.draw(run)
    if complete:
        log.info("Trained: %s", training.finish(run, options.iterations))
        return 0
    try:
        at = training.iteration_of(training.newest_snapshot(run))
    except UserError:
        log.warning("Stopped before the first snapshot: the next start is from scratch")
    else:
        log.warning("Stopped. The same command with --resume goes on from %d", at)
    return 130


if __name__ == "__main__":
    cli.run(main)
