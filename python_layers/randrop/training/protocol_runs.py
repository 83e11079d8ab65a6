"""Performing the trainings of a protocol."""

import dataclasses
import functools
import hashlib
import logging
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

import randrop
from randrop.cluster import work
from randrop.data import Case, read_dataset
from randrop.errors import UserError
from randrop.evaluation import photographs, run_record
from randrop.files import schema, write_json
from randrop.files.writing import check_writable
from randrop.pycaffe import processes
from randrop.training import averaging, comparing, protocol, running, snapshots
from randrop.training.protocol import Place, Run, open_runs, record_path
from randrop.training.protocol_files import RunRecord

log = logging.getLogger("randrop")


def digest_of(place: Place) -> str:
    """Return what identifies the photographs: 12 digits of a SHA-256.

    Raises
    ------
    UserError
        If the set was not prepared by scripts/prepare.py at the protocol's width, with
        masks of every pixel that lesions touch.
    """
    manifest = schema.read_json(
        place.data / "manifest.json", dict[str, Any], "prepare the photographs again"
    )
    width = manifest.get("width")
    if width != place.protocol.width:
        raise UserError(
            f"{place.data} was prepared with --width {width}, the protocol asks for "
            f"{place.protocol.width}: {place.protocol.data}"
        )
    if manifest.get("cover"):
        raise UserError(
            f"{place.data} was prepared with --cover {manifest['cover']:g}, the "
            f"protocol asks for none: {place.protocol.data}"
        )
    cases = manifest["cases"]
    text = [f"{name} {cases[name].get('sha256', '')}" for name in sorted(cases)]
    return hashlib.sha256("\n".join([*text, str(width)]).encode()).hexdigest()[:12]


def splits_of(place: Place) -> list[dict[str, list[str]]]:
    """Return the subsets of each fold.

    Raises
    ------
    UserError
        If the set lacks a photograph, a fold leaves none for training, or a subset has
        no lesion of a type: nothing could be learnt or measured.
    """
    cases = {case.name: case for case in read_dataset(place.data).subset("all")}
    found = []
    for k, fold in enumerate(place.protocol.folds, 1):
        missing = sorted({*fold.test, *fold.validation} - set(cases))
        if missing:
            raise UserError(
                f"{place.data} has no photograph {missing[0]}, which fold {k} of the "
                f"protocol names: {place.protocol.data}"
            )
        rest = [name for name in cases if name not in {*fold.test, *fold.validation}]
        if not rest:
            raise UserError(f"fold {k} of the protocol leaves nothing for training")
        parts = {"train": rest, "validation": fold.validation, "test": fold.test}
        for subset, names in parts.items():
            own = [cases[name] for name in names]
            _check_lesions(place.protocol, own, f"{subset} of fold {k}")
        found.append(parts)
    return found


def _check_lesions(
    wanted: protocol.Protocol, cases: Sequence[Case], where: str
) -> None:
    for case in cases:
        unknown = sorted(set(wanted.types) & set(case.unknown))
        if unknown:
            raise UserError(
                f"{case.name}, in {where}, was not searched for {unknown[0]}: what its "
                "pixels lie on is not known; take it out of the protocol"
            )
    for lesion in wanted.lesions:
        if not any(
            lesion in case.mask_paths and case.masks([lesion]).any() for case in cases
        ):
            raise UserError(
                f"no photograph in {where} of the protocol has a mask of {lesion}"
            )


def split_path(place: Place, fold: int) -> Path:
    """Return the file with the subsets of a fold."""
    return place.out / f"fold{fold}.json"


def plan_of(place: Place, run: Run) -> comparing.Plan:
    """Return the plan of a run's training, as `comparing.run_one` takes it."""
    run = protocol.trained_by(place.protocol, run)
    return comparing.Plan(
        data=place.data,
        out=place.out / run.name,
        losses=[protocol.arm_of(place.protocol, run).loss],
        seeds=[run.fold],
        lesions=place.protocol.lesions,
        split=split_path(place, run.fold),
        training=protocol.training_of(place.protocol, run),
    )


def perform(place: Place, run: Run, children: processes.Children) -> dict[str, Any]:
    """Train, predict, measure, and write the record of one run.

    A training that another run has made is not repeated, unless its folder is gone.

    Raises
    ------
    UserError
        If a step fails; names its log.
    """
    began = time.monotonic()
    plan = plan_of(place, run)
    done = comparing.run_one(comparing.Job(plan, plan.losses[0], run.fold), children)
    trained = comparing.folder_of(plan.out, plan.losses[0], run.fold) / "run"
    folder = comparing.folder_of(place.out / run.name, plan.losses[0], run.fold)
    arm = protocol.arm_of(place.protocol, run)
    predicting = _Predicting(place, run.fold, trained, folder, children, arm.prediction)
    mean: list[str] = []
    if arm.average:
        out = folder / "averaged"
        words = ["--run", trained, "--last", arm.average, "--no-measure", "--out", out]
        work.run_script("average_snapshots", [*map(str, words)], folder, children)
        mean = ["--weights", str(out / averaging.NAME)]
    dataset = read_dataset(place.data, plan.split)
    curve = {}
    for iteration in place.protocol.curve:
        # There is one mean, of the last snapshots.
        own = mean if iteration == place.protocol.curve[-1] else []
        curve[str(iteration)] = predicting.precisions(
            iteration, dataset.subset("validation"), own
        )
    test = folder / "test"
    predicting.predict(["--subset", "test", "--out", str(test), *mean])
    content = {
        "arm": run.arm,
        "rate": run.rate,
        "fold": run.fold,
        "data": digest_of(place),
        "origin": protocol.origin_of(place.protocol, run),
        "version": randrop.__version__,
        "processor": _processor(),
        "seconds": round(max(done["seconds"], time.monotonic() - began), 1),
        "curve": curve,
        "lesions": run_record.of_maps(
            dataset.subset("test"), place.protocol.lesions, place.protocol.types, test
        ),
    }
    write_json(record_path(place, run), content)
    return content


