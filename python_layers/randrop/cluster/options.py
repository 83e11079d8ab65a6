"""The options of a script that can run its work on a cluster."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from randrop.cluster import queue, slurm, work
from randrop.errors import UserError
from randrop.pycaffe import processes

EPILOG = """\
--executor slurm submits each as a job of Slurm, and waits. A job that reaches
its time limit writes a snapshot and is requeued, as often as it takes. After Ctrl-C the
jobs are cancelled, with a snapshot of what runs; if this script ends in another way,
they go on, and the same command finds them.
"""


def add_arguments(
    parser: argparse.ArgumentParser, jobs: str = "", default: str = ""
) -> None:
    """Add --executor, --slurm and, if there are several, --jobs.

    Parameters
    ----------
    parser : ArgumentParser
    jobs : str
        What --jobs counts.
    default : str
        Of --jobs.
    """
    add = parser.add_argument
    add(
        "--executor",
        choices=("local", "slurm"),
        default="local",
        help="where the work is done: on this machine, or in jobs of Slurm",
    )
    add(
        "--slurm",
        nargs="*",
        default=[],
        metavar="KEY[=VALUE]",
        help="with --executor slurm: long options of sbatch without --, as "
        "partition=long mem=8G cpus-per-task=2 gpus=1 account=me; time=MINUTES is the "
        "limit after which a job is requeued, default: 240",
    )
    if not jobs:
        parser.set_defaults(jobs=None)
        return
    add(
        "--jobs",
        type=int,
        help=f"{jobs}; default: {default or 'one per processor, with Slurm all'}",
    )


def check(options: argparse.Namespace) -> queue.Settings | None:
    """Return how to submit to Slurm, None for this machine.

    Raises
    ------
    UserError
        If options contradict each other, or `queue.check` finds something.
    """
    if options.jobs is not None and options.jobs < 1:
        raise UserError("--jobs must be at least 1")
    if options.executor == "local":
        if options.slurm:
            raise UserError(
                f"--slurm {' '.join(options.slurm)} needs --executor slurm: add it, or "
                "omit --slurm"
            )
        return None
    settings = parsed(options.slurm)
    if "%" in str(options.out.absolute()):
        raise UserError(
            f"--out {options.out}: Slurm would replace the % in this path: choose "
            "another folder"
        )
    queue.check(settings)
    return settings


def parsed(words: Sequence[str]) -> queue.Settings:
    """Return the settings that --slurm gives.

    Raises
    ------
    UserError
        If an option is given twice, is ours, or has no whole number of minutes.
    """
    minutes, options = queue.Settings.minutes, {}
    seen = set()
    for word in words:
        key, given, value = word.partition("=")
        key = key.removeprefix("--").replace("_", "-")
        if not key or not key.replace("-", "").isalnum():
            raise UserError(f"--slurm {word!r}: give KEY=VALUE, as partition=long")
        if key in seen:
            raise UserError(f"--slurm {key} is given twice: give it once")
        seen.add(key)
        if key == "time":
            if not value.isdecimal() or int(value) < 1:
                raise UserError(
                    f"--slurm {word}: give the time limit in whole minutes, as time=240"
                )
            minutes = int(value)
        elif own := [name for name in queue.OWN if name.startswith(key)]:
            # sbatch takes abbreviations.
            raise UserError(f"--slurm {word} is not possible: {own[0]} is set by us")
        elif given and not value:
            raise UserError(f"--slurm {word} has no value: give KEY=VALUE, or KEY")
        else:
            options[key] = value if given else True
    return queue.Settings(minutes, options)


def executor(
    options: argparse.Namespace,
    settings: queue.Settings | None,
    out: Path,
    children: processes.Children,
) -> work.Executor:
    """Return what runs the work of a script.

    Parameters
    ----------
    options : Namespace
    settings : Settings or None
        As `check` returned them.
    out : Path
        The script's output folder.
    children : Children
        Already entered.
    """
    if settings is None:
        return work.here(options.jobs or os.cpu_count() or 1, children)
    return slurm.executor(settings, out, children, options.jobs)
