"""Many trainings with their evaluations: each a folder, several at a time."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from randrop import mpiexec
from randrop.cluster import work
from randrop.errors import UserError
from randrop.evaluation import comparison
from randrop.files import schema, write_json
from randrop.files.documents import Prediction, read_metrics
from randrop.files.schema import NotNegative
from randrop.prediction.maps import path_of
from randrop.pycaffe import processes
from randrop.training import snapshots

ANEW = "remove it, and run the same command again to rebuild it"

Steps = dict[str, list[str]]
"""Name of a script, without .py, to its arguments; the first is "train"."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A training with what follows it.

    Attributes
    ----------
    name : str
        For messages.
    folder : Path
        Receives `run`, `evaluation`, perhaps `prediction`, and the output of each
        script as `<script>.out`.
    steps : Steps
    """

    name: str
    folder: Path
    steps: Steps


def steps_on_photographs(
    folder: Path,
    data: Path,
    lesions: Sequence[str],
    split: Path | None,
    training: Sequence[Any],
) -> Steps:
    """Return the steps that train, predict and evaluate on photographs.

    Parameters
    ----------
    folder : Path
        Of the job.
    data : Path
    lesions : sequence of str
    split : Path, optional
    training : sequence
        Further arguments of scripts/train.py.
    """
    own = ["--data", data, "--lesions", *lesions]
    if split:
        own += ["--split", split]
    held_out = [*own, "--subset", "validation"]
    run, maps = folder / "run", folder / "prediction"
    return words(
        {
            "train": [*own, *_start(run), *training],
            "predict": ["--run", run, *held_out, "--out", maps],
            "evaluate": [
                *("--run", run, "--probabilities", maps),
                *(*held_out, "--out", folder / "evaluation"),
            ],
        }
    )


def steps_on_labels(folder: Path, data: Path, training: Sequence[Any]) -> Steps:
    """Return the steps that train and evaluate on a labelled set."""
    run, own = folder / "run", ["--data", data]
    return words(
        {
            "train": [*own, *_start(run), *training],
            "evaluate_labels": [*own, "--run", run, "--out", folder / "evaluation"],
        }
    )


def _start(run: Path) -> list[Any]:
    # One process per core: by default, each uses one thread.
    return ["--out", run, "--threads", 1]


def _is_unfinished(run: Path) -> bool:
    return bool(snapshots.states(run)) and not (run / "final.caffemodel").exists()


def words(steps: Mapping[str, Sequence[Any]]) -> Steps:
    """Return steps with all arguments as text."""
    return {name: [str(a) for a in arguments] for name, arguments in steps.items()}


def run_one(job: Job, children: processes.Children) -> dict[str, Any]:
    """Train and evaluate; each step skips finished work.

    Returns
    -------
    dict
        The seconds of this call, or of the one that did the work, and the measures.

    Raises
    ------
    UserError
        If a step fails; names its log.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for step, arguments in job.steps.items():
        # Always run the training step: it checks whether its settings are these.
        if step != "train" and is_done(job):
            continue
        # Decided here, not with the plan: a queue begins a job late, and again.
        if step == "train" and _is_unfinished(job.folder / "run"):
            arguments = [*arguments, "--resume"]
        work.run_script(step, arguments, job.folder, children)
    metrics = read_metrics(job.folder / "evaluation" / "metrics.json")
    seconds_path = job.folder / "seconds.json"
    seconds = time.monotonic() - began
    if seconds_path.exists():
        # A finished run takes no time here; its duration was recorded when it ran.
        seconds = max(seconds, schema.read_json(seconds_path, NotNegative, ANEW))
    write_json(seconds_path, seconds)
    return {"seconds": round(seconds, 1), "measures": comparison.measures(metrics)}


def check_training(words: Sequence[str], own: Sequence[str]) -> None:
    """Refuse arguments for train.py that the calling script gives itself, and ranks.

    Parameters
    ----------
    words : sequence of str
        What follows `--` on the command line.
    own : sequence of str
        Options of train.py, as "--out"; abbreviations of them are refused, too.

    Raises
    ------
    UserError
        Names the option; or if mpiexec started the script on several ranks.
    """
    mpiexec.check_alone("start this script without it")
    for word in words:
        name = word.partition("=")[0]
        if len(name) > 2 and "--mpi".startswith(name):
            raise UserError(
                f"{name} after -- is not possible: a training of this script is one "
                "process: omit it"
            )
        if len(name) > 2 and any(option.startswith(name) for option in own):
            raise UserError(
                f"{name} after -- is not possible, because every training gets its own "
                "from this script: omit it, or give it before -- if the script has it"
            )


def is_done(job: Job) -> bool:
    """Return whether a job left all that it should: what is left is a check."""
    return is_measured(job.folder) and _has_maps(job)


def progress(job: Job) -> list[Any]:
    """Return what changes when a job comes further."""
    run = job.folder / "run"
    newest = [snapshots.iteration_of(path) for path in snapshots.states(run)[:1]]
    trained = (run / "final.caffemodel").exists()
    return [newest, trained, _has_maps(job), is_measured(job.folder)]


def is_measured(folder: Path) -> bool:
    """Return whether the network of a job was measured after it was written."""
    last, network = folder / "evaluation/metrics.json", folder / "run/final.caffemodel"
    return (
        last.exists()
        and network.exists()
        and last.stat().st_mtime >= network.stat().st_mtime
    )


def _has_maps(job: Job) -> bool:
    """Return whether the maps of a job are all there, if it has any."""
    if "predict" not in job.steps:
        return True
    root = job.folder / "prediction"
    try:
        record = schema.read_json(root / "prediction.json", Prediction, "")
    except UserError:
        return False
    return record["complete"] and all(
        path_of(root, lesion, name).is_file()
        for lesion in record["lesions"]
        for name in record["seconds"]
    )


def run_all(
    jobs: Sequence[Job], execute: work.Executor
) -> tuple[list[dict[str, Any] | None], list[str | None]]:
    """Run jobs, and continue after failures.

    Parameters
    ----------
    jobs : sequence of Job
    execute : callable
        Where they run; see `randrop.cluster.work`.

    Returns
    -------
    done, failed : list
        For each job, the result of `run_one` and the error; one of them is None.
    """
    return execute(
        [
            work.Work(job.name, job.folder, run_one, (job,), progress, is_done(job))
            for job in jobs
        ]
    )
