"""Train, predict and evaluate the same network under several losses and seeds."""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import _start  # noqa: F401

from tqdm import tqdm

from randrop import cli
from randrop.errors import UserError
from randrop.files import write_json

SCRIPTS = Path(__file__).resolve().parent
EXAMPLES = """\
  scripts/compare.py --data data/idrid --losses random-drop:LOG cross-entropy \\
      --seeds 1 2 --out build/compare --jobs 2 -- --iterations 4000 --patch 256
"""


def run_one(options: argparse.Namespace, loss: str, seed: int) -> dict:
    """Train, predict and evaluate one loss with one seed; each step skips what is done.

    Returns
    -------
    dict
        The content of metrics.json.

    Raises
    ------
    UserError
        When a step fails; names its log.
    """
    run = options.out / f"{loss.replace(':', '-')}-seed{seed}"
    run.mkdir(parents=True, exist_ok=True)
    name, _, schedule = loss.partition(":")
    data = ["--data", str(options.data), "--lesions", *options.lesions]
    if options.split:
        data += ["--split", str(options.split)]
    held_out = [*data, "--subset", "validation"]
    training = [*data, "--loss", name, "--seed", str(seed), "--out", str(run / "run")]
    if schedule:
        training += ["--schedule", schedule]
    maps = str(run / "prediction")
    steps = {
        "train": [*training, *options.training],
        "predict": ["--run", str(run / "run"), *held_out, "--out", maps],
        "evaluate": [
            *("--run", str(run / "run"), "--probabilities", maps),
            *(*held_out, "--out", str(run / "evaluation")),
        ],
    }
    for step, arguments in steps.items():
        log = run / f"{step}.out"
        with log.open("w") as stream:
            status = subprocess.run(
                [sys.executable, str(SCRIPTS / f"{step}.py"), *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if status:
            raise UserError(
                f"{loss}, seed {seed}: {step}.py ended with {status}: {log}"
            )
    return json.loads((run / "evaluation" / "metrics.json").read_text())


def arguments() -> argparse.Namespace:
    """Parse the command line; what follows `--` goes to train.py."""
    parser = cli.parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--lesions", nargs="+", default=["MA", "HE"])
    parser.add_argument(
        "--losses", nargs="+", required=True, help="NAME or NAME:SCHEDULE of train.py"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--results", type=Path, help="also write the summary here")
    parser.add_argument("training", nargs="*", help="after --: arguments of train.py")
    return parser.parse_args()


def main() -> int:
    """Run all, go on after failures, write summary.json and print a table."""
    options = arguments()
    jobs = [(loss, seed) for loss in options.losses for seed in options.seeds]
    done, failed = {}, {}
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(run_one, options, *job): job for job in jobs}
        for future in tqdm(as_completed(futures), total=len(jobs), unit="run"):
            try:
                done[futures[future]] = future.result()
            except UserError as error:
                failed[futures[future]] = str(error)
                tqdm.write(f"error: {error}")
    summary = {
        "data": options.data.name,
        "training": options.training,
        "runs": [
            {"loss": loss, "seed": seed, "lesions": done[loss, seed]["lesions"]}
            for loss, seed in jobs
            if (loss, seed) in done
        ],
        "failed": [
            {"loss": loss, "seed": seed, "error": error}
            for (loss, seed), error in failed.items()
        ],
    }
    for path in {options.out / "summary.json", options.results} - {None}:
        write_json(path, summary)
    print(f"{'loss':24} seed  lesion  AUPR (33 thresholds)  average precision")
    for run in summary["runs"]:
        for lesion, metrics in run["lesions"].items():
            # Where no mask has this lesion, neither is defined.
            numbers = [metrics["aupr_challenge"], metrics["average_precision"]]
            shown = ["-" if n is None else f"{n:.4f}" for n in numbers]
            print(
                f"{run['loss']:24} {run['seed']:4}  {lesion:6}  "
                f"{shown[0]:>20}  {shown[1]:>17}"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
