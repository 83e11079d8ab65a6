"""What we tell Slurm, and what it tells us: options, submission, states."""

import contextlib
import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from randrop.cluster.work import Work
from randrop.errors import UserError
from randrop.pycaffe import processes

FOLDER = "slurm"
"""Below an output folder: what submitit writes."""

STREAMS = tuple(
    f"{FOLDER}/{name}"
    for name in ("#_submitted.pkl", "#_submission.sh", "#_0_result.pkl", "#_0_log.out")
)
"""Patterns of its files; see `files.output`."""

OWN = (
    # Jobs start in the folder of the script, which the paths in its arguments need, and
    # on the cluster that squeue asks.
    *("chdir", "clusters"),
    *("array", "error", "job-name", "kill-on-invalid-dep", "no-requeue", "open-mode"),
    *("ntasks", "ntasks-per-node", "nodes", "output", "parsable", "quiet", "requeue"),
    *("signal", "test-only", "time", "version", "wait", "wrap", "help", "usage"),
)
"""Options of sbatch that are ours, or of no use here."""

_PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "srun")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "GONE")
ENDED += ("NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE", "REVOKED")

LATE = 20.0
"""Seconds in which a result of a job that has ended may still become visible."""

_PATIENCE = 90.0
"""Seconds for the snapshots of jobs that are cancelled."""

# Our own modules come first, and nothing from the folder in which the job starts.
_START = """\
from submitit.core.submission import submitit_main
sys.argv[1:] = sys.argv[-1:]
submitit_main()
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How jobs are submitted.

    Attributes
    ----------
    minutes : int
        The time limit of a job, after which it is requeued.
    options : mapping of str to str or True
        Further options of sbatch, by their long names.
    """

    minutes: int = 240
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def notice(self) -> int:
        """Seconds before the time limit in which a snapshot is written.

        Slurm looks at limits every half a minute, and may be a minute early.
        """
        return min(120, 20 * self.minutes)


def check(settings: Settings) -> None:
    """Refuse what could not be submitted.

    Raises
    ------
    UserError
        If submitit or a program of Slurm is missing, Slurm does not answer, or refuses
        the options.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--executor slurm needs submitit, which cannot be imported ({error}): "
            "'python3 scripts/build_caffe.py --venv-only' installs it into "
            "build/venv"
        ) from error
    for name in _PROGRAMS:
        if shutil.which(name) is None:
            raise UserError(
                f"--executor slurm needs {name}, which is not in PATH: start this on a "
                "node of the cluster from which jobs are submitted, or omit --executor"
            )
    words = [f"--{k}" if v is True else f"--{k}={v}" for k, v in _flags(settings)]
    tried = told("sbatch", "--test-only", *words, "--wrap=true")
    if tried.returncode:
        lines = [x for x in tried.stderr.splitlines() if not x.startswith("Try ")]
        said = "; ".join(line.removeprefix("sbatch: ") for line in lines)
        raise UserError(
            f"Slurm refuses jobs with {' '.join(words)}: {said or tried.returncode}: "
            "change --slurm"
        )


def _flags(settings: Settings) -> list[tuple[str, Any]]:
    """Return the options of sbatch that a user can get wrong."""
    return [("time", settings.minutes), *settings.options.items()]


def told(*command: str) -> subprocess.CompletedProcess:
    """Run a program of Slurm, and return what it says."""
    # Ctrl-C in a terminal is for us, not for it.
    return subprocess.run(
        command, capture_output=True, text=True, check=False, start_new_session=True
    )


class State(NamedTuple):
    """What squeue says of a job."""

    state: str
    name: str = ""
    reason: str = ""


def states(attempts: int = 7) -> dict[str, State]:
    """Return what squeue says of this user's jobs, by number.

    Ended ones are among them for some minutes. By default it asks for minutes.

    Raises
    ------
    UserError
        If Slurm does not answer.
    """
    command = ("squeue", f"--user={os.getuid()}", "--states=all", "--noheader")
    for attempt in range(attempts):
        found = told(*command, "--format=%i|%T|%j|%r")
        if not found.returncode:
            break
        time.sleep(2**attempt if attempt < attempts - 1 else 0)
    else:
        raise UserError(
            f"squeue fails: {found.stderr.strip()}: wait until Slurm answers, and run "
            "the same command again; jobs in the queue go on"
        )
    known = {}
    for line in found.stdout.splitlines():
        number, *found = line.split("|", 3)
        known[number] = State(*found)
    return known


def active(attempts: int = 7) -> dict[str, str]:
    """Return the names of this user's jobs that have not ended, by number."""
    return {
        number: name
        for number, (state, name, _) in states(attempts).items()
        if state not in ENDED
    }


def submitted(work: Work, name: str, settings: Settings, folder: Path) -> str:
    """Submit a job, and return its number.

    Raises
    ------
    UserError
        If Slurm refuses it.
    """
    import submitit

    from randrop.cluster.node import Attempt

    python = f"exec {shlex.join(processes.python(_START))}"
    # The node's own check of progress ends what would be requeued for ever.
    queue = submitit.SlurmExecutor(folder, max_num_timeout=2**31, python=python)
    queue.update_parameters(
        job_name=name,
        time=settings.minutes,
        # The one process of the job gets the signal, and tells its programs.
        use_srun=False,
        stderr_to_stdout=True,
        wckey=None,
        additional_parameters={
            **dict(settings.options),
            "signal": f"B:USR2@{settings.notice}",
            "requeue": True,
        },
    )
    began = time.time()
    try:
        job = queue.submit(Attempt(work))
    except submitit.core.utils.FailedJobError as error:
        for path in folder.glob(".submission_file_*.sh"):
            path.unlink(missing_ok=True)
        raise UserError(f"Slurm refuses the job of {work.name}: {error}") from error
    for path in folder.glob(".submission_file_*.sh"):
        # Links of submitit, for what renames no files.
        if path.is_symlink():
            path.unlink(missing_ok=True)
    # Numbers begin anew when a cluster is set up anew.
    result = folder / f"{job.job_id}_0_result.pkl"
    with contextlib.suppress(FileNotFoundError):
        if result.stat().st_mtime < began - LATE:
            result.unlink()
    return job.job_id


def cancel(names: Sequence[str]) -> None:
    """Cancel the jobs with these names; those that run write a snapshot first.

    Raises
    ------
    UserError
        If Slurm does not answer now: who ends a script does not wait for minutes.
    """
    wanted = set(names)
    try:
        numbers = [number for number, name in active(1).items() if name in wanted]
    except UserError as error:
        raise UserError(
            f"the jobs are not cancelled: {error}. To end them, wait until Slurm "
            f"answers, and run 'scancel --user={os.getuid()}', which ends all of "
            "yours, or the same command again and press Ctrl-C"
        ) from error
    if not numbers:
        return
    tqdm.write(
        f"Cancelling {len(numbers)} job(s) of Slurm; those that run write a snapshot "
        "first. Press Ctrl-C again to end them at once.",
        file=sys.stderr,
    )
    left = numbers
    try:
        told("scancel", "--state=PENDING", *numbers)
        told("scancel", "--batch", "--signal=TERM", *numbers)
        until = time.monotonic() + _PATIENCE
        while left and time.monotonic() < until:
            time.sleep(1)
            left = sorted(set(numbers) & set(active(2)))
    finally:
        if left:
            told("scancel", *left)
