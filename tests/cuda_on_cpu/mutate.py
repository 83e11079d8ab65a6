#!/usr/bin/env python3
"""Put faults into the CUDA sources, one at a time, and count those that tests catch.

The faults are those of mutants.py: barriers left out, additions that are not atomic,
bounds, steps and launches that are off by one. A fault counts as caught when the tests
that run without it fail, stop or do not end with it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import mutants
import run

RESULT = run.REPOSITORY / "results" / "cuda_mutants.json"
# Ordered so that most faults are caught early.
FILTERS = (
    "GpuLoops*",
    "RandropGpuEqualsCpu*",
    "RandropTopKLossLayersTest/2*:RandropDiceLossLayersTest/2*:*RandomDrop*/2.*:"
    "RandropPixelLossLayersTest/2*:-*TestGradient*:*Stop*:*LabelsHaveNo*",
)
# Why a fault has no visible effect, by the text of its line and by the change. A
# surviving fault that is not listed here is a gap in the tests.
HARMLESS = (
    (
        ("int step = 1; step < kReduceThreads",),
        ("one more", "one less"),
        "steps are powers of two up to 128, and there are 256 threads",
    ),
    (
        ("tile < chunk.end",),
        ("one more",),
        "a tile more has no element that takes part",
    ),
    (
        ("first + k < classes",),
        ("one more",),
        "it reads a sum too many of the thread's own, which AddressSanitizer sees; the "
        "next launch writes the right one there",
    ),
    (("first += kClassesAtOnce",), ("one more",), "a launch more has no class"),
    (
        ("block < last_block",),
        ("one more",),
        "a counter more has no element of the group",
    ),
    (
        ("d < kDigits; d += blockDim.x",),
        ("a step longer by one",),
        "there are as many digits as threads, so that no second step is taken",
    ),
    (
        ("if (threadIdx.x == 0)",),
        ("another thread writes",),
        "every thread has the sum",
    ),
    (
        ("SelectHistogramGPU<<<", "ForEachGPU<<<"),
        ("half the threads",),
        "its loops take any number of them",
    ),
    (
        ("BeginSelectGPU<<<", "NarrowGPU<<<", "ScanTiesGPU<<<"),
        ("a block more", "half the threads"),
        "a loop over the grid takes any number of threads",
    ),
)


def check(program: Path, number: int, limit: float) -> tuple[str, float]:
    """Run the tests with one fault; return how it showed ("" if not) and seconds."""
    start = time.monotonic()
    for chosen in FILTERS:
        try:
            done = subprocess.run(
                [str(program), f"--gtest_filter={chosen}"],
                env={
                    **os.environ,
                    "CUDA_ON_CPU_MUTANT": str(number),
                    "CUDA_ON_CPU_STOP": "1",
                    "GLOG_minloglevel": "2",
                },
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "does not end", time.monotonic() - start
        if done.returncode:
            said = [x for x in done.stderr.splitlines() if "cuda_on_cpu: " in x]
            if done.returncode == 3 and said:
                # The output is the same wherever the checkout lies.
                last = said[-1].replace(f"{run.REPOSITORY}/", "")
                words = last.partition("thread ")[2].partition(": ")[2]
                return words or last, time.monotonic() - start
            wrong = "a wrong result" if done.returncode == 1 else "a crash"
            return wrong, time.monotonic() - start
    return "", time.monotonic() - start


def reason(mutant: mutants.Mutant) -> str:
    """Return why a fault is harmless, or "" if it is not known to be."""
    name, _, line = mutant.place.partition(":")
    path = next(path for path in mutants.FILES if path.name == name)
    lines = path.read_text().splitlines()[int(line) - 1 : int(line) + 2]
    text = " ".join(lines)
    for parts, what, why in HARMLESS:
        if mutant.what in what and any(part in text for part in parts):
            return why
    return ""


def main() -> None:
    """Try all faults and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--jobs", type=int, metavar="N", help="parallel compilers and tests")
    add("--only", type=int, nargs="+", metavar="NUMBER", help="try only these faults")
    add(
        "--limit",
        type=float,
        default=300,
        metavar="SECONDS",
        help="longest time of a run in seconds; default: 300",
    )
    add("--out", type=Path, default=RESULT, help="default: results/cuda_mutants.json")
    options = parser.parse_args()
    program = run.build("mutants", options.jobs)
    print("Without a fault", flush=True)
    shown, seconds = check(program, 0, 10 * options.limit)
    if shown:
        sys.exit(f"error: the tests fail without a fault ({shown})")
    every = [mutant for path in mutants.FILES for mutant in mutants.of_file(path)]
    if options.only:
        every = [mutant for mutant in every if mutant.number in options.only]
    print(f"{seconds:.0f} s. Now {len(every)} faults", flush=True)
    rows = []

    def one(mutant: mutants.Mutant) -> dict:
        shown, seconds = check(program, mutant.number, options.limit)
        row = {**asdict(mutant), "shown_by": shown}
        if not shown:
            row["harmless"] = reason(mutant)
        print(
            f"{mutant.number} {mutant.place} {mutant.what}: "
            f"{shown or 'SURVIVES'} ({seconds:.0f} s)",
            flush=True,
        )
        return row

    with ThreadPoolExecutor(options.jobs or run.default_jobs()) as pool:
        rows = list(pool.map(one, every))
    caught = [row for row in rows if row["shown_by"]]
    kinds = Counter(row["what"] for row in rows)
    record = {
        "faults": len(rows),
        "caught": len(caught),
        "harmless": sum(bool(row.get("harmless")) for row in rows),
        "by_kind": {
            kind: {
                "faults": count,
                "caught": sum(row["what"] == kind for row in caught),
            }
            for kind, count in sorted(kinds.items())
        },
        "rows": rows,
    }
    print(f"{len(caught)} of {len(rows)} faults are caught")
    if options.only:
        return
    new = options.out.with_name(options.out.name + ".new")
    new.write_text(json.dumps(record, indent=1) + "\n")
    new.replace(options.out)
    gaps = [row for row in rows if not row["shown_by"] and not row["harmless"]]
    if gaps:
        sys.exit(f"error: {len(gaps)} faults survive without a recorded reason")


if __name__ == "__main__":
    main()
