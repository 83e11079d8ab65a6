"""Compare losses by a protocol that was written down before."""

WANTED: str = "Python 3.10 or newer"

import argparse
import dataclasses
import logging
from pathlib import Path

import _start  # noqa: F401

import predict
import train
from randrop import cli
from randrop.cluster import options as cluster
from randrop.cluster import queue
from randrop.errors import UserError
from randrop.files import output, ownership
from randrop.prediction import predicting, tiles
from randrop.pycaffe import processes
from randrop.report import protocol_tables
from randrop.training import comparing, protocol, protocol_runs, running
from randrop.training.settings import settings_of

log = logging.getLogger("randrop")

OWN = ("--data", "--split", "--lesions", "--out", "--resume", "--force")
OWN += ("--loss", "--lr", "--seed", "--validate-every")
"""Options of train.py that come from the protocol's other keys."""

PREDICTION = ("--flips", "--tile", "--overlap", "--scale")
"""Options of predict.py that an arm can have."""

DESCRIPTION = """\
Train every loss of a protocol on its folds, with every learning rate, and summarise.

The protocol is a JSON file: photographs, folds, network, length, learning rates and
losses. Each training leaves a record of some kilobytes in RECORDS. A training that has
a record is not repeated: stop with Ctrl-C at any time, and run the same command again,
on this machine or another with the same photographs, to continue.

All learning rates are tried on the first fold at the full length. The one with the
highest mean average precision on the fold's validation photographs is used on every
fold. Its test photographs decide nothing and are what the summary is about.
"""

EXAMPLES = """\
  scripts/prepare.py idrid "A. Segmentation" build/idrid-1170 --width 1170
  scripts/run_protocol.py results/lesion_protocol.json --data build/idrid-1170 \\
      --out build/protocol --records results/lesion_runs --minutes 60
  scripts/run_protocol.py results/lesion_protocol.json --data build/idrid-1170 \\
      --out build/protocol-2 --records results/lesion_runs --arms top-k bin
      two losses alone, for example on another machine
  scripts/run_protocol.py results/lesion_protocol.json --data build/idrid-1170 \\
      --out build/protocol --records results/lesion_runs --jobs 4
      four trainings at once, each on one thread
  scripts/run_protocol.py results/lesion_protocol.json --records results/lesion_runs \\
      --summary results/lesion_losses.json
      the tables from the records alone
  scripts/run_protocol.py results/lesion_protocol.json --records results/lesion_runs \\
      --summary results/lesion_why.json --reference random-drop:LOG --arms bin top-k
      two losses, compared with random drop
"""


def main(arguments: list[str] | None = None) -> int:
    """Run what is open, or summarise."""
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("protocol", type=Path, help="JSON file")
    add("--data", type=Path, help="the photographs, prepared as the protocol says")
    add("--out", type=Path, help="folder for the trainings")
    add("--records", type=Path, required=True, help="folder of the records")
    add(
        "--minutes",
        type=cli.above_zero,
        help="begin no training after this time; default: run all",
    )
    add(
        "--arms",
        nargs="+",
        default=[],
        metavar="LOSS",
        help="train or summarise these losses of the protocol alone; default: all",
    )
    cluster.add_arguments(parser, "so many trainings at once", "1, with Slurm all")
    add("--summary", type=Path, help="write NAME.json, NAME.md and NAME.png")
    add(
        "--reference",
        metavar="LOSS",
        help="in the summary, compare with this loss; default: the protocol's",
    )
    options = parser.parse_args(arguments)
    wanted = protocol.read(options.protocol)
    if bool(options.data) != bool(options.out):
        raise UserError("give both --data and --out to train, or --summary alone")
    if not options.data and not options.summary:
        raise UserError("nothing to do: give --data and --out, or --summary")
    _check_folders(options)
    settings = _executor(options)
    place = protocol.Place(
        wanted, options.data, options.out, options.records, _arms(options, wanted)
    )
    summarised = _summarised(options, place)
    failed = []
    if options.data:
        if not options.data.is_dir():
            raise UserError(f"--data {options.data}: the folder does not exist")
        names = [f"fold{k}.json" for k in range(1, len(wanted.folds) + 1)]
        logs = ("*-lr*-fold*/*-seed*/*.out", *queue.STREAMS)
        written = output(options.out, "run_protocol", names, streams=logs)
        _check_arms(place)
        with written, processes.Children() as children:
            protocol_runs.begin(place)
            try:
                failed = _run(place, options, settings, children)
            except KeyboardInterrupt:
                log.info("Stopped: run the same command again to continue")
                raise
        for line in protocol.waiting(place):
            log.warning("%s", line)
    if options.summary:
        beside = [options.summary.with_suffix(end) for end in (".json", ".md", ".png")]
        ownership.check_kind(beside[0], ".json", protocol.GENERATOR)
        ownership.check(*beside[1:])
        print(protocol_tables.write(options.summary, protocol.summary(summarised)))
    return 1 if failed else 0


def _run(
    place: protocol.Place,
    options: argparse.Namespace,
    settings: queue.Settings | None,
    children: processes.Children,
) -> list[str]:
    """Perform the open trainings; return the errors."""
    if settings or options.jobs:
        execute = cluster.executor(options, settings, options.out, children)
        return protocol_runs.run_queued(place, execute, options.minutes)
    return protocol_runs.run_all(place, children, options.minutes)


