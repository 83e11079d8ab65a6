"""k-fold cross-validation: trainings, pooled out-of-fold maps, and an ensemble."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from randrop.cluster import work
from randrop.data import Case, read_dataset
from randrop.data.splits import folds
from randrop.errors import UserError
from randrop.files import ownership, schema, write_json, write_text
from randrop.files.documents import Prediction, read_metrics
from randrop.files.split_file import Split
from randrop.prediction import ensemble, maps, model, sharing
from randrop.pycaffe import processes
from randrop.training import running, starting

POOLED = "out-of-fold"
"""Folder of the maps of all photographs, and the subset that they are."""

FOLDS = "folds.json"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to validate, and where.

    Attributes
    ----------
    data : Path
        Photographs.
    out : Path
        Receives a folder for each fold.
    lesions : sequence of str
    folds : int
    seed : int
        Of the draw of the folds.
    split : Path, optional
        Its test photographs take no part.
    training : sequence of str
        Further arguments of scripts/train.py.
    start : Path, optional
        What the folds start from; see `starting.files`.
    """

    data: Path
    out: Path
    lesions: Sequence[str] = ("MA", "HE")
    folds: int = 5
    seed: int = 0
    split: Path | None = None
    training: Sequence[str] = ()
    start: Path | None = None


def folder_of(plan: Plan, fold: int) -> Path:
    """Return the folder of a fold; the first is 1."""
    return plan.out / f"fold{fold}"


def splits_of(plan: Plan) -> list[dict[str, tuple[str, ...]]]:
    """Return the subsets of each fold.

    Each fold validates a part of the training and validation photographs and trains on
    the others. A test set stays what it is.

    Raises
    ------
    UserError
        If there are too few patients.
    """
    test = read_dataset(plan.data, plan.split).splits.get("test", ())
    cases = _cases(plan)
    found = []
    for fold in folds(cases, plan.folds, plan.seed):
        train = tuple(case.name for case in cases if case.name not in fold)
        parts = {"train": train, "validation": fold}
        found.append(parts | {"test": test} if test else parts)
    return found


def _cases(plan: Plan) -> list[Case]:
    """Return the photographs that are divided among the folds."""
    dataset = read_dataset(plan.data, plan.split)
    taken = {
        name
        for subset, names in dataset.splits.items()
        if subset != "test"
        for name in names
    }
    return [case for case in dataset.cases if case.name in taken]


def check_folds(
    plan: Plan, splits: Sequence[Mapping[str, Sequence[str]]]
) -> dict[str, list[str]]:
    """Return the photographs of each fold, by name of the fold.

    Raises
    ------
    UserError
        If the output folder has other folds, as after a change of --folds, of
        --fold-seed or of the data.
    """
    wanted = {f"fold{k}": list(s["validation"]) for k, s in enumerate(splits, 1)}
    path = plan.out / FOLDS
    other = path.exists() and schema.read_json(path, Split, running.ANEW) != wanted
    for name, photographs in wanted.items():
        split = plan.out / name / "split.json"
        if split.exists() and (plan.out / name / "run").exists():
            # Also without folds.json: a network must not be measured on what it saw.
            known = schema.read_json(split, Split, running.ANEW)
            other = other or known.get("validation") != photographs
    if other:
        raise UserError(
            f"{plan.out} contains a cross-validation with other folds ({FOLDS}): "
            "repeat its --folds, --fold-seed and data, or choose another --out"
        )
    return wanted


def steps_of(plan: Plan, fold: int, starts: Sequence[Path] = ()) -> running.Steps:
    """Return the arguments of each script of a fold; `starts` is of `starts_of`."""
    folder = folder_of(plan, fold)
    split = folder / "split.json"
    start = ["--weights", str(starts[fold - 1])] if starts else []
    training = [*plan.training, *start]
    return running.steps_on_photographs(
        folder, plan.data, plan.lesions, split, training
    )


def starts_of(plan: Plan, folds: Mapping[str, Sequence[str]]) -> list[Path]:
    """Return the weights that each fold starts from; empty if from scratch."""
    return starting.files(plan.start, plan.out, folds) if plan.start else []


