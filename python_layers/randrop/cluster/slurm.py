"""Running pieces of work as jobs of Slurm, and waiting for them.

A job has the name of its folder, and digests of folder and work: whoever begins the
same work again finds the job in the queue, and waits for it. Nothing else is recorded.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from randrop.cluster.work import Outcomes, Work, run_here, say_failed
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
    *("array", "error", "job-name", "kill-on-invalid-dep", "no-requeue", "open-mode"),
    *("ntasks", "ntasks-per-node", "nodes", "output", "parsable", "quiet", "requeue"),
    *("signal", "test-only", "time", "version", "wait", "wrap", "help", "usage"),
)
"""Options of sbatch that are ours, or of no use here."""

_PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "srun")
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "GONE")
_ENDED += ("NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE", "REVOKED")

_LATE = 20.0
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
            "'python3 scripts/build_caffe.py --venv-only --cluster' installs it into "
            "build/venv"
        ) from error
    for name in _PROGRAMS:
        if shutil.which(name) is None:
            raise UserError(
                f"--executor slurm needs {name}, which is not in PATH: start this on a "
                "node of the cluster from which jobs are submitted, or omit --executor"
            )
    words = [f"--{k}" if v is True else f"--{k}={v}" for k, v in _flags(settings)]
    tried = _told("sbatch", "--test-only", *words, "--wrap=true")
    if tried.returncode:
        lines = [x for x in tried.stderr.splitlines() if not x.startswith("Try ")]
        said = "; ".join(line.removeprefix("sbatch: ") for line in lines)
        raise UserError(
            f"Slurm refuses jobs with {' '.join(words)}: {said or tried.returncode}: "
            "change --slurm"
        )


def executor(
    settings: Settings,
    out: Path,
    children: processes.Children,
    at_once: int | None = None,
) -> Callable[[Sequence[Work]], Outcomes]:
    """Return what runs works as jobs; see `run_all`."""
    return functools.partial(
        run_all, settings=settings, out=out, children=children, at_once=at_once
    )


def run_all(
    works: Sequence[Work],
    settings: Settings,
    out: Path,
    children: processes.Children,
    at_once: int | None = None,
) -> Outcomes:
    """Submit works, and wait for them; jobs that are in the queue already count.

    Parameters
    ----------
    works : sequence of Work
    settings : Settings
    out : Path
        The output folder of the script, on all nodes the same. Receives `FOLDER`.
    children : Children
        Already entered: a signal cancels the jobs, and raises KeyboardInterrupt.
    at_once : int, optional
        So many jobs are in the queue at most; default: all.

    Raises
    ------
    UserError
        If a job of other work in one of the folders is in the queue, or Slurm refuses
        a job or does not answer.
    """
    done: list[Any] = [None] * len(works)
    failed: list[str | None] = [None] * len(works)
    names = [name_of(work) for work in works]
    known = _known(works, names)
    # What takes seconds need not wait in a queue.
    short = [k for k, work in enumerate(works) if work.done and k not in known]
    if short:
        own, errors = run_here([works[k] for k in short], len(short), children)
        for k, found, error in zip(short, own, errors, strict=True):
            done[k], failed[k] = found, error
    waiting = [k for k in range(len(works)) if k not in known and k not in short]
    folder = out.absolute() / FOLDER
    running = {k: _Job(job, _progress(works[k])) for k, job in known.items()}
    with tqdm(total=len(works), initial=len(short), unit="run") as bar:
        try:
            while waiting or running:
                while waiting and len(running) < (at_once or len(works)):
                    k = waiting[0]
                    try:
                        job = _submitted(works[k], names[k], settings, folder)
                    except UserError:
                        # Clusters limit how many jobs a user may have in the queue.
                        if not running:
                            raise
                        break
                    running[waiting.pop(0)] = job
                states = _states()
                for k, job in list(running.items()):
                    found = _outcome(
                        folder, job, states.get(job.number, ("GONE", ""))[0]
                    )
                    if not found:
                        continue
                    del running[k]
                    if "again" in found and _progress(works[k]) != job.before:
                        tqdm.write(f"{works[k].name}: {found['again']}; continued")
                        waiting.append(k)
                        continue
                    done[k] = found.get("done")
                    failed[k] = found.get("failed") or found.get("again")
                    if failed[k] is not None:
                        say_failed(works[k], failed[k])
                    bar.update()
                own = [states.get(job.number, ("", ""))[0] for job in running.values()]
                bar.set_postfix(
                    {"running": own.count("RUNNING"), "in the queue": len(own)}
                )
                if running:
                    time.sleep(_pause(running.values()))
        except KeyboardInterrupt:
            _cancel(names)
            raise
    return done, failed


@dataclasses.dataclass
class _Job:
    """A job in the queue: its number, and how far the work was before it."""

    number: str
    before: Any
    began: float = dataclasses.field(default_factory=time.monotonic)
    ended: float | None = None


def name_of(work: Work) -> str:
    """Return the name of a job: its folder, and digests of the folder and the work."""
    folder = str(work.folder.resolve())
    call = f"{work.call.__module__}.{work.call.__qualname__} {work.arguments!r}"
    own = re.sub(r"[^A-Za-z0-9=+_-]", "-", work.folder.name)[:60]
    return f"{own}.{_digest(folder)}.{_digest(call)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _known(works: Sequence[Work], names: Sequence[str]) -> dict[int, str]:
    """Return the jobs of these works that are in the queue."""
    active = {name: number for number, name in _active().items()}
    places = {name.rpartition(".")[0]: name for name in active}
    known = {}
    for k, name in enumerate(names):
        other = places.get(name.rpartition(".")[0])
        if name in active:
            known[k] = active[name]
        elif other:
            raise UserError(
                f"{works[k].name}: job {active[other]} in the queue of Slurm works in "
                f"{works[k].folder} with other arguments: repeat these, cancel it "
                f"('scancel {active[other]}'), or choose another --out"
            )
    return known


def _flags(settings: Settings) -> list[tuple[str, Any]]:
    """Return the options of sbatch that a user can get wrong."""
    return [("time", settings.minutes), *settings.options.items()]


def _told(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _states() -> dict[str, tuple[str, str]]:
    """Return state and name of this user's jobs, by number.

    Ended ones are among them for some minutes.

    Raises
    ------
    UserError
        If Slurm does not answer for minutes.
    """
    command = ("squeue", f"--user={os.getuid()}", "--states=all", "--noheader")
    for attempt in range(7):
        found = _told(*command, "--format=%i|%T|%j")
        if not found.returncode:
            break
        time.sleep(2**attempt)
    else:
        raise UserError(
            f"squeue fails: {found.stderr.strip()}: wait until Slurm answers, and run "
            "the same command again; jobs in the queue go on"
        )
    states = {}
    for line in found.stdout.splitlines():
        number, state, name = line.split("|", 2)
        states[number] = (state, name)
    return states


def _progress(work: Work) -> Any:
    return work.progress(*work.arguments)


def _submitted(work: Work, name: str, settings: Settings, folder: Path) -> _Job:
    """Submit a job.

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
    before, began = _progress(work), time.time()
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
        if result.stat().st_mtime < began - _LATE:
            result.unlink()
    return _Job(job.job_id, before)


