"""What was tried and how often: results/tried.json, and docs/tried.md made of it.

    build/venv/bin/python tests/tried.py
    build/venv/bin/python tests/tried.py --add --what "gtests" --cases 300 --faults 0 \\
      --seconds 40

The first command writes the page. The second adds a run first, as test.sh does.
"""

import argparse
import datetime
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "python_layers"))
RESULTS = REPOSITORY / "results" / "tried.json"
PAGE = REPOSITORY / "docs" / "tried.md"

HEAD = """\
# What was tried, and how often

Written by `tests/tried.py` from `results/tried.json`. Every run of `scripts/test.sh`
with `--faults`, `--fuzz`, `--sanitize` or `--nightly` adds to that file. A fault is a
case that did not end as it should; each prints the line that repeats it. The tests that
`test.sh` always runs are not counted here.

A case is

- of injected faults: one training or script that is killed, meets a full or read-only
  disk, or reads a damaged file, and what happens afterwards;
- of kills of the patch tool: one Caffe tree of some kind that is patched, edited and
  reverted, killed in between, and must end as it was;
- of random inputs: one loss layer and its Python twin with random parameters, shapes
  and labels, one file changed at random and read, or one random net with oneDNN and
  with Caffe's own layers;
- of the sanitizers: one test or net.

| | runs | cases | faults found | hours | last |
|---|---|---|---|---|---|
"""
LAST = """
## The last {count} runs

| date | version | what | seed | cases | faults | seconds |
|---|---|---|---|---|---|---|
"""
SHOWN = 40


def git(*words):
    done = subprocess.run(
        ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def version():
    """Return the running commit, as git describes it, and whether it was modified."""
    ours = [f":!{path.relative_to(REPOSITORY)}" for path in (RESULTS, PAGE)]
    changed = git("status", "--porcelain", "--", ".", *ours)
    found = git("describe", "--always", "--tags") or "unknown"
    return f"{found}-dirty" if changed else found


def page(runs):
    """Return the page that describes these runs."""
    text = HEAD
    for what in sorted({run["what"] for run in runs}):
        own = [run for run in runs if run["what"] == what]
        cases, faults = (sum(run[key] for run in own) for key in ("cases", "faults"))
        hours = sum(run["seconds"] for run in own) / 3600
        text += f"| {what} | {len(own)} | {cases:,} | {faults:,} | {hours:.2f} "
        text += f"| {max(run['date'] for run in own)} |\n"
    text += LAST.format(count=min(len(runs), SHOWN))
    for run in runs[::-1][:SHOWN]:
        seed = "–" if run["seed"] is None else run["seed"]
        text += f"| {run['date']} | {run['version']} | {run['what']} | {seed} "
        text += f"| {run['cases']:,} | {run['faults']:,} | {run['seconds']:,} |\n"
    return text


def add(path, what, cases, faults, seconds, seed=None):
    """Append a run to a file of results, and write the page if they are ours.

    Without a path, do nothing, so that programs run by tests leave no trace.
    """
    if not path:
        return
    from randrop.files import write_json

    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        runs = json.loads(path.read_text()) if path.exists() else []
        runs.append(
            {
                "what": what,
                "cases": cases,
                "faults": faults,
                "seconds": round(seconds),
                "seed": seed,
                "version": version(),
                "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            }
        )
        write_json(path, runs)
        if path == RESULTS:
            write_page()
    finally:
        os.close(folder)


def write_page():
    from randrop.files import write_text

    write_text(PAGE, page(json.loads(RESULTS.read_text())))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--add", action="store_true", help="add a run before")
    parser.add_argument("--what", help="what was tried")
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--tried", type=Path, default=RESULTS, help="%(default)s")
    options = parser.parse_args()
    if options.add:
        if not options.what:
            parser.error("--add wants --what")
        add(
            options.tried,
            *(options.what, options.cases, options.faults, options.seconds),
            options.seed,
        )
    else:
        write_page()


if __name__ == "__main__":
    main()
