"""Train a network with `caffe train` and the loss of your choice."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from randrop import cli
from randrop.data import read_dataset
from randrop.data.arrays import files_of
from randrop.data.labelled import SUBSETS
from randrop.errors import UserError
from randrop.files import split_file
from randrop.files.locks import locked
from randrop.losses.registry import ACTIVATIONS, NAMES
from randrop.nets.losses import GRAMMAR
from randrop.pycaffe import precision
from randrop.training import (
    caffe_train,
    continuing,
    prototxts,
    snapshots,
    validation,
    weights,
)
from randrop.training.patch_arguments import add_patch_arguments
from randrop.training.ranks import started
from randrop.training.ranks.common import files, ranked
from randrop.training.settings import OF_PHOTOGRAPHS, settings_of
from randrop.training.shares import WHOLE, Share

log = logging.getLogger("randrop")

_LOSSES = "\n".join(f"  {name:23} {kind.about}" for name, kind in NAMES.items())

EXAMPLES = f"""\
  scripts/train.py --data build/idrid --lesions MA HE --out build/run
  scripts/train.py --data build/idrid --loss random-drop:SQU --out build/run-squ
  scripts/train.py --data build/idrid --out build/run --resume
  scripts/train.py --data build/idrid --out build/run --resume --iterations 8000
  scripts/train.py --data build/organs2d --loss cross-entropy+top-k-dice:50 \\
      --batch 2 --out build/run-organs

data: fundus photographs with masks (a U-Net on patches, with one sigmoid channel per
lesion type or a softmax), or a labelled set from scripts/make_organs.py (whole images,
a softmax).

losses: {GRAMMAR}
{_LOSSES}

Ctrl-C writes a snapshot and stops; --resume continues from there, with more
--iterations than before on the learning rates of that length. The folder then contains
train_val, solver and deploy.prototxt, log.txt, curves.json and .png, snapshots/,
best.caffemodel (highest mean average precision on the validation photographs) and
final.caffemodel (the last), with SHA-256 digests beside weights and snapshots
(sha256sum -c). Only one training at a time can write into a folder. It replaces and
removes only its own files.
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
    add(
        "--python-layer",
        action="store_true",
        help="use the Python twins, for any Caffe",
    )
    add(
        "--iterations",
        type=int,
        default=4000,
        help="length; a larger number with --resume extends a training",
    )
    add("--batch", type=int, default=2, help="patches or images per iteration")
    add("--patch", type=int, help="side of a patch in pixels")
    add(
        "--base-channels",
        type=int,
        help="channels of the first level; default: 16, explog3d 8",
    )
    add("--depth", type=int, help="levels; default: unet 4, lseg 5, explog3d 3")
    add(
        "--max-channels",
        type=int,
        help="unet: no level has more; channels double with each level without it",
    )
    add("--prior", type=cli.finite, help="initial probability of every pixel")
    add(
        "--lr",
        type=cli.above_zero,
        default=1e-3,
        help="initial learning rate, which falls to 0",
    )
    add(
        "--activation",
        choices=ACTIVATIONS,
        help="photographs: one sigmoid per lesion type, or a softmax over the types "
        "and background; default: sigmoid if the loss supports it",
    )
    add("--lesion-share", type=cli.finite, help="share of patches centred on a lesion")
    add(
        "--lesion-weights",
        nargs="+",
        metavar="TYPE=W",
        help="relative frequency of each type among these patches; default: 1",
    )
    add_patch_arguments(parser)
    add("--seed", type=int, default=1, help="seed of weights, patches and masks")
    add("--workers", type=int, help="data workers")
    add("--threads", type=int, help="threads of the BLAS library; default: all")
    add("--test-interval", type=int, default=200, help="iterations between validations")
    add(
        "--test-iterations",
        type=int,
        help="batches per validation; default: 20, or all images",
    )
    add("--snapshot", type=int, default=1000, help="iterations between snapshots")
    add(
        "--validate-every",
        type=int,
        metavar="N",
        help="photographs: iterations between measurements of average precision and "
        "FROC on whole validation photographs, a multiple of --snapshot; the last "
        "iteration is always measured; 0: never; default: each snapshot, or less often "
        "where that would take more than about a tenth of the training",
    )
    add(
        "--validate-photographs",
        type=int,
        metavar="K",
        help="measure at most so many, evenly spaced among the validation photographs; "
        "default: 16",
    )
    add("--watch-mask", action="store_true", help="record the share of kept negatives")
    add(
        "--weights",
        type=Path,
        help="start from this caffemodel; the log lists the layers that match by name",
    )
    add("--gpu", action="store_true", help="train on the first visible GPU")
    add(
        "--bf16",
        action="store_true",
        help="round numbers to bfloat16 before they are multiplied, which processors "
        "with instructions for it do faster (Intel from 2020, AMD from 2022): for 16 "
        "base channels and more",
    )
    add(
        "--mpi",
        action="store_true",
        help="train on all ranks that mpiexec started: each takes its share of --batch",
    )
    add(
        "--mpi-patience",
        type=cli.above_zero,
        default=600.0,
        metavar="S",
        help="with --mpi: end where other ranks do not come within S seconds",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume",
        action="store_true",
        help="continue from the newest snapshot; --workers, --gpu, --snapshot, "
        "--test-interval, --validate-every and --validate-photographs may change",
    )
    start.add_argument(
        "--force",
        action="store_true",
        help="train from scratch, even if the folder contains a training",
    )
    return parser.parse_args(given)


