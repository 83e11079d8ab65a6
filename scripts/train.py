"""Train a network by `caffe train` with the loss of your choice."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from randrop import cli
from randrop.errors import UserError
from randrop.files.locks import locked
from randrop.losses.registry import ACTIVATIONS, NAMES
from randrop.nets.losses import GRAMMAR
from randrop.report import training_curves
from randrop.training import caffe_train, prototxts, snapshots, weights
from randrop.training.settings import OF_PHOTOGRAPHS, settings_of

log = logging.getLogger("randrop")

_LOSSES = "\n".join(f"  {name:23} {kind.about}" for name, kind in NAMES.items())

EXAMPLES = f"""\
  scripts/train.py --data build/idrid --lesions MA HE --out build/run
  scripts/train.py --data build/idrid --loss random-drop:SQU --out build/run-squ
  scripts/train.py --data build/idrid --out build/run --resume
  scripts/train.py --data build/organs2d --loss cross-entropy+top-k-dice:50 \\
      --batch 2 --out build/run-organs

data: fundus photographs and masks (a U-Net on patches, a sigmoid channel a lesion type
or a softmax), or a labelled set of scripts/make_organs.py (whole images, a softmax).

losses: {GRAMMAR}
{_LOSSES}

Ctrl-C snapshots and stops; --resume goes on from there. The folder then holds
train_val, solver and deploy.prototxt, log.txt, curves.json and .png, snapshots/ and
final.caffemodel, with SHA-256 digests beside weights and snapshots (sha256sum -c).
One training at a time writes into a folder, and nothing there that is not its own is
replaced or removed.
"""


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line, or the given arguments."""
    parser = cli.parser(__doc__, EXAMPLES)
    parser.set_defaults(**OF_PHOTOGRAPHS)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of the data set")
    add("--split", type=Path, help="JSON file: names for training and validation")
    add("--lesions", nargs="+", help="output channels, in order")
    add("--out", type=Path, required=True, help="run folder")
    add("--net", choices=prototxts.NETS, help="unet or lseg; explog3d for volumes")
    add("--loss", default="random-drop", help="see below")
    add("--python-layer", action="store_true", help="Python twins, for any Caffe")
    add("--iterations", type=int, default=4000)
    add("--batch", type=int, default=2, help="patches or images an iteration")
    add("--patch", type=int, help="side of a patch in pixels")
    add(
        "--base-channels",
        type=int,
        help="of the first level; 16, explog3d 8",
    )
    add("--depth", type=int, help="levels; by default unet 4, lseg 5, explog3d 3")
    add("--prior", type=float, help="first probability of every pixel")
    add("--lr", type=float, default=1e-3, help="first learning rate; falls to 0")
    add("--activation", choices=ACTIVATIONS, help="of photographs: a sigmoid a lesion "
        "type, or a softmax over them and background; by default a sigmoid if the loss "
        "has one")  # fmt: skip
    add("--lesion-share", type=float, help="patches centred on a lesion")
    add("--lesion-weights", nargs="+", metavar="TYPE=W", help="how often those are on "
        "each type, in proportion; 1 unless named")  # fmt: skip
    add("--seed", type=int, default=1, help="of weights, patches and masks")
    add("--workers", type=int, help="processes that cut patches")
    add("--threads", type=int, help="of the BLAS library; by default all")
    add("--test-interval", type=int, default=200, help="iterations between validations")
    add("--test-iterations", type=int, help="batches of a validation; by default 20, "
        "or all images")  # fmt: skip
    add("--snapshot", type=int, default=1000, help="iterations between snapshots")
    add("--watch-mask", action="store_true", help="record the share of negatives kept")
    add("--weights", type=Path, help="start from this caffemodel; it is said "
        "which of its layers fit by name")  # fmt: skip
    add("--gpu", action="store_true", help="train on the first visible GPU")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest snapshot; "
        "--workers, --gpu, --snapshot and --test-interval may be others than before",
    )
    start.add_argument(
        "--force",
        action="store_true",
        help="train anew, whatever training the folder holds",
    )
    return parser.parse_args(given)


def main() -> int:
    """Write the run folder, train, and draw the curves."""
    options = arguments()
    settings = settings_of(options)
    run = options.out.resolve()
    known = not options.force and caffe_train.same_settings(run, settings)
    if known and (run / "final.caffemodel").exists():
        snapshots.check_weights(run / "final.caffemodel")
        log.info("%s is trained already; --force trains anew", run)
        return 0
    with locked(run) as lock:
        # Another training may have run in the meantime.
        known = not options.force and caffe_train.same_settings(run, settings)
        return _train(run, options, settings, known, lock)


def _train(
    run: Path,
    options: argparse.Namespace,
    settings: dict[str, Any],
    known: bool,
    lock: int | None,
) -> int:
    """Train in a folder that nobody else writes to."""
    snapshot = None
    if options.resume:
        snapshot = snapshots.newest(run)
        if not known:
            raise UserError(f"{run} has no run.json: --resume cannot tell its settings")
    elif not options.force and snapshots.states(run):
        raise UserError(
            f"{run} holds a run that was stopped: --resume goes on with it, --force "
            "trains anew"
        )
    if options.weights and snapshot is None:
        texts = prototxts.texts(run, settings, 0)
        weights.check(options.weights, texts["deploy.prototxt"])
    caffe_train.write_run(run, settings, snapshot)
    log.info("Training in %s; its log is log.txt there", run)
    complete = caffe_train.train(
        run, options.iterations, snapshot, options.weights, options.threads, lock
    )
    training_curves.draw(run)
    if complete:
        log.info("Trained: %s", caffe_train.finish(run, options.iterations))
        return 0
    try:
        at = snapshots.iteration_of(snapshots.newest(run))
    except UserError:
        log.warning("Stopped before the first snapshot: the next start is from scratch")
    else:
        log.warning("Stopped. The same command with --resume goes on from %d", at)
    return 130


if __name__ == "__main__":
    cli.run(main)
