"""One command in several shares, each a run of its script with --share K/N."""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from randrop.cluster import queue
from randrop.cluster.work import Executor, Work, run_script
from randrop.errors import UserError
from randrop.files import ownership

SUFFIX = "shares"
DEFAULT = 8
"""So many jobs, unless --jobs says otherwise."""


class Share(NamedTuple):
    """Share `number` of `of`; the first is 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"


def parsed(text: str) -> Share:
    """Return the share that K/N names; argparse shows the error."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r}: give K/N, as 1/4, 2/4, 3/4, 4/4")
    return Share(int(number), int(of))


def add_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --share.

    Parameters
    ----------
    parser : ArgumentParser
    what : str
        What is divided.
    """
    parser.add_argument(
        "--share",
        type=parsed,
        metavar="K/N",
        help=f"only share K of N of the {what}, for a job of any cluster; when all are "
        "done, the same command without --share puts them together",
    )


def works(
    script: str,
    words: Sequence[str],
    folders: Sequence[Path],
) -> list[Work]:
    """Return the work of each share.

    Parameters
    ----------
    script : str
        Name of the script, without .py, or of the script and its command.
    words : sequence of str
        The arguments, as typed.
    folders : sequence of Path
        What each share writes into, of all of them.
    """
    name, *command = script.split()
    found = []
    for k, folder in enumerate(folders, 1):
        own = [*command, "--share", f"{k}/{len(folders)}", *words]
        found.append(
            Work(f"share {k}", folder, run_script, (name, tuple(own), folder), progress)
        )
    return found


def progress(name: str, _words: Sequence[str], folder: Path) -> list[Any]:
    """Return the files of a share with their sizes, without what it says."""
    return sorted(
        (str(path.relative_to(folder)), path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and path.name != f"{name}.out"
    )


def run_all(works: Sequence[Work], execute: Executor) -> None:
    """Run shares.

    Raises
    ------
    UserError
        If one failed.
    """
    _, failed = execute(works)
    errors = [error for error in failed if error is not None]
    if errors:
        raise UserError(
            f"{len(errors)} of {len(works)} shares failed: {errors[0]}. Run the same "
            "command again to continue"
        )


def remove(root: Path, name: str) -> None:
    """Remove the shares of what is complete; what is not ours stays.

    Parameters
    ----------
    root : Path
        The folder of their folders.
    name : str
        Of the script, without .py.
    """
    if not root.is_dir():
        return
    ours = [path for path in root.rglob("*") if ownership.is_ours(path, root)]
    ours += ownership.matching(root, queue.STREAMS)
    beside = (ownership.LIST, ownership.LOCK, f"{name}.out")
    ours += [path for own in beside for path in root.glob(f"*-of-*/{own}")]
    for path in ours:
        path.unlink(missing_ok=True)
    folders = [path for path in root.rglob("*") if path.is_dir()]
    for folder in (*sorted(folders, reverse=True), root):
        with contextlib.suppress(OSError):
            folder.rmdir()