def main() -> int:
    """Write the run folder, train, and draw the curves."""
    try:
        options = arguments()
        precision.choose(options.bf16, options.gpu)
        place = started.check(options.mpi)
    except (SystemExit, UserError) as error:
        started.tell(error)
        raise
    if place and place.rank:
        _join(options, place)
    others = place and started.Others(place, options.mpi_patience)
    with started.waiting(others):
        return _main(options, others)


def _join(options: argparse.Namespace, place: started.Started) -> None:
    """Become one of the other ranks, which also says if it cannot take part."""
    others = started.Others(place, options.mpi_patience)
    # The first rank says it.
    log.setLevel(logging.WARNING)
    try:
        settings = ranked(settings_of(options), place.ranks)
        plan = others.plan(options.out.resolve(), settings, photographs=files(settings))
    except (UserError, OSError) as error:
        plan = others.plan(options.out, {}, error=str(error))
    started.become(place, options.threads, plan)


def _main(options: argparse.Namespace, others: started.Others | None) -> int:
    settings = settings_of(options)
    if others:
        settings = ranked(settings, others.started.ranks)
    run = options.out.resolve()
    known = not options.force and _is_known(run, options, settings)
    if known and continuing.is_trained(run, options.iterations):
        snapshots.check_weights(run / "final.caffemodel")
        log.info("%s is already trained; use --force to train from scratch", run)
        return 0
    with locked(run) as lock:
        # Another training may have run in the meantime.
        known = not options.force and _is_known(run, options, settings)
        return _train(run, options, settings, known, lock, others)


def _is_known(run: Path, options: argparse.Namespace, settings: dict[str, Any]) -> bool:
    return continuing.same_settings(run, settings, options.resume)


def _train(
    run: Path,
    options: argparse.Namespace,
    settings: dict[str, Any],
    known: bool,
    lock: int | None,
    others: started.Others | None,
) -> int:
    """Train in a folder that nobody else writes to."""
    snapshot = None
    if options.resume:
        snapshot = snapshots.newest(run)
        if not known:
            raise UserError(
                f"{run} has no run.json, which --resume needs: train from scratch "
                "with --force"
            )
    elif not options.force and snapshots.states(run):
        raise UserError(
            f"{run} contains an unfinished run: continue with --resume, or train from "
            "scratch with --force"
        )
    if options.weights and snapshot is None:
        texts = prototxts.texts(run, settings, 0)
        weights.check(options.weights, texts["deploy.prototxt"])
    mpi, share = None, WHOLE
    if others:
        share = Share(0, others.started.ranks)
        mpi = others, others.plan(run, settings, photographs=files(settings))
    dataset = split = None
    if "labels" not in settings:
        dataset = read_dataset(settings["data"], settings["split"])
        split = split_file.of_training(dataset.splits)
        if settings["split"]:
            split = split_file.read(Path(settings["split"]))
    caffe_train.write_run(run, settings, snapshot, share, split)
    log.info("Training in %s; the log is log.txt in that folder", run)
    if dataset is not None:
        # The data workers' words are in the log alone.
        files_of([case for subset in SUBSETS for case in dataset.subset(subset)])
    complete = caffe_train.train(
        *(run, options.iterations, snapshot, options.weights, options.threads, lock),
        *(validation.plan_of(settings), mpi),
    )
    # matplotlib needs half a second to load.
    from randrop.report import training_curves

    training_curves.draw(run)
    if complete:
        log.info("Trained: %s", caffe_train.finish(run, options.iterations))
        return 0
    try:
        at = snapshots.iteration_of(snapshots.newest(run))
    except UserError:
        log.warning(
            "Stopped before the first snapshot: the next run starts from scratch"
        )
    else:
        log.warning(
            "Stopped. Run the same command with --resume to continue from iteration %d",
            at,
        )
    return 130


if __name__ == "__main__":
    cli.run(main)
