"""Compute loss surfaces in the space of a network's weights."""

import argparse
import functools
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from randrop import cli
from randrop.cluster import options as cluster
from randrop.cluster import shares, work
from randrop.errors import UserError
from randrop.pycaffe import processes

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from randrop.surface.landscape.planning import Plan

NAME = "landscape"
HELP = "loss surfaces in the space of the weights"
DESCRIPTION = """\
Compute loss surfaces in the space of a network's weights.

The network of a run is evaluated on fixed images, at weights on a line or in a plane:

  --directions random   through its weights, in random directions in which each filter
                        has the length of the filter in the weights (Li et al., NeurIPS
                        2018); biases and batch normalisation stay
  --directions pca      the plane of the run's snapshots: the first two principal
                        components of the snapshots minus the last one. The file also
                        has each snapshot's own loss, the loss at its projection, and
                        its distance from the plane: the two losses differ because the
                        plane holds only a part of what the training changed
  --between A B         the line from model A (0) to model B (1)

Heights are any losses, computed from one forward pass. Random drop uses the same random
numbers at every point. Batch normalisation uses averages: 'kept', those of the weights
in the centre (between two models, mixed as the weights are); 'recomputed', those of the
fixed images, anew at each point. The default is kept for random directions and
recomputed for the others.

Interrupt it as you like: the same command continues where it was. A point where the
network fails or a loss is not finite becomes a hole, and is counted.
"""
EXAMPLES = """\
  surface.py landscape --run build/run --points 25
  surface.py landscape --run build/run --kind line --losses dice cross-entropy
  surface.py landscape --run build/run --directions pca --out build/trajectory.h5
  surface.py landscape --run build/run --between build/run build/run-squ
  surface.py landscape --run build/run --kind line --hessian 5
  mpiexec -n 4 build/venv/bin/python scripts/surface.py landscape --run build/run
"""

_NEEDED = ("loss", "batch", "depth")
# Of a side in pixels: more fills the memory of most machines.
_LARGEST = 8192


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--run", type=Path, required=True, help="folder of a training or a model")
    add("--out", type=Path, help="file to write; default: RUN/surface/landscape.h5")
    add("--kind", choices=("plane", "line"), help="default: plane")
    add("--directions", choices=("random", "pca"), help="default: random")
    add(
        "--between",
        type=Path,
        nargs=2,
        metavar=("A", "B"),
        help="two runs or caffemodels of the network of RUN",
    )
    add("--weights", type=Path, help="the centre; default: RUN/final.caffemodel")
    add("--points", type=int, default=51, help="along each axis")
    add(
        "--range",
        type=cli.finite,
        nargs=2,
        metavar=("FROM", "TO"),
        help="of the coordinates; default: -1 1, and -0.25 1.25 between two models",
    )
    add("--losses", nargs="+", metavar="LOSS", help="heights; default: the run's loss")
    add("--batch-norm", choices=("kept", "recomputed"), help="see above")
    add("--data", type=Path, help="data set; default: that of the run")
    add("--split", type=Path, help="JSON file with the subsets")
    add("--subset", default="train", help="of the data set")
    add("--images", type=int, default=8, help="how many images or crops")
    add("--size", type=int, help="side of a crop; default: that of the training")
    add("--whole", action="store_true", help="whole photographs in place of crops")
    add("--seed", type=int, default=1, help="of directions, crops and random drop")
    add(
        "--hessian",
        type=int,
        default=0,
        metavar="K",
        help="also the K largest eigenvalues of the Hessian of the first loss in the "
        "centre, with kept averages; takes some hundred gradients",
    )
    add(
        "--hessian-step",
        type=cli.above_zero,
        help="of its differences, relative to the length of the weights; default: the "
        "one of 0.1 to 1e-5 that agrees best with its half",
    )
    add("--workers", type=int, help="processes; default: one for each processor")
    shares.add_argument(parser, "points")
    cluster.add_arguments(parser, "with Slurm, so many shares of the points", "8")
    add("--gpu", action="store_true", help="evaluate on the first visible GPU")
    add("--force", action="store_true", help="begin anew, whatever landscape is there")


