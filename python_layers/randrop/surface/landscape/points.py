"""Many points: evaluated in parallel, written one by one, continued after a kill."""

import contextlib
import fcntl
import json
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.files import ownership
from randrop.pycaffe import processes

log = logging.getLogger("randrop")

Result = dict[str, Any]
"""`losses` (numbers, None where not finite) and `average_precision`; empty: failed."""

MAKER = "surface landscape"

_DYING = 3.0
"""Seconds to wait for the workers of a program that was killed to end, too."""


class Journal:
    """The results so far, one line of JSON each, in a file beside the landscape.

    A line is written whole and reaches the disk before the next point begins, so a
    kill costs the points in work. A line that a kill cut short is dropped. The kernel
    locks the file while a program writes to it.

    Parameters
    ----------
    out : Path
        The landscape that is to be written.
    plan : mapping
        What defines the results.

    Raises
    ------
    UserError
        If another program is at work, the file belongs to somebody else or to another
        plan, or the system refuses.
    """

    def __init__(self, out: Path, plan: Mapping[str, Any]) -> None:
        self.path = path_of(out)
        ownership.claim(out.parent, MAKER, (out.name,), streams=(self.path.name,))
        self._file = self.path.open("a+b")
        try:
            self._lock()
            self.done = self._read(plan)
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        until = time.monotonic() + _DYING
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise UserError(
                        f"another surface.py landscape is writing {self.path}: wait "
                        "until it ends, or choose another --out"
                    ) from error
                time.sleep(0.1)
            except OSError as error:
                log.warning("%s cannot be locked: %s", self.path, error.strerror)
                return

    def _read(self, plan: Mapping[str, Any]) -> dict[int, Result]:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        # What a kill cut short must not run into the next line.
        self._file.truncate(len(whole))
        if not whole:
            self._append({"plan": dict(plan)})
        return _results(self.path, whole, plan)

    def add(self, job: int, result: Result) -> None:
        """Write the result of a job."""
        self.done[job] = result
        self._append({"job": job, "result": result})

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}. Free some disk space and "
                "run the same command again: it continues there"
            ) from error

    def remove(self) -> None:
        """Remove the file, once the landscape is written."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        # What could not be written was told by `_append`.
        with contextlib.suppress(OSError):
            self._file.close()


def _results(path: Path, whole: bytes, plan: Mapping[str, Any]) -> dict[int, Result]:
    """Return the results in whole lines of a journal."""
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        if lines:
            check_plan(path, lines[0]["plan"], plan)
        return {line["job"]: line["result"] for line in lines[1:]}
    except UserError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}): begin anew with --force, or choose another "
            "--out"
        ) from error


def read(path: Path, plan: Mapping[str, Any]) -> dict[int, Result]:
    """Return the results of a journal that another program may be writing.

    Raises
    ------
    UserError
        If it belongs to another plan, or is damaged.
    """
    content = path.read_bytes()
    return _results(path, content[: content.rfind(b"\n") + 1], plan)


def path_of(out: Path) -> Path:
    """Return the journal of a landscape."""
    return out.with_name(f"{out.name}.points")


def check_plan(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to continue what another plan began.

    Raises
    ------
    UserError
        Naming the differences.
    """
    changed = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    if changed:
        shown = ", ".join(
            f"{k} {_short(old.get(k))} -> {_short(new.get(k))}" for k in changed
        )
        raise UserError(
            f"{path} holds another landscape ({shown}): choose another --out, or "
            "--force to begin anew there"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


_prepare: Callable[[], Callable[[int], Result]] | None = None
_evaluate: Callable[[int], Result] | None = None


def _run(job: int) -> Result:
    """Evaluate a job in a worker, which prepares itself for its first one."""
    global _evaluate
    if _evaluate is None:
        # Ctrl-C reaches all processes of a terminal: the first one ends the others.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _evaluate = _prepare()
    return _evaluate(job)


def computed(
    jobs: Sequence[int],
    workers: int,
    prepare: Callable[[], Callable[[int], Result]],
) -> Iterator[tuple[int, Result]]:
    """Yield (job, result) in the order in which worker processes finish.

    Parameters
    ----------
    jobs : sequence of int
    workers : int
    prepare : callable
        Called once in each worker; returns the function of a job.

    Yields
    ------
    (int, dict)
        The result is empty if the job ended its worker, alone and by itself.

    Raises
    ------
    UserError
        What a job raises.
    """
    global _prepare, _evaluate
    _prepare, _evaluate = prepare, None
    waiting = list(reversed(jobs))
    while waiting:
        suspects: list[int] = []
        yield from _round(waiting, workers, suspects)
        # One of these ended its worker: only alone can it be told which.
        for job in suspects:
            alone: list[int] = []
            yield from _round([job], 1, alone)
            for failed in alone:
                log.warning("point %d ended its process: it is left out", failed)
                yield failed, {}


def _round(
    waiting: list[int], workers: int, suspects: list[int]
) -> Iterator[tuple[int, Result]]:
    """Evaluate what waits until it is done, or a worker ends."""
    running: dict[Future, int] = {}
    with processes.pool(workers) as pool:
        while waiting or running:
            try:
                while waiting and len(running) < 2 * workers:
                    job = waiting[-1]
                    running[pool.submit(_run, job)] = job
                    waiting.pop()
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    result = future.result()
                    yield running.pop(future), result
            except BrokenProcessPool:
                for future, job in running.items():
                    broken = not future.done() or future.exception() is not None
                    if broken:
                        suspects.append(job)
                    else:
                        yield job, future.result()
                return
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def number(value: float) -> float | None:
    """Return a number as JSON has it: None if it is not finite."""
    return float(value) if math.isfinite(value) else None
