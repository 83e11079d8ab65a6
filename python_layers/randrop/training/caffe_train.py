"""Running `caffe train` on a run folder: settings, progress, interruption."""

import collections
import contextlib
import logging
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from randrop import __version__
from randrop.errors import UserError
from randrop.files import ownership, split_file, write_bytes, write_json, write_text
from randrop.pycaffe import processes
from randrop.pycaffe.build import caffe_binary, import_caffe
from randrop.training import continuing, prototxts, snapshots, validation
from randrop.training.caffe_log import Curves, why_failed
from randrop.training.ranks import started
from randrop.training.ranks.started import Others
from randrop.training.shares import WHOLE, Share
from randrop.training.snapshots import iteration_of
from randrop.training.validator import Validator

log = logging.getLogger(__name__)

# The files of a training besides its snapshots; and those not written atomically.
_RESULTS = (
    *("final.caffemodel", "final.sha256", "log.txt", "curves.json", "curves.png"),
    *("kept.jsonl", "kept.png"),
    *(validation.FILE, validation.BEST, "best.sha256"),
    *("averaged.caffemodel", "averaged.sha256", "averaged.json"),
)
_LOGS = ("log.txt", "kept.jsonl")
_STREAMS = (*_LOGS, *snapshots.PATTERNS)

_STOPPED = 130  # status of a rank whose training another rank has stopped
_SAME = {signal.SIGINT: 0.1, signal.SIGTERM: 5.0}
"""Seconds within which a signal is one: mpiexec and clusters send it to all of us."""


