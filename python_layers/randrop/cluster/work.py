"""Pieces of work, and running them on this machine."""

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

from randrop.errors import UserError
from randrop.pycaffe import processes
from randrop.pycaffe.build import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"


@dataclasses.dataclass(frozen=True)
class Work:
    """A call that takes minutes or hours, can be stopped, and continues when repeated.

    Attributes
    ----------
    name : str
        For messages.
    folder : Path
        What it writes into; no two pieces of work have the same.
    call : callable
        A function of a module, called with `arguments` and a `processes.Children`, in
        which it runs its programs. It may raise UserError.
    arguments : tuple
        They can be pickled, and their `repr` tells different work apart.
    progress : callable
        Called with `arguments`; returns what changes when the work has come further.
    done : bool
        What is left takes seconds.
    """

    name: str
    folder: Path
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    progress: Callable[..., Any]
    done: bool = False


Outcomes = tuple[list[Any], list[str | None]]
"""For each piece of work, its result and its error; one of them is None."""

Executor = Callable[[Sequence[Work]], Outcomes]
"""What runs pieces of work, and goes on after failures."""


def run_here(
    works: Sequence[Work], at_once: int, children: processes.Children
) -> Outcomes:
    """Run works on this machine, `at_once` at a time.

    Parameters
    ----------
    works : sequence of Work
    at_once : int
    children : Children
        Already entered, so that a signal stops what runs.
    """
    done: list[Any] = [None] * len(works)
    failed: list[str | None] = [None] * len(works)
    with ThreadPoolExecutor(at_once) as pool:
        futures = {
            pool.submit(work.call, *work.arguments, children): k
            for k, work in enumerate(works)
        }
        try:
            for future in tqdm(as_completed(futures), total=len(works), unit="run"):
                k = futures[future]
                try:
                    done[k] = future.result()
                except (UserError, OSError) as error:
                    failed[k] = str(error)
                    say_failed(works[k], error)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return done, failed


def here(at_once: int, children: processes.Children) -> Executor:
    """Return what runs works on this machine; see `run_here`."""
    return functools.partial(run_here, at_once=at_once, children=children)


def say_failed(work: Work, error: object) -> None:
    """Show why a piece of work failed, above the progress bar."""
    tqdm.write(f"error: {work.name}: {error}", file=sys.stderr)


def run_script(
    name: str, words: Sequence[str], folder: Path, children: processes.Children
) -> None:
    """Run a script, with its output in `folder/<name>.out`.

    Raises
    ------
    UserError
        If it fails: its last line, and the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.out"
    with log.open("w") as stream:
        status = children.run(
            [sys.executable, str(SCRIPTS / f"{name}.py"), *words],
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    if status:
        last = (log.read_text(errors="replace").strip() or "?").splitlines()[-1]
        raise UserError(f"{name}.py ended with {status}: {last} ({log})")