def begin(place: Place) -> None:
    """Write the splits, after checking photographs, records and place.

    Raises
    ------
    UserError
        If a training could fail later, or records are of something else.
    """
    splits = splits_of(place)
    check_writable(place.records)
    _check_records(place)
    for _ in open_runs(dataclasses.replace(place, only=())):
        # Reads every record that counts.
        pass
    for k, parts in enumerate(splits, 1):
        write_json(split_path(place, k), parts)


def run_all(
    place: Place, children: processes.Children, minutes: float | None = None
) -> list[str]:
    """Perform every open run, or those that begin in time; return the errors.

    Call `begin` first.
    """
    began = time.monotonic()
    errors = []
    for run in open_runs(place):
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            log.info("%g minutes are over: run this again to continue", minutes)
            break
        log.info("%s", run.name)
        try:
            found = perform(place, run, children)
        except (UserError, OSError) as error:
            tqdm.write(f"error: {run.name}: {error}", file=sys.stderr)
            errors.append(f"{run.name}: {error}")
            continue
        log.info("%s", _figures(run, found))
    return errors


def _figures(run: Run, record: Mapping[str, Any]) -> str:
    """Return a line with what a training has reached."""
    measured = record["lesions"].items()
    shown = ", ".join(
        f"{name} {own['average_precision']:.3f}" for name, own in measured
    )
    return f"{run.name}: {shown} in {record['seconds']:.0f} s"


def run_queued(
    place: Place, execute: work.Executor, minutes: float | None = None
) -> list[str]:
    """Perform every open run by an executor, in rounds; return the errors.

    A round has all runs that can begin: those of all rates, then those with the chosen
    ones. With `minutes`, which is for executors of this process, none begins later.
    Call `begin` first.
    """
    # A job of Slurm is known by the function's name.
    call, until = _perform_and_tell, None
    if minutes is not None:
        until = time.monotonic() + 60 * minutes
        call = functools.partial(_perform_in_time, until)
    errors: list[str] = []
    tried: set[str] = set()
    while runs := [run for run in open_runs(place) if run.name not in tried]:
        if until is not None and time.monotonic() > until:
            log.info("%g minutes are over: run this again to continue", minutes)
            break
        tried |= {run.name for run in runs}
        works = [
            work.Work(run.name, place.out / run.name, call, (place, run), progress)
            for run in runs
        ]
        _, failed = execute(works)
        errors += [
            f"{run.name}: {error}"
            for run, error in zip(runs, failed, strict=True)
            if error is not None
        ]
    return errors


def _perform_and_tell(
    place: Place, run: Run, children: processes.Children
) -> dict[str, Any]:
    found = perform(place, run, children)
    # Above the progress bar.
    tqdm.write(_figures(run, found), file=sys.stderr)
    return found


def _perform_in_time(
    until: float, place: Place, run: Run, children: processes.Children
) -> dict[str, Any] | None:
    if time.monotonic() > until:
        return None
    return _perform_and_tell(place, run, children)


def progress(place: Place, run: Run) -> list[Any]:
    """Return what changes when a run comes further."""
    plan = plan_of(place, run)
    job = comparing.prepared(comparing.Job(plan, plan.losses[0], run.fold))
    folder = comparing.folder_of(place.out / run.name, plan.losses[0], run.fold)
    parts = sorted(path.name for path in folder.glob("*/prediction.json"))
    return [running.progress(job), parts]


def _check_records(place: Place) -> None:
    """Refuse to mix records of other photographs with new ones."""
    own = digest_of(place)
    for path in sorted(place.records.glob("[!.]*.json")):
        found = schema.read_json(path, RunRecord, "remove it to run it again")
        if found["data"] != own:
            raise UserError(
                f"{path} was measured on other photographs than {place.data}: prepare "
                f"them as the protocol says ({place.protocol.data}), or give another "
                "folder with --records"
            )


@dataclasses.dataclass(frozen=True)
class _Predicting:
    """How a run predicts: by the network in `trained`, into folders in `folder`."""

    place: Place
    fold: int
    trained: Path
    folder: Path
    children: processes.Children
    options: Sequence[str]

    def precisions(
        self, iteration: int, cases: Sequence[Any], weights: Sequence[str]
    ) -> dict[str, float | None]:
        """Return the average precision of a snapshot on the validation photographs."""
        own = self.trained / "snapshots" / f"{snapshots.PREFIX}_iter_{iteration}"
        out = self.folder / f"at{iteration}"
        words = weights or ["--weights", str(own.with_suffix(".caffemodel"))]
        self.predict([*words, "--subset", "validation", "--out", str(out)])
        measured = photographs.measure(cases, self.place.protocol.lesions, out)
        return {
            name: own["average_precision"] for name, own in measured.lesions.items()
        }

    def predict(self, words: Sequence[str]) -> None:
        given = ["--run", str(self.trained), "--data", str(self.place.data)]
        given += ["--split", str(split_path(self.place, self.fold)), *self.options]
        work.run_script("predict", [*given, *words], self.folder, self.children)


@functools.cache
def _processor() -> str:
    """Return the processor's name: another one rounds otherwise."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as stream:
            names = [line for line in stream if line.startswith("model name")]
    except OSError:
        names = []
    name = names[0].partition(":")[2].strip() if names else platform.processor()
    return f"{name}, {os.cpu_count()} cores"