def write_run(
    run: Path,
    settings: dict[str, Any],
    snapshot: Path | None = None,
    share: Share = WHOLE,
    split: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write net, solver, deploy and list files and `run.json` into a run folder.

    Parameters
    ----------
    run : Path
        The folder. Unless the training resumes, the files of an earlier training are
        removed. All other files stay. If it resumes with more iterations, `extended`
        in run.json has the earlier numbers, and where they were changed.
    settings : dict
        As `run.json` holds them.
    snapshot : Path, optional
        Solver state to resume from; masks and patches continue from there, too.
    share : Share
        The part of each batch that this process trains on.
    split : mapping, optional
        The names in each subset, to be kept beside the network.

    Raises
    ------
    UserError
        If the settings define no valid network, other files have our names (the folder
        then stays as it was), or the system refuses to write.
    """
    first = iteration_of(snapshot) if snapshot else 0
    history = continuing.history(run, settings["iterations"], first) if snapshot else {}
    texts = prototxts.texts(run, settings, first, share)
    names = (*texts, "run.json", *(set(_RESULTS) - set(_STREAMS)))
    if split:
        names += (split_file.KEPT,)
    if snapshot is not None:
        streams = ownership.matching(run, _STREAMS)
        own = (path.relative_to(run).as_posix() for path in streams)
        ownership.adopt(run, (*names, *own))
    logs = [started.log_of(run, rank).name for rank in range(1, share.ranks)]
    old_logs = ownership.matching(run, ("rank#.txt",))
    old_logs = [path for path in old_logs if ownership.is_ours(path)]
    ownership.claim(run, "train", names, streams=(*_STREAMS, *logs))
    old = [run / "final.caffemodel", run / "final.sha256"]
    if snapshot is None:
        old = [*snapshots.files(run), *(run / name for name in _RESULTS), *old_logs]
    try:
        # Of an extended training, too: where it is, the training is complete. Its
        # weights are those of the snapshot.
        for path in old:
            path.unlink(missing_ok=True)
        (run / "snapshots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write {run}: {error.strerror}: free some disk space, or choose "
            "another --out"
        ) from error
    for name, text in texts.items():
        write_text(run / name, text)
    if split:
        write_json(run / split_file.KEPT, split)
    versions = {
        "randrop_version": __version__,
        "caffe_version": import_caffe().__version__,
    }
    write_json(run / "run.json", settings | versions | history)
    validation.keep_best(run)
    averaged = run / "averaged.caffemodel"
    extended = history.get("extended", [])
    if extended and extended[-1]["at"] == first and averaged.exists():
        log.warning(
            "%s is the mean of snapshots of the shorter training: run "
            "scripts/average_snapshots.py again after this one",
            averaged,
        )


def train(
    run: Path,
    iterations: int,
    snapshot: Path | None = None,
    weights: Path | None = None,
    threads: int | None = None,
    lock: int | None = None,
    plan: validation.Plan | None = None,
    mpi: tuple[Others, dict[str, Any]] | None = None,
) -> bool:
    """Run `caffe train`, showing its progress, until it ends.

    Snapshots are validated meanwhile, and those that an earlier part left out. The
    weights do not depend on it.

    Parameters
    ----------
    run : Path
        Folder with solver.prototxt; `log.txt` and `curves.json` are written there.
    iterations : int
        Length of the progress bar.
    snapshot : Path, optional
        Solver state to resume from.
    weights : Path, optional
        Weights to start from; a snapshot has its own.
    threads : int, optional
        Threads of the BLAS library.
    lock : int, optional
        Open file that caffe also keeps open while it runs.
    plan : Plan, optional
        Which snapshots are validated on which photographs.
    mpi : (Others, dict), optional
        Train as the first of several ranks, on this plan, in the place of caffe.

    Returns
    -------
    bool
        False when Ctrl-C stopped it.

    Raises
    ------
    UserError
        If caffe fails, with its last message and a remedy, or if the loss is NaN.
    """
    # No -gpu: it would take all GPUs, and the caffe program cannot train with Python
    # layers on several. The solver's mode uses the first visible GPU.
    command = [str(caffe_binary()), "train", "-solver", str(run / "solver.prototxt")]
    if snapshot:
        command += ["-snapshot", str(snapshot)]
    elif weights:
        command += ["-weights", str(weights)]
    variables = started.variables(mpi[0].started if mpi else None, threads)
    first = iteration_of(snapshot) if snapshot else 0
    kept_open = () if lock is None else (lock,)
    deaf = ("SIGTERM", "SIGUSR1", "SIGUSR2")
    if mpi:
        paths = {"snapshot": snapshot, "weights": weights}
        begin = {name: path and str(path.resolve()) for name, path in paths.items()}
        begin["iteration"] = first
        command = started.command(mpi[1] | {"start": begin})
        kept_open += started.handles()
        # Until it can handle it.
        deaf += ("SIGINT",)
    curves, sealer = Curves(), snapshots.Sealer(run)
    log_path = run / "log.txt"
    if snapshot and log_path.exists():
        for line in log_path.read_text(errors="replace").splitlines():
            curves.read(line)
    tail: collections.deque[str] = collections.deque(maxlen=60)
    try:
        with (
            log_path.open("a" if snapshot else "w", buffering=1) as stream,
            tqdm(total=iterations, initial=first, unit="it", dynamic_ncols=True) as bar,
            Validator(run, plan) as validator,
            _started(command, variables, kept_open, deaf, validator.stop) as (
                caffe,
                interrupts,
            ),
        ):
            if mpi:
                mpi[0].told = True
            validator.catch_up(first)
            for line in caffe.stderr:
                stream.write(line)
                tail.append(line.rstrip())
                validator.offer(sealer.read(tail[-1]))
                if validator.busy:
                    _report(validator.finished(), run, curves, bar, stream)
                if curves.read(line):
                    _show(bar, curves)
                    bar.update(curves.training[-1][0] - bar.n)
                    if curves.diverged:
                        break
                elif "WARNING" in line or (
                    line[0] == "W" and "randrop" in line.lower()
                ):
                    bar.write(line.rstrip())
            else:
                caffe.wait()
                validator.offer(sealer.close())
            # Ctrl-C during the last validation does not stop a complete training.
            stops = len(interrupts)
            stopped = caffe.poll() == _STOPPED
            if not caffe.poll() and not stops:
                bar.update(iterations - bar.n)
            else:
                validator.stop()
            while validator.busy:
                _report(validator.finished(1), run, curves, bar, stream)
    except OSError as error:
        raise UserError(
            f"cannot write {log_path}: {error.strerror}; caffe was stopped. Free some "
            "space, then run train.py --resume (or --force)"
        ) from error
    _write_curves(run, curves)
    if curves.diverged:
        raise UserError(
            "the training diverged: the loss is NaN at iteration "
            f"{curves.training[-1][0]}, and caffe was stopped. Lower --lr, and use "
            f"--force or another --out. Log: {log_path}"
        )
    # Interrupted once, caffe exits with 0, or by the signal if it had not started. The
    # second time we kill it. Anything else is a failure, such as of the snapshot.
    if stopped or (stops and (stops > 1 or caffe.returncode in (0, -signal.SIGINT))):
        return False
    if caffe.returncode:
        raise UserError(why_failed(list(tail), caffe.returncode, log_path))
    return True


def finish(run: Path, iterations: int) -> Path:
    """Write the weights of the last iteration to `final.caffemodel`; return its path.

    A training that was resumed leaves the same bytes as one that was not. The digest
    goes into `final.sha256` beside it.

    Raises
    ------
    UserError
        If there are no weights, or the disk is full.
    """
    state = snapshots.newest(run)
    if iteration_of(state) != iterations:
        raise UserError(
            f"caffe ended, but the newest complete snapshot is {state}, not one of "
            f"iteration {iterations}: if the disk is full, free some space; then run "
            "train.py --resume"
        )
    final = run / "final.caffemodel"
    write_bytes(final, snapshots.weights_of(state.with_suffix(".caffemodel")))
    snapshots.seal(final)
    # Not the snapshots: their own digests reveal a damaged one, and --resume skips it.
    ownership.settle(run, (*_LOGS, "rank#.txt"))
    return final


def _write_curves(run: Path, curves: Curves) -> None:
    write_json(run / "curves.json", curves.to_json() | validation.curves(run))


def _report(
    found: Sequence[dict[str, Any] | UserError],
    run: Path,
    curves: Curves,
    bar: tqdm,
    stream: TextIO,
) -> None:
    """Show the results of validations, and write them into the log and the curves."""
    for result in found:
        if isinstance(result, UserError):
            said = f"randrop.validation: {result}"
        else:
            said = validation.sentence(result)
            curves.precision = {
                lesion: own["average_precision"]
                for lesion, own in result["lesions"].items()
                if own["average_precision"] is not None
            }
            _show(bar, curves)
        stream.write(f"{said}\n")
        bar.write(said)
    if found:
        _write_curves(run, curves)


def _show(bar: tqdm, curves: Curves) -> None:
    """Show the last numbers beside the progress bar."""
    shown = {}
    if curves.training:
        shown["loss"] = f"{curves.training[-1][1]:.4g}"
    if curves.validation:
        shown["validation"] = f"{curves.validation[-1][1]:.4g}"
    shown |= {f"AP {name}": f"{v:.3f}" for name, v in curves.precision.items()}
    bar.set_postfix(shown, refresh=False)


@contextlib.contextmanager
def _started(
    command: Sequence[str],
    variables: dict[str, str],
    kept_open: Sequence[int],
    deaf: Sequence[str],
    also: Callable[[], None],
) -> Iterator[tuple[subprocess.Popen, list[int]]]:
    """Start caffe, forward signals in the form it understands, and ensure it ends.

    Yields the process and a list of the signals received. Each signal also calls
    `also`.
    """
    came: list[int] = []
    last: dict[int, float] = {}
    caffe = None

    def handle(number: int, _frame: Any) -> None:
        now = time.monotonic()
        before, last[number] = last.get(number, -math.inf), now
        if now - before < _SAME[signal.Signals(number)]:
            return
        came.append(number)
        also()
        if caffe is None or caffe.poll() is not None:
            return
        if len(came) == 1:
            log.warning(
                "Stopping: caffe is writing a snapshot. Press Ctrl-C again to stop at "
                "once."
            )
            caffe.send_signal(signal.SIGINT)
        else:
            os.killpg(caffe.pid, signal.SIGKILL)

    # Before caffe starts: in its own session, it would outlive a Ctrl-C here.
    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        caffe = subprocess.Popen(
            # A cluster ends a job by SIGTERM to each process: this one gets its own.
            processes.bound(command, deaf),
            env=variables,
            pass_fds=kept_open,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Only we pass Ctrl-C to caffe, and only once; data workers never get it.
            start_new_session=True,
        )
        if came:
            caffe.send_signal(signal.SIGINT)
        yield caffe, came
    finally:
        if caffe is not None and caffe.poll() is None:
            os.killpg(caffe.pid, signal.SIGKILL)
            caffe.wait()
        if caffe is not None:
            caffe.stderr.close()
        for number, handler in before.items():
            signal.signal(number, handler)
