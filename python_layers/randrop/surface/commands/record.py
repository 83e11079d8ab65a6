"""Record what losses and predictions are, pixel by pixel, through a training."""

import argparse
import logging
import os
import time
from pathlib import Path

from randrop.errors import UserError

log = logging.getLogger("randrop")

NAME = "record"
HELP = "loss maps and measures through a training"
DESCRIPTION = """\
Record what losses and predictions are, pixel by pixel, through a training.

For each snapshot of RUN and a few fixed images, OUT gets the prediction, the loss of
each pixel under the trained loss and under others, and the pixels that a loss keeps.
For more images of both subsets it gets measures: loss, accuracy, IoU, confidence on
foreground and on background, average precision and calibration. The images are the
crops with the most lesions, one of a photograph, or the first images of a labelled set:
compare their measures along a training, and use evaluate.py for results.

Run the same command again to continue a recording that was interrupted, or to add new
snapshots.
"""
EXAMPLES = """\
  scripts/surface.py record --run build/run
  scripts/surface.py record --run build/run --losses focal:gamma=5 dice --every 500 \\
      --out build/focal.h5
  scripts/surface.py record --run build/run --while-training   # beside train.py

Take many snapshots for a smooth film: train.py --snapshot 200. Losses have the form of
train.py --loss.
"""

NEEDED = ("loss", "iterations", "data")
_REMEDY = "give the output folder of scripts/train.py with --run"
_PATIENCE = 60.0
"""Seconds to wait for a training that has just been started."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--run", type=Path, required=True, help="output folder of scripts/train.py")
    add("--data", type=Path, help="data set of the images; default: that of the run")
    add("--split", type=Path, help="JSON file: names for training and validation")
    add(
        "--losses",
        nargs="+",
        metavar="LOSS",
        help="losses to compare with the trained one; default: one of each family",
    )
    add(
        "--images",
        nargs="+",
        metavar="NAME",
        help="images to show; default: the two with the most lesions of each subset",
    )
    add("--measured", type=int, default=8, help="images of each subset to measure")
    add("--size", type=int, default=256, help="side of a crop in pixels")
    add(
        "--every",
        type=int,
        metavar="N",
        help="record snapshots whose iteration is a multiple of N, and the last; "
        "default: such that they are at most 20",
    )
    add(
        "--out",
        type=Path,
        help="file to write; default: surface/recording.h5 in the folder of the run",
    )
    add(
        "--while-training",
        action="store_true",
        help="record beside a training in progress, at low priority, until it ends",
    )
    add("--force", action="store_true", help="replace a recording of something else")


def run(options: argparse.Namespace) -> int:
    """Record; return 0."""
    if options.while_training:
        # Before libraries start their threads.
        os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        os.nice(10)
        _wait_for(options.run)
    from randrop.surface import recorder, scenes

    for name, least in (("every", 1), ("size", 1), ("measured", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name} is {value}: give {least} or more")
    plan = _plan(options)
    data = options.data or Path(plan.settings["data"])
    choice = scenes.Choice(
        options.size,
        measured=options.measured,
        names=tuple(options.images or ()),
        split=options.split,
    )
    images = scenes.read(data, plan.settings, choice)
    recording = recorder.Recorder(plan, images, data.resolve().name)
    try:
        recording.record(options.force, options.while_training)
    except KeyboardInterrupt:
        log.warning("Stopped. Run the same command again to continue")
        raise
    _report(recording)
    return 0


def _wait_for(run_folder: Path) -> None:
    """Wait until a training that has just been started has written its settings."""
    from randrop.files.locks import is_locked

    until = time.monotonic() + _PATIENCE
    while not (run_folder / "deploy.prototxt").exists():
        if time.monotonic() > until and not is_locked(run_folder):
            break
        time.sleep(0.2)


def _plan(options: argparse.Namespace) -> "recorder.Plan":  # noqa: F821
    from randrop.files.documents import read_run
    from randrop.surface import recorder
    from randrop.surface.compared import losses_of

    if options.out and options.out.suffix != ".h5":
        raise UserError(f"--out {options.out}: give a name that ends in .h5")
    settings = read_run(options.run, _REMEDY, NEEDED)
    if not settings.get("labels") and not settings.get("lesions"):
        raise UserError(f"{options.run / 'run.json'}: missing 'lesions': {_REMEDY}")
    return recorder.Plan(
        run=options.run,
        settings=settings,
        losses=losses_of(settings, options.losses),
        every=options.every or recorder.every_of(settings),
        out=options.out or options.run / "surface" / "recording.h5",
    )


def _report(recording: "recorder.Recorder") -> None:  # noqa: F821
    """Say what was recorded, what was not, and how long it took."""
    plan = recording.plan
    if recording.not_finite:
        log.warning(
            "The loss is not a number on some images: %s. Those measures are null",
            ", ".join(sorted(recording.not_finite)),
        )
    for iteration, why in sorted(recording.skipped.items()):
        log.warning("iteration %d is skipped: %s", iteration, why)
    if recording.skipped:
        log.warning("%d snapshots are skipped", len(recording.skipped))
    count = len(recording.seconds)
    each = sum(recording.seconds) / max(count, 1)
    log.info(
        "%s: %d snapshots, %d new, %.1f s each; %d images, %d losses, %.1f MB",
        *(plan.out, recording.recorded, count, each, len(recording.shown)),
        *(len(plan.losses), plan.out.stat().st_size / 1e6),
    )