def _arms(options: argparse.Namespace, wanted: protocol.Protocol) -> list[str]:
    """Check which losses to train or summarise, and with which to compare."""
    if options.reference and not options.summary:
        raise UserError("--reference is for the summary: give --summary")
    known = [arm.called for arm in wanted.arms]
    given = [("--arms", name) for name in options.arms]
    if options.reference:
        given.append(("--reference", options.reference))
    for option, name in given:
        if name not in known:
            raise UserError(
                f"{option} {name} is not in {options.protocol}, which has: "
                + ", ".join(known)
            )
    return options.arms


def _summarised(options: argparse.Namespace, place: protocol.Place) -> protocol.Place:
    """Return what the summary is of: always with its reference."""
    reference = options.reference or place.protocol.reference
    wanted = place.protocol.model_copy(update={"reference": reference})
    only = {*place.only, reference} if place.only else ()
    return dataclasses.replace(place, protocol=wanted, only=tuple(only))


def _executor(options: argparse.Namespace) -> queue.Settings | None:
    """Check how to submit to Slurm; None for trainings on this machine."""
    if options.executor == "local":
        if options.jobs and not options.out:
            raise UserError("--jobs is for trainings: give --data and --out")
    elif not options.out:
        raise UserError("--executor slurm is for trainings: give --data and --out")
    elif options.minutes:
        raise UserError(
            "--minutes is for this machine: with --executor slurm, press Ctrl-C at any "
            "time, and run the same command again to continue"
        )
    return cluster.check(options)


def _check_folders(options: argparse.Namespace) -> None:
    """Refuse folders for two purposes: their files would be taken for records."""
    given = [(f"--{name}", getattr(options, name)) for name in ("data", "out")]
    named = [(name, path) for name, path in given if path is not None]
    named.append(("--records", options.records))
    if options.summary:
        named.append(("--summary", options.summary.absolute().parent))
    records = options.records.resolve()
    for k, (name, path) in enumerate(named):
        for other, same in named[:k]:
            if path.resolve() == same.resolve() and (
                name != "--summary" or path.resolve() == records
            ):
                raise UserError(
                    f"{other} and {name} would use {path} together: choose another "
                    "folder for one of them"
                )


def _check_arms(place: protocol.Place) -> None:
    """Refuse arguments that a training would refuse, before the first begins.

    Raises
    ------
    UserError
        As in scripts/train.py; or if the curve asks for a snapshot that is not written,
        or does not end where the training ends.
    """
    wanted = place.protocol
    for arm in wanted.arms:
        if arm.networks:
            _check_prediction(place, arm)
            continue
        own = [*wanted.training, *arm.training]
        running.check_training(own, OWN)
        try:
            settings = settings_of(train.arguments(_train_words(place, arm.called)))
        except UserError as error:
            raise UserError(f"arm {arm.called} of the protocol: {error}") from error
        for iteration in wanted.curve:
            if iteration % settings["snapshot"] or iteration > settings["iterations"]:
                raise UserError(
                    f"arm {arm.called} of the protocol: its training writes no "
                    f"snapshot at {iteration}, which curve asks for: it has "
                    f"--iterations {settings['iterations']} and --snapshot "
                    f"{settings['snapshot']}"
                )
        if wanted.curve[-1] != settings["iterations"]:
            raise UserError(
                f"arm {arm.called} of the protocol: the curve ends at "
                f"{wanted.curve[-1]}, where the rate is chosen, but its training has "
                f"--iterations {settings['iterations']}: end both at the same"
            )


def _train_words(place: protocol.Place, arm: str) -> list[str]:
    """Return the arguments of an arm's first training, without its split."""
    run = protocol.Run(arm, place.protocol.learning_rates[0], 1)
    plan = protocol_runs.plan_of(place, run)
    words = comparing.steps_of(plan, plan.losses[0], 1)["train"]
    at = words.index("--split")
    # Their splits are not written yet, and any will do.
    return [*words[:at], *words[at + 2 :]]


def _check_prediction(place: protocol.Place, arm: protocol.Arm) -> None:
    """Refuse arguments that predict.py would refuse, or that are not the arm's."""
    known = " ".join(PREDICTION)
    other = [word for word in arm.prediction if word.startswith("-")]
    other = [word for word in other if word.partition("=")[0] not in PREDICTION]
    if other:
        raise UserError(
            f"arm {arm.called} of the protocol: prediction has {other[0]}: give "
            f"options of predict.py that change the maps: {known}"
        )
    folder = str(place.out)
    settings = settings_of(train.arguments(_train_words(place, arm.networks)))
    try:
        given = predict.parsed(["--run", folder, "--data", folder, *arm.prediction])
        tiles.chosen(given.tile, given.overlap, settings["stride"])
        predicting.check_scale(given.scale)
    except UserError as error:
        raise UserError(
            f"arm {arm.called} of the protocol: prediction: {error}"
        ) from error
    count = settings["iterations"] // settings["snapshot"]
    if arm.average and arm.average > count:
        raise UserError(
            f"arm {arm.called} of the protocol: average is {arm.average}, but the "
            f"trainings of {arm.networks} write {count} snapshots"
        )


if __name__ == "__main__":
    cli.run(main)
