"""Training and evaluating the same network under several losses and seeds."""

import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from randrop.cluster import work
from randrop.data import read_dataset
from randrop.data.labelled import is_labelled
from randrop.data.splits import held_out
from randrop.errors import UserError
from randrop.evaluation import comparison, photographs
from randrop.files import schema, write_json, write_text
from randrop.files.documents import Costs
from randrop.pycaffe import processes
from randrop.report import comparison_tables
from randrop.training import running


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to compare, and where.

    Attributes
    ----------
    data : Path
        Photographs, or a labelled set.
    out : Path
        Receives one folder per run.
    losses : sequence of str
        As in --loss of scripts/train.py.
    seeds : sequence of int
    training : sequence of str
        Further arguments of scripts/train.py.
    lesions : sequence of str
        For photographs, as is `split`.
    split : Path, optional
    learning_rates : sequence of float
        Each loss uses the best of these; without any, the rate in `training`.
    search_iterations : int
        Iterations of each trial of a rate.
    reference : str, optional
        The loss that the others are compared with; the first by default.
    costs : bool
        Also time an iteration of each loss.
    """

    data: Path
    out: Path
    losses: Sequence[str]
    seeds: Sequence[int] = (1,)
    training: Sequence[str] = ()
    lesions: Sequence[str] = ("MA", "HE")
    split: Path | None = None
    learning_rates: Sequence[float] = ()
    search_iterations: int = 800
    reference: str | None = None
    costs: bool = False


def folder_of(out: Path, loss: str, seed: int) -> Path:
    """Return the folder of a run; its name needs no quoting in any shell."""
    return out / f"{re.sub(r'[^A-Za-z0-9.=_+-]', '-', loss)}-seed{seed}"


def steps_of(
    plan: Plan, loss: str, seed: int, rate: str | None = None
) -> running.Steps:
    """Return the arguments of each script of a run."""
    folder = folder_of(plan.out, loss, seed)
    train = ["--loss", loss, "--seed", seed, *plan.training]
    if rate is not None:
        train += ["--lr", rate]
    if is_labelled(plan.data):
        return running.steps_on_labels(folder, plan.data, train)
    # What is compared are the last weights: the time is for the trainings.
    train = ["--validate-every", 0, *train]
    return running.steps_on_photographs(
        folder, plan.data, plan.lesions, plan.split, train
    )


@dataclasses.dataclass(frozen=True)
class Job:
    """One loss with one seed, at a given learning rate or the plan's."""

    plan: Plan
    loss: str
    seed: int
    rate: str | None = None


def prepared(job: Job) -> running.Job:
    """Return the scripts of a run, and their folder."""
    own = job.plan
    return running.Job(
        f"{job.loss}, seed {job.seed}",
        folder_of(own.out, job.loss, job.seed),
        steps_of(own, job.loss, job.seed, job.rate),
    )


def run_one(job: Job, children: processes.Children) -> dict[str, Any]:
    """Train and evaluate one loss with one seed; each step skips finished work.

    Returns
    -------
    dict
        loss, seed, the seconds of this call, and the measures.

    Raises
    ------
    UserError
        If a step fails; names its log.
    """
    found = running.run_one(prepared(job), children)
    return {"loss": job.loss, "seed": job.seed, **found}


def run_all(
    plan: Plan, jobs: Sequence[Job], execute: work.Executor
) -> tuple[list[dict[str, Any] | None], list[str | None]]:
    """Run jobs, and continue after failures.

    Returns
    -------
    done, failed : list
        For each job, the result of `run_one` and the error; one of them is None.
    """
    given = []
    for job in jobs:
        own = prepared(job)
        trial = "" if job.plan.out == plan.out else f" at {job.plan.out.name}"
        given.append(dataclasses.replace(own, name=own.name + trial))
    done, failed = running.run_all(given, execute)
    named = [
        found and {"loss": job.loss, "seed": job.seed, **found}
        for job, found in zip(jobs, done, strict=True)
    ]
    return named, failed


