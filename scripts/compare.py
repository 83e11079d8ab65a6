"""Train and evaluate the same network under several losses and seeds."""

WANTED: str = "Python 3.10 or newer"

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from tqdm import tqdm

import train
from randrop import cli
from randrop.data import read_dataset
from randrop.data.labelled import is_labelled
from randrop.data.splits import held_out
from randrop.errors import UserError
from randrop.evaluation import comparison, photographs
from randrop.files import output, ownership, schema, write_json, write_text
from randrop.files.documents import Costs, read_metrics
from randrop.files.schema import NotNegative
from randrop.pycaffe import processes
from randrop.report import comparison_tables
from randrop.training import snapshots

ANEW = "remove it, and the same command makes it anew"
SCRIPTS = Path(__file__).resolve().parent
EXAMPLES = """\
  scripts/compare.py --data build/idrid --losses random-drop:LOG cross-entropy \\
      --seeds 1 2 --out build/compare -- --iterations 4000 --patch 256
  scripts/compare.py --data build/idrid --losses cross-entropy random-drop:LOG \\
      --learning-rates 3e-4 1e-3 3e-3 --search-iterations 800 --seeds 1 2 \\
      --out build/compare-lr -- --iterations 4000
  scripts/compare.py --data build/organs2d --losses cross-entropy cross-entropy+dice \\
      --seeds 1 2 3 --out build/compare-organs -- --iterations 1500 --batch 2

Losses are those of scripts/train.py --help; what follows -- goes to train.py. The same
command again goes on where it was stopped, and leaves alone what is done; when this
ends, so do its trainings, after a snapshot if it was Ctrl-C or SIGTERM. OUT gets a
folder a run, summary.json, summary.md (mean and spread over seeds, and differences to
the first loss or the --reference, paired by seed) and summary.png.

With --learning-rates each loss gets the best of them by itself: it is trained with each
on the first four fifths of the training photographs, and the mean average precision on
the last fifth decides. The validation photographs have no part in it.
"""


def folder_of(out: Path, loss: str, seed: int) -> Path:
    """Return the folder of a run, named so that any shell takes it."""
    return out / f"{re.sub(r'[^A-Za-z0-9.=_+-]', '-', loss)}-seed{seed}"


def steps_of(options: argparse.Namespace, loss: str, seed: int) -> dict[str, list[str]]:
    """Return the arguments of each script that makes up a run."""
    folder = folder_of(options.out, loss, seed)
    run, data = folder / "run", ["--data", options.data]
    train = ["--loss", loss, "--seed", seed, "--out", run]
    if snapshots.states(run) and not (run / "final.caffemodel").exists():
        train.append("--resume")
    if is_labelled(options.data):
        steps = {
            "train": [*data, *train],
            "evaluate_labels": [*data, "--run", run, "--out", folder / "evaluation"],
        }
    else:
        data += ["--lesions", *options.lesions]
        if options.split:
            data += ["--split", options.split]
        held_out = [*data, "--subset", "validation"]
        maps = folder / "prediction"
        steps = {
            "train": [*data, *train],
            "predict": ["--run", run, *held_out, "--out", maps],
            "evaluate": [
                *("--run", run, "--probabilities", maps),
                *(*held_out, "--out", folder / "evaluation"),
            ],
        }
    # One process a core: unless told otherwise, each keeps to one.
    steps["train"] += ["--threads", 1, *options.training]
    if loss in options.chosen:
        steps["train"] += ["--lr", options.chosen[loss]]
    return {name: [str(a) for a in arguments] for name, arguments in steps.items()}