def cross_validate(
    plan: Plan, execute: work.Executor, children: processes.Children
) -> dict[str, Any]:
    """Run everything and return the content of summary.json.

    Folds that are done are left alone. Out-of-fold maps, their evaluation and the
    ensemble are made once all folds are done.

    Parameters
    ----------
    plan : Plan
    execute : callable
        Where the trainings run; see `randrop.cluster.work`.
    children : Children
        Already entered, so that a signal stops the evaluation of all.
    """
    splits = splits_of(plan)
    wanted = check_folds(plan, splits)
    starts = starts_of(plan, wanted)
    write_json(plan.out / FOLDS, wanted)
    if plan.start:
        starting.write(plan.start, starts)
    numbers = range(1, len(splits) + 1)
    for fold, split in zip(numbers, splits, strict=True):
        write_json(folder_of(plan, fold) / "split.json", split)
    jobs = [
        running.Job(f"fold {fold}", folder_of(plan, fold), steps_of(plan, fold, starts))
        for fold in numbers
    ]
    done, failed = running.run_all(jobs, execute)
    content: dict[str, Any] = {
        "data": plan.data.resolve().name,
        "training": list(plan.training),
        "folds": [
            {"fold": k, "photographs": len(split["validation"]), **found}
            for k, split, found in zip(numbers, splits, done, strict=True)
            if found is not None
        ],
        "failed": [
            {"fold": fold, "error": error}
            for fold, error in zip(numbers, failed, strict=True)
            if error is not None
        ],
        "pooled": {},
    }
    if not content["failed"]:
        runs = [job.folder / "run" for job in jobs]
        parts = [split["validation"] for split in splits]
        ensemble.write(plan.out, runs, parts, model.field_of(_cases(plan)))
        pooled = pool(plan, splits, children)
        content["pooled"] = {
            lesion: {
                "average_precision": found["average_precision"],
                "average_precision_95": found["average_precision_95"],
                "froc_score": (found["froc"] or {}).get("score"),
                "froc_score_95": (found["froc"] or {}).get("score_95"),
            }
            for lesion, found in pooled["lesions"].items()
        }
    return content


def pool(
    plan: Plan,
    splits: Sequence[Mapping[str, Sequence[str]]],
    children: processes.Children,
) -> dict[str, Any]:
    """Put all out-of-fold maps into one folder and evaluate them; return metrics.json.

    Each photograph was predicted by the network that was not trained on it.
    """
    root = plan.out / POOLED
    _record(plan, splits)
    for fold, split in enumerate(splits, 1):
        source = folder_of(plan, fold) / "prediction"
        for lesion in plan.lesions:
            for name in split["validation"]:
                sharing.share(
                    maps.path_of(source, lesion, name), maps.path_of(root, lesion, name)
                )
    names = [name for split in splits for name in split["validation"]]
    subset = plan.out / f"{POOLED}.json"
    write_json(subset, {POOLED: sorted(names)})
    last, out = plan.out / "evaluation" / "metrics.json", plan.out / "evaluation"
    newest = max(
        (folder_of(plan, fold) / "evaluation/metrics.json").stat().st_mtime
        for fold in range(1, len(splits) + 1)
    )
    if not last.exists() or last.stat().st_mtime < newest:
        arguments = [
            *("--probabilities", root, "--data", plan.data, "--split", subset),
            *("--subset", POOLED, "--lesions", *plan.lesions),
            *("--overlays", "telling", "--out", out),
        ]
        text = [str(a) for a in arguments]
        work.run_script("evaluate", text, plan.out, children)
    return read_metrics(last)


def _record(plan: Plan, splits: Sequence[Mapping[str, Sequence[str]]]) -> None:
    """Write how the pooled maps were made, as scripts/predict.py does."""
    remedy = "remove it, and run the same command again"
    parts = [
        schema.read_json(
            folder_of(plan, fold) / "prediction/prediction.json", Prediction, remedy
        )
        for fold in range(1, len(splits) + 1)
    ]
    file = plan.out / ensemble.FILE
    record = parts[0] | {
        "weights": str(file.resolve()),
        "weights_sha256": ownership.sha256(file),
        "run": str(plan.out.resolve()),
        "out_of_fold": True,
    }
    for key in ("seconds", "scales"):
        record[key] = {k: v for part in parts for k, v in part.get(key, {}).items()}
    write_json(plan.out / POOLED / "prediction.json", record)


def table(content: Mapping[str, Any]) -> str:
    """Return the summary as Markdown: each fold, mean and spread, and pooled."""
    names = list(content["folds"][0]["measures"]) if content["folds"] else []
    lines = ["| fold | photographs | " + " | ".join(names) + " |"]
    lines.append("|---" * (2 + len(names)) + "|")
    for fold in content["folds"]:
        cells = [_shown(fold["measures"].get(name)) for name in names]
        lines.append(_row(fold["fold"], fold["photographs"], *cells))
    values = {
        name: [
            v for f in content["folds"] if (v := f["measures"].get(name)) is not None
        ]
        for name in names
    }
    if len(content["folds"]) > 1:
        cells = [
            f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" if len(v) > 1 else ""
            for v in values.values()
        ]
        lines.append(_row("mean ± sd", "", *cells))
    if content["pooled"]:
        lines += ["", "All photographs, each predicted by the network that was not "]
        lines[-1] += "trained on it, with 95 % intervals over photographs:"
        lines += ["", "| type | average precision | FROC score |", "|---|---|---|"]
        for lesion, found in content["pooled"].items():
            lines.append(
                _row(
                    lesion,
                    *(
                        _shown(found[key], found[f"{key}_95"])
                        for key in ("average_precision", "froc_score")
                    ),
                )
            )
    for failure in content["failed"]:
        lines += ["", f"Failed: fold {failure['fold']}: {failure['error']}"]
    return "\n".join(lines) + "\n"


def _row(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _shown(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return ""
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def write(out: Path, content: Mapping[str, Any]) -> str:
    """Write summary.json and summary.md; return the table."""
    text = table(content)
    write_json(out / "summary.json", content)
    write_text(out / "summary.md", text)
    return text
