"""A training that mpiexec has started: its ranks, and the children that speak MPI.

The process that mpiexec starts is train.py. The one that speaks MPI is its child, in
the place of `caffe train`: so the first rank shows, checks and validates as a training
without MPI does. On the other ranks, train.py becomes that child.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from randrop import mpiexec
from randrop.errors import UserError
from randrop.mpiexec import Started
from randrop.pycaffe import processes
from randrop.pycaffe.build import environment


def check(wanted: bool) -> Started | None:
    """Return the place of this process for a training with --mpi.

    Parameters
    ----------
    wanted : bool
        Whether --mpi was given.

    Raises
    ------
    UserError
        If it was, and no mpiexec started this process or mpi4py is missing; or if it
        was not, and there are several.
    """
    started = mpiexec.started()
    if not wanted:
        mpiexec.check_alone("add --mpi, and each takes its share of --batch")
        return None
    if started is None:
        raise UserError(
            "--mpi: no mpiexec started this: start 'mpiexec -n 2 "
            f"{sys.executable} train.py ... --mpi', or omit --mpi"
        )
    try:
        import mpi4py  # noqa: F401
    except ImportError as error:
        raise UserError(f"--mpi needs mpi4py ({error}): {mpiexec.INSTALL}") from error
    return started


def command(plan: dict[str, Any]) -> list[str]:
    """Return the command of the process that speaks MPI."""
    code = "from randrop.training.ranks.rank import main; main()"
    return processes.python(code, json.dumps(plan))


def variables(started: Started | None, threads: int | None) -> dict[str, str]:
    """Return the environment of a training.

    By default, the ranks of a machine share its cores.
    """
    own = {**environment(), "GLOG_logtostderr": "1", "GLOG_minloglevel": "0"}
    if threads is None and started and started.local:
        threads = max(1, len(os.sched_getaffinity(0)) // started.local)
    if threads:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        own |= {name: str(threads) for name in names}
    return own


def handles() -> tuple[int, ...]:
    """Return the open files that it inherits: Hydra's connection to its manager."""
    try:
        return (int(os.environ["PMI_FD"]),)
    except (KeyError, ValueError):
        return ()


def become(started: Started, threads: int | None, plan: dict[str, Any]) -> None:
    """Become the process that speaks MPI, on any rank but the first."""
    for handle in handles():
        os.set_inheritable(handle, True)
    # Until it can handle them: a rank that ended before MPI starts leaves the others
    # waiting.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    words = command(plan)
    os.execve(words[0], words, variables(started, threads))


class Others:
    """The other ranks, which wait until the first one tells them what to do.

    Attributes
    ----------
    started : Started
    patience : float
        Seconds that a rank waits for the others.
    told : bool
        Whether they know: the process that speaks MPI has been started.
    """

    def __init__(self, started: Started, patience: float) -> None:
        self.started, self.patience, self.told = started, patience, False

    def plan(self, run: Path, settings: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Return the plan of this rank."""
        return {
            "run": str(run),
            "settings": settings,
            "ranks": self.started.ranks,
            "patience": self.patience,
            **more,
        }

    def end(self, status: int, error: str = "") -> None:
        """Let them end with this status; an error is shown by who calls this."""
        self.told = True
        plan = {"ranks": self.started.ranks, "patience": self.patience}
        plan |= {"status": status, "error": error}
        processes.run(
            command(plan),
            env=variables(self.started, 1),
            pass_fds=handles(),
            stderr=subprocess.DEVNULL,
        )


def tell(error: SystemExit | UserError) -> None:
    """Let the other ranks end where this one was started wrongly.

    They would wait for it. The error is shown first, as mpiexec may then kill this one.

    Raises
    ------
    SystemExit
        If there are others.
    """
    place = mpiexec.started()
    usage = isinstance(error, SystemExit)
    if not place or place.ranks == 1 or (usage and not error.code):
        return
    if not usage:
        print(f"error: {error}", file=sys.stderr, flush=True)
    with contextlib.suppress(ImportError):
        import mpi4py  # noqa: F401

        why = "its options are wrong, as it says" if usage else str(error)
        Others(place, 60).end(2, why)
    raise SystemExit(2)


@contextlib.contextmanager
def waiting(others: Others | None) -> Iterator[None]:
    """Let the other ranks end where the block ends before it tells them anything."""
    try:
        yield
    except BaseException as error:
        if others and not others.told:
            stopped = isinstance(error, KeyboardInterrupt)
            others.end(130 if stopped else 2, str(error) or type(error).__name__)
        raise
    if others and not others.told:
        others.end(0)


def log_of(run: Path, rank: int) -> Path:
    """Return where a rank but the first writes its log."""
    return run / f"rank{rank}.txt"