def run_one(options: argparse.Namespace, loss: str, seed: int) -> dict[str, Any]:
    """Train and evaluate one loss with one seed; each step skips what is done.

    Returns
    -------
    dict
        loss, seed, the seconds that this call took, and the measures.

    Raises
    ------
    UserError
        When a step fails; names its log.
    """
    folder = folder_of(options.out, loss, seed)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for step, arguments in steps_of(options, loss, seed).items():
        # A training is asked in any case: it knows whether its settings are these.
        if step != "train" and _is_measured(folder):
            continue
        log = folder / f"{step}.out"
        with log.open("w") as stream:
            status = options.children.run(
                [sys.executable, str(SCRIPTS / f"{step}.py"), *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        if status:
            last = (log.read_text(errors="replace").strip() or "?").splitlines()[-1]
            raise UserError(f"{step}.py ended with {status}: {last} ({log})")
    metrics = read_metrics(folder / "evaluation" / "metrics.json")
    seconds_path = folder / "seconds.json"
    seconds = time.monotonic() - began
    if seconds_path.exists():
        # A run that is done already takes no time; what it took was written then.
        seconds = max(seconds, schema.read_json(seconds_path, NotNegative, ANEW))
    write_json(seconds_path, seconds)
    return {
        "loss": loss,
        "seed": seed,
        "seconds": round(seconds, 1),
        "measures": comparison.measures(metrics),
    }


def _is_measured(folder: Path) -> bool:
    """Return whether the network was measured after it was written."""
    last, network = folder / "evaluation/metrics.json", folder / "run/final.caffemodel"
    return (
        last.exists()
        and network.exists()
        and last.stat().st_mtime >= network.stat().st_mtime
    )


def run_all(
    options: argparse.Namespace, jobs: list[tuple[argparse.Namespace, str, int]]
) -> tuple[dict, dict[tuple[Path, str, int], str]]:
    """Run jobs, --jobs at a time, and go on after failures.

    Returns
    -------
    done, failed : dict
        By (folder, loss, seed): what `run_one` returns, and what went wrong.
    """
    done, failed = {}, {}
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(run_one, *job): job for job in jobs}
        try:
            for future in tqdm(as_completed(futures), total=len(jobs), unit="run"):
                own, loss, seed = futures[future]
                try:
                    done[own.out, loss, seed] = future.result()
                except (UserError, OSError) as error:
                    failed[own.out, loss, seed] = str(error)
                    trial = "" if own.out == options.out else f" at {own.out.name}"
                    said = f"error: {loss}, seed {seed}{trial}: {error}"
                    tqdm.write(said, file=sys.stderr)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return done, failed


def check(options: argparse.Namespace) -> None:
    """Check all trainings before the first: losses, data, arguments after --.

    Raises
    ------
    UserError
        As scripts/train.py does, naming the loss.
    """
    settings = None
    for loss in dict.fromkeys(options.losses):
        arguments = steps_of(options, loss, options.seeds[0])["train"]
        own = train.arguments(arguments)
        if settings is None:
            settings = train.settings_of(own)
        else:
            train.check_loss(own, settings)


def search(options: argparse.Namespace) -> dict[str, dict[str, float | None]]:
    """Return each loss's score at each learning rate, None where it failed."""
    cases = read_dataset(options.data, options.split).subset("train")
    parts = held_out(cases, max(1, len(cases) // 5))
    for name, found in parts.items():
        if not found:
            raise UserError(
                f"--learning-rates: the {len(cases)} training photographs of "
                f"{options.data} are of too few patients to hold some out ({name} "
                "would be empty): give --lr after -- instead"
            )
    folder = options.out / "search"
    split = folder / "split.json"
    write_json(split, parts)
    jobs = []
    for rate in options.learning_rates:
        own = argparse.Namespace(**vars(options))
        own.out, own.split = folder / f"lr{rate:g}", split
        own.training = [
            *options.training,
            *("--iterations", str(options.search_iterations), "--lr", f"{rate:g}"),
        ]
        jobs += [(own, loss, options.seeds[0]) for loss in options.losses]
    done, _ = run_all(options, jobs)
    scores: dict[str, dict[str, float | None]] = {loss: {} for loss in options.losses}
    for own, loss, seed in jobs:
        run = done.get((own.out, loss, seed))
        found = run and comparison.mean_average_precision(run["measures"])
        scores[loss][own.out.name.removeprefix("lr")] = found or None
    return scores


def costs(options: argparse.Namespace, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return where each loss's iteration goes, one after another on one thread."""
    found: dict[str, Any] = {}
    for run in tqdm(runs, "costs", unit="run"):
        if run["loss"] in found:
            continue
        folder = folder_of(options.out, run["loss"], run["seed"])
        result = processes.run(
            [
                *(sys.executable, str(SCRIPTS / "time_layers.py")),
                *("--run", str(folder / "run"), "--out", str(folder / "layers.json")),
            ],
            capture_output=True,
            text=True,
        )
        if result.returncode:
            # Hours of training are not to be lost for it.
            tqdm.write(f"error: costs of {run['loss']}: {result.stderr[-300:]}")
            continue
        own = schema.read_json(folder / "layers.json", Costs, ANEW)
        found[run["loss"]] = {k: own[k] for k in own if k != "layers"}
    return found


def histograms(
    options: argparse.Namespace, runs: list[dict[str, Any]]
) -> dict[str, list[comparison.Histograms]]:
    """Return those of the maps of each loss, one mapping a seed."""
    cases = read_dataset(options.data, options.split).subset("validation")
    found: dict[str, list[comparison.Histograms]] = {}
    for run in tqdm(runs, "photographs", unit="run"):
        maps = folder_of(options.out, run["loss"], run["seed"]) / "prediction"
        own = photographs.coarse_histograms(cases, options.lesions, maps)
        found.setdefault(run["loss"], []).append(own)
    return found


def arguments() -> argparse.Namespace:
    """Parse the command line; what follows `--` goes to train.py."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="photographs or a labelled set")
    add("--split", type=Path, help="of photographs, as in train.py")
    add("--lesions", nargs="+", default=["MA", "HE"], help="of photographs")
    add("--losses", nargs="+", required=True, help="as --loss of train.py")
    add("--learning-rates", type=float, nargs="+", default=[], metavar="LR",
        help="each loss gets the best of these; photographs only")  # fmt: skip
    add("--search-iterations", type=int, default=800, help="of each trial of a rate")
    add("--seeds", type=int, nargs="+", default=[1])
    add("--out", type=Path, required=True)
    add("--reference", metavar="LOSS", help="differences are to it; default the first")
    add("--costs", action="store_true", help="also time an iteration of each loss")
    add("--jobs", type=int, default=os.cpu_count(), help="trainings at a time")
    add("--results", type=Path, help="also write the summary here, as NAME.json, "
        ".md and .png")  # fmt: skip
    add("training", nargs="*", help="after --: arguments of train.py")
    return parser.parse_args()


def main() -> int:
    """Run all, go on after failures, write the summary and print its tables."""
    options = arguments()
    if not options.data.is_dir():
        raise UserError(f"--data {options.data}: no such folder")
    if options.reference not in (None, *options.losses):
        raise UserError(f"--reference {options.reference} is none of the --losses")
    if options.jobs < 1:
        raise UserError("--jobs must be at least 1")
    if options.learning_rates:
        if is_labelled(options.data):
            raise UserError("--learning-rates is for photographs")
        if "--lr" in options.training:
            raise UserError("give --learning-rates, or --lr after --, not both")
    options.chosen = {}
    check(options)
    results = options.results and [
        options.results,
        *(options.results.with_suffix(suffix) for suffix in (".md", ".png")),
    ]
    ownership.check(*results or ())
    names = ("summary.json", "summary.md", "summary.png", "search/split.json")
    logs = ("*-seed*/*.out", "search/*/*-seed*/*.out")
    written = output(options.out, "compare", names, streams=logs)
    with written, processes.Children() as options.children:
        return _compare(options)


def _compare(options: argparse.Namespace) -> int:
    """Run all, write the summary, print its tables; return the status."""
    scores = {}
    if options.learning_rates:
        scores = search(options)
        for loss, by_rate in scores.items():
            known = {rate: s for rate, s in by_rate.items() if s is not None}
            if known:
                options.chosen[loss] = max(known, key=known.get)
    pairs = list(dict.fromkeys((n, s) for s in options.seeds for n in options.losses))
    done, failed = run_all(options, [(options, *pair) for pair in pairs])
    order = [
        (options.out, loss, seed) for loss in options.losses for seed in options.seeds
    ]
    runs = [done[job] for job in order if job in done]
    content = {
        "data": options.data.resolve().name,
        "training": options.training,
        "search": scores,
        "learning_rates": options.chosen,
        "costs": costs(options, runs) if options.costs else {},
        "runs": runs,
        "failed": [
            {"loss": loss, "seed": seed, "error": failed[job]}
            for job in order
            if job in failed
            for _, loss, seed in [job]
        ],
        "photographs": {},
        **comparison.summary(runs, options.reference),
    }
    if runs and not is_labelled(options.data):
        content["photographs"] = comparison.by_photographs(
            histograms(options, runs), content["reference"]
        )
    text = comparison_tables.markdown(content)
    for path in {options.out / "summary.json", options.results} - {None}:
        write_json(path, content)
        write_text(path.with_suffix(".md"), text)
        if runs:
            picture = path.with_suffix(".png")
            comparison_tables.draw(picture, runs, content["photographs"])
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