def _active() -> dict[str, str]:
    """Return the names of this user's jobs that have not ended, by number."""
    return {
        number: name
        for number, (state, name) in _states().items()
        if state not in _ENDED
    }


def _outcome(folder: Path, job: _Job, state: str) -> dict[str, Any]:
    """Return what became of a job, empty while it goes on.

    Returns
    -------
    dict
        `done`, the result; or `failed`, why not; or `again`, how it ended before it was
        done.
    """
    with contextlib.suppress(OSError):
        # Network file systems tell the truth about a folder that has changed.
        folder.chmod(folder.stat().st_mode)
    path = folder / f"{job.number}_0_result.pkl"
    if path.exists():
        kind, found = pickle.loads(path.read_bytes())
        if kind == "success":
            return found
        last = found.strip().splitlines()[-1]
        if "checkpoint function returned None" in last:
            last = (
                "several jobs in a row were stopped by Slurm without coming further: "
                "give more minutes with --slurm time=MINUTES"
            )
        return {"failed": f"{last} ({_log(folder, job)})"}
    if state not in _ENDED:
        job.ended = None
        return {}
    job.ended = job.ended or time.monotonic()
    if time.monotonic() - job.ended < _LATE:
        return {}
    said = f"job {job.number} ended as {state} ({_log(folder, job)})"
    if state == "CANCELLED":
        return {"failed": f"job {job.number} was cancelled"}
    if state == "OUT_OF_MEMORY":
        return {"failed": f"{said}: give more memory with --slurm mem=8G"}
    return {"again": said}


def _log(folder: Path, job: _Job) -> Path:
    return folder / f"{job.number}_0_log.out"


def _pause(jobs: Iterable[_Job]) -> float:
    """Return seconds to wait before the next look: rarely for jobs that last."""
    youngest = max(job.began for job in jobs)
    return min(15.0, max(1.0, (time.monotonic() - youngest) / 20))


def _cancel(names: Sequence[str]) -> None:
    """Cancel the jobs with these names; those that run write a snapshot first."""
    wanted = set(names)
    numbers = [number for number, name in _active().items() if name in wanted]
    if not numbers:
        return
    tqdm.write(
        f"Cancelling {len(numbers)} job(s) of Slurm; those that run write a snapshot "
        "first. Press Ctrl-C again to end them at once.",
        file=sys.stderr,
    )
    left = numbers
    try:
        _told("scancel", "--state=PENDING", *numbers)
        _told("scancel", "--batch", "--signal=TERM", *numbers)
        until = time.monotonic() + _PATIENCE
        while left and time.monotonic() < until:
            time.sleep(1)
            left = sorted(set(numbers) & set(_active()))
    finally:
        if left:
            _told("scancel", *left)