def search(plan: Plan, execute: work.Executor) -> dict[str, dict[str, float | None]]:
    """Return each loss's score at each learning rate, None where it failed."""
    cases = read_dataset(plan.data, plan.split).subset("train")
    parts = held_out(cases, max(1, len(cases) // 5))
    for name, found in parts.items():
        if not found:
            raise UserError(
                f"--learning-rates: the {len(cases)} training photographs of "
                f"{plan.data} come from too few patients to hold some out ({name} "
                "would be empty): give --lr after -- instead"
            )
    folder = plan.out / "search"
    split = folder / "split.json"
    write_json(split, parts)
    jobs = []
    for rate in plan.learning_rates:
        own = dataclasses.replace(
            plan,
            out=folder / f"lr{rate:g}",
            split=split,
            training=[
                *plan.training,
                *("--iterations", str(plan.search_iterations), "--lr", f"{rate:g}"),
            ],
        )
        jobs += [Job(own, loss, plan.seeds[0]) for loss in plan.losses]
    done, _ = run_all(plan, jobs, execute)
    scores: dict[str, dict[str, float | None]] = {loss: {} for loss in plan.losses}
    for job, run in zip(jobs, done, strict=True):
        found = run and comparison.mean_average_precision(run["measures"])
        scores[job.loss][job.plan.out.name.removeprefix("lr")] = found or None
    return scores


def costs(plan: Plan, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return where each loss's iteration time goes, one by one on one thread."""
    found: dict[str, Any] = {}
    for run in tqdm(runs, "costs", unit="run", disable=None):
        if run["loss"] in found:
            continue
        folder = folder_of(plan.out, run["loss"], run["seed"])
        result = processes.run(
            [
                *(sys.executable, str(work.SCRIPTS / "time_layers.py")),
                *("--run", str(folder / "run"), "--out", str(folder / "layers.json")),
            ],
            capture_output=True,
            text=True,
        )
        if result.returncode:
            # A failure here must not lose hours of training.
            tqdm.write(f"error: costs of {run['loss']}: {result.stderr[-300:]}")
            continue
        own = schema.read_json(folder / "layers.json", Costs, running.ANEW)
        found[run["loss"]] = {k: own[k] for k in own if k != "layers"}
    return found


def histograms(
    plan: Plan, runs: list[dict[str, Any]]
) -> dict[str, list[comparison.Histograms]]:
    """Return the histograms of each loss's maps, one mapping per seed."""
    cases = read_dataset(plan.data, plan.split).subset("validation")
    found: dict[str, list[comparison.Histograms]] = {}
    for run in tqdm(runs, "photographs", unit="run", disable=None):
        maps = folder_of(plan.out, run["loss"], run["seed"]) / "prediction"
        own = photographs.coarse_histograms(cases, plan.lesions, maps)
        found.setdefault(run["loss"], []).append(own)
    return found


def compare(plan: Plan, execute: work.Executor) -> dict[str, Any]:
    """Run everything and return the content of summary.json.

    Parameters
    ----------
    plan : Plan
    execute : callable
        Where the trainings run; see `randrop.cluster.work`.
    """
    scores: dict[str, dict[str, float | None]] = {}
    chosen: dict[str, str] = {}
    if plan.learning_rates:
        scores = search(plan, execute)
        for loss, by_rate in scores.items():
            known = {rate: s for rate, s in by_rate.items() if s is not None}
            if known:
                chosen[loss] = max(known, key=known.get)
    pairs = list(dict.fromkeys((n, s) for s in plan.seeds for n in plan.losses))
    jobs = [Job(plan, loss, seed, chosen.get(loss)) for loss, seed in pairs]
    outcomes = run_all(plan, jobs, execute)
    done, failed = (dict(zip(pairs, found, strict=True)) for found in outcomes)
    order = [(loss, seed) for loss in plan.losses for seed in plan.seeds]
    runs = [done[pair] for pair in order if done[pair] is not None]
    content = {
        "data": plan.data.resolve().name,
        "training": plan.training,
        "search": scores,
        "learning_rates": chosen,
        "costs": costs(plan, runs) if plan.costs else {},
        "runs": runs,
        "failed": [
            {"loss": loss, "seed": seed, "error": failed[loss, seed]}
            for loss, seed in order
            if failed[loss, seed] is not None
        ],
        "photographs": {},
        **comparison.summary(runs, plan.reference),
    }
    if runs and not is_labelled(plan.data):
        content["photographs"] = comparison.by_photographs(
            histograms(plan, runs), content["reference"]
        )
    return content


def write(path: Path, content: dict[str, Any]) -> str:
    """Write a summary as JSON, with .md and .png beside it; return the tables."""
    text = comparison_tables.markdown(content)
    write_json(path, content)
    write_text(path.with_suffix(".md"), text)
    if content["runs"]:
        picture = path.with_suffix(".png")
        comparison_tables.draw(picture, content["runs"], content["photographs"])
    return text
