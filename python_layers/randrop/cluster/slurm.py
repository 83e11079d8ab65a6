"""Running pieces of work as jobs of Slurm, and waiting for them.

A job has the name of its folder, and digests of folder and work: whoever begins the
same work again finds the job in the queue, and waits for it. Nothing else is recorded.
"""

import contextlib
import dataclasses
import functools
import hashlib
import pickle
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from randrop.cluster import queue
from randrop.cluster.work import Outcomes, Work, run_here, say_failed
from randrop.errors import UserError
from randrop.pycaffe import processes

_NEVER = ("PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints")
_NEVER += ("InvalidAccount", "InvalidQOS", "AssocMaxWallDurationPerJobLimit")
_NEVER += ("QOSMaxWallDurationPerJobLimit", "JobHoldMaxRequeue")
"""Why a job waits that will wait for ever."""


def executor(
    settings: queue.Settings,
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
    settings: queue.Settings,
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
        The output folder of the script, on all nodes the same. Receives `queue.FOLDER`.
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
    waiting = [k for k in range(len(works)) if k not in known and k not in short]
    running = {k: _Job(job, _progress(works[k])) for k, job in known.items()}
    folder = out.absolute() / queue.FOLDER
    try:
        if short:
            own = run_here([works[k] for k in short], len(short), children)
            for k, found, error in zip(short, *own, strict=True):
                done[k], failed[k] = found, error
        with tqdm(total=len(works), initial=len(short), unit="run") as bar:
            while waiting or running:
                _submit(waiting, running, works, names, settings, folder, at_once)
                states = queue.states()
                for k, job in list(running.items()):
                    now = states.get(job.number, queue.State("GONE"))
                    found = _outcome(folder, job, now)
                    if not found:
                        continue
                    del running[k]
                    if "again" in found and _progress(works[k]) != job.before:
                        said = f"{works[k].name}: {found['again']}; continued"
                        tqdm.write(said, file=sys.stderr)
                        waiting.append(k)
                        continue
                    done[k] = found.get("done")
                    failed[k] = found.get("failed") or found.get("again")
                    if failed[k] is not None:
                        say_failed(works[k], failed[k])
                    bar.update()
                at_work = sum(
                    job.number in states and states[job.number].state == "RUNNING"
                    for job in running.values()
                )
                bar.set_postfix({"running": at_work, "in the queue": len(running)})
                if running:
                    time.sleep(_pause(running.values()))
    except KeyboardInterrupt:
        queue.cancel(names)
        raise
    return done, failed


def _submit(
    waiting: list[int],
    running: "dict[int, _Job]",
    works: Sequence[Work],
    names: Sequence[str],
    settings: queue.Settings,
    folder: Path,
    at_once: int | None,
) -> None:
    """Move what may run from `waiting` to `running`."""
    while waiting and len(running) < (at_once or len(works)):
        k = waiting[0]
        before = _progress(works[k])
        try:
            number = queue.submitted(works[k], names[k], settings, folder)
        except UserError:
            # Clusters limit how many jobs a user may have in the queue.
            if not running:
                raise
            return
        running[waiting.pop(0)] = _Job(number, before)


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
    active = {name: number for number, name in queue.active().items()}
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


def _progress(work: Work) -> Any:
    return work.progress(*work.arguments)


def _outcome(folder: Path, job: _Job, now: queue.State) -> dict[str, Any]:
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
    state = now.state
    if state == "PENDING" and now.reason in _NEVER:
        queue.told("scancel", job.number)
        return {
            "failed": f"job {job.number} would never start ({now.reason}), and was "
            "cancelled: change --slurm"
        }
    if state not in queue.ENDED:
        job.ended = None
        return {}
    job.ended = job.ended or time.monotonic()
    if time.monotonic() - job.ended < queue.LATE:
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