def run(options: argparse.Namespace) -> int:
    """Plan, evaluate what is missing, and write; return 0."""
    workers = _check(options)
    out = options.out = options.out or options.run / "surface" / "landscape.h5"
    settings = None if options.share else cluster.check(options)
    # Before Caffe and its libraries are loaded.
    cpus = len(os.sched_getaffinity(0))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(max(1, cpus // workers)))
    from randrop.surface.landscape import running
    from randrop.surface.landscape.ranks import Ranks

    ranks = Ranks()
    if ranks.size > 1 and (options.share or settings):
        raise UserError("--share and --executor slurm divide, too: omit mpiexec")
    if options.share:
        running.run_share(_plan(options), out, workers, options.share)
        return 0
    if settings:
        folder = running.folder_of(out)
        with processes.Children() as children:
            execute = cluster.executor(options, settings, folder, children)
            divide = functools.partial(_divide, options, out, execute)
            running.run(_plan(options), out, workers, ranks, options.force, divide)
        return 0
    with ranks.together():
        if ranks.number:
            # All ranks read the same files: one says what it found.
            logging.disable(logging.WARNING)
            running.help_out(_plan(options), workers, ranks)
        else:
            running.run(_plan(options), out, workers, ranks, options.force)
    return 0


def _divide(
    options: argparse.Namespace, out: Path, execute: work.Executor, jobs: list[int]
) -> None:
    """Have jobs evaluated in shares of all jobs."""
    from randrop.surface.landscape import running

    number = min(options.jobs or shares.DEFAULT, len(jobs))
    folders = [
        running.share_path(out, shares.Share(k, number)).parent
        for k in range(1, number + 1)
    ]
    words = sys.argv[sys.argv.index(NAME) + 1 :]
    shares.run_all(shares.works("surface landscape", words, folders), execute)


def _check(options: argparse.Namespace) -> int:
    """Check the options against each other; return the number of workers."""
    for name, least in (("points", 2), ("images", 1), ("hessian", 0), ("seed", 0)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} must be at least {least}")
    if options.seed >= 2**32:
        raise UserError(f"--seed must be below {2**32}")
    if options.size is not None and not 1 <= options.size <= _LARGEST:
        raise UserError(f"--size must be between 1 and {_LARGEST}")
    if options.workers is not None and options.workers < 1:
        raise UserError("--workers must be at least 1")
    if options.between and (options.directions or options.weights):
        raise UserError("--between defines the line: omit --directions and --weights")
    if options.between and options.kind == "plane":
        raise UserError("--between has one direction: omit --kind plane")
    if options.directions == "pca" and (options.weights or options.range):
        raise UserError(
            "--directions pca takes centre and extent from the snapshots: omit "
            "--weights and --range"
        )
    if options.range and not options.range[0] < options.range[1]:
        raise UserError(
            f"--range {options.range[0]:g} {options.range[1]:g}: give the smaller "
            "number first"
        )
    if options.whole and options.size is not None:
        raise UserError("--whole takes whole photographs: omit --size")
    if options.out and options.out.suffix != ".h5":
        raise UserError(f"--out {options.out}: give a name that ends in .h5")
    if options.hessian == 0 and options.hessian_step is not None:
        raise UserError("--hessian-step needs --hessian")
    if options.gpu and options.workers is None:
        return 1
    return options.workers or len(os.sched_getaffinity(0))


def _plan(options: argparse.Namespace) -> "Plan":
    """Read everything that the landscape depends on."""
    from randrop import nets
    from randrop.files.documents import read_run
    from randrop.prediction import networks
    from randrop.surface.compared import activation_of, channels_of
    from randrop.surface.landscape import network, planning, scene
    from randrop.surface.landscape.hessian import check_number

    settings = read_run(options.run, "name the folder of a training", _NEEDED)
    settings = _as_trained(settings)
    definition = network.define(options.run / "deploy.prototxt")
    if definition.activation != activation_of(settings):
        raise UserError(
            f"{options.run / 'deploy.prototxt'} ends in a "
            f"{definition.activation.lower()}, but run.json says "
            f"{activation_of(settings).lower()}: they belong to different trainings"
        )
    layout = definition.layout
    if options.hessian:
        check_number(options.hessian, int(layout.learned().sum()))
    channels = channels_of(settings)
    names = list(dict.fromkeys(options.losses or [settings["loss"]]))
    losses = tuple(
        nets.parse_losses(
            name, definition.activation, settings.get("frequency"), False, len(channels)
        )
        for name in names
    )
    if options.data is None and not settings.get("data"):
        raise UserError(f"{options.run / 'run.json'} names no data set: add --data")
    data = options.data or Path(settings["data"])
    split = options.split or networks.split_of(settings, data)
    images = scene.read(
        settings,
        data,
        None if split is None else Path(split),
        options.subset,
        options.images,
        options.size,
        options.whole,
        options.seed,
    )
    if not images.has_foreground():
        log.warning(
            "The images have nothing but background, where some losses are always 0: "
            "take more --images, or others with --seed"
        )
    kind, chosen, span = options.kind or "plane", options.directions or "random", None
    if options.between:
        kind, chosen, span = "line", "between", options.range or (-0.25, 1.25)
        ends = (_weights_of(path) for path in options.between)
        place = planning.between_models(layout, *ends, options.points, span)
    elif chosen == "pca":
        place = planning.along_trajectory(layout, options.run, kind, options.points)
    else:
        span = options.range or (-1.0, 1.0)
        center = options.weights or options.run / "final.caffemodel"
        place = planning.around_weights(
            layout, center, kind, options.points, span, options.seed
        )
    batch_norm = planning.check_kind(options.batch_norm, chosen, layout)
    hessian = planning.Hessian(options.hessian, options.hessian_step)
    facts = planning.facts_of(
        run=options.run,
        kind=kind,
        chosen=chosen,
        names=names,
        channels=channels,
        batch_norm=batch_norm,
        seed=options.seed,
        place=place,
        images=images,
        text=definition.text,
        span=span,
        hessian=hessian,
    )
    return planning.Plan(
        definition=definition,
        scene=images,
        losses=losses,
        place=place,
        batch_norm=batch_norm,
        seed=options.seed,
        gpu=options.gpu,
        facts=facts,
        hessian=hessian,
    )


def _as_trained(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a run with what only photographs or labelled sets need."""
    needed = ("shape",) if settings.get("labels") else ("lesions", "patch")
    missing = [name for name in needed if not settings.get(name)]
    if missing:
        raise UserError(
            f"run.json lacks {' and '.join(missing)}: name the folder of a training"
        )
    return settings


def _weights_of(path: Path) -> Path:
    return path / "final.caffemodel" if path.is_dir() else path
