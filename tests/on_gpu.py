#!/usr/bin/env python3
"""Run Caffe's test program on a GPU, and our layers' tests under compute-sanitizer.

For a build with CUDA (scripts/build_caffe.py --gpu) on a machine with an NVIDIA GPU.
The tests are split over several processes, which share the GPU.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in ("python_layers", "scripts"):
    sys.path.insert(0, str(REPOSITORY / folder))

from caffe_tools import cuda  # noqa: E402
from caffe_tools.errors import ToolError  # noqa: E402
from randrop.benchmarks.gpu import gpu_here  # noqa: E402
from randrop.files import write_json  # noqa: E402
from randrop.pycaffe.build import build_dir  # noqa: E402

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
STAGES = ("tests", *TOOLS)
# Under the tools, death tests restart the program, and finite differences take
# thousands of launches.
CHECKED = "Randrop*/2.*:RandropGpuEqualsCpu*:-*Stop*:*LabelsHaveNo*:*TestGradient*"
FOUND = "========= ERROR SUMMARY: "
RACES = "========= RACECHECK SUMMARY: "


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="what to run")
    add("--filter", metavar="PATTERN", default="*", help="gtest's filter for the tests")
    add(
        "--checked",
        metavar="PATTERN",
        default=CHECKED,
        help="gtest's filter for the tests under compute-sanitizer",
    )
    add("--processes", type=int, default=os.cpu_count() or 1, help="per stage")
    add("--seconds", type=float, help="stop a stage after so long and count it failed")
    add("--out", type=Path, help="write the counts to this JSON file")
    return parser.parse_args()


def run_shard(
    command: list[str], index: int, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Run one share of the tests and count.

    Returns
    -------
    dict
        `tests`, `failed` (names), `status` of the program or "time-out", and `reports`:
        how many errors or hazards a tool reported.
    """
    result = folder / f"{index}.json"
    log = folder / f"{index}.log"
    variables = {
        **os.environ,
        "GLOG_minloglevel": "2",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "GTEST_TOTAL_SHARDS": str(options.processes),
        "GTEST_SHARD_INDEX": str(index),
        "GTEST_OUTPUT": f"json:{result}",
    }
    with log.open("w") as output:
        try:
            status: int | str = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                cwd=build_dir() / "caffe",
                timeout=options.seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = "time-out"
    text = log.read_text(errors="replace")
    failed = sorted(
        {
            line.split()[3].rstrip(",")
            for line in text.splitlines()
            if line.startswith("[  FAILED  ] ") and "." in line.split()[3]
        }
    )
    reports = [
        int(line.split(":")[1].split()[0])
        for line in text.splitlines()
        if line.startswith((FOUND, RACES))
    ]
    return {
        "tests": text.count("\n[       OK ]") + len(failed),
        "failed": failed,
        "status": status,
        "reports": sum(reports),
        "last": [] if status == 0 else text.splitlines()[-40:],
    }


def run_stage(
    stage: str, program: Path, sanitizer: Path | None, options: argparse.Namespace
) -> dict[str, Any]:
    """Run one stage in several processes and add up."""
    pattern = options.filter if stage == "tests" else options.checked
    command = [str(program), f"--gtest_filter={pattern}"]
    if stage != "tests":
        command = [str(sanitizer), "--tool", stage, "--error-exitcode", "9", *command]
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(options.processes) as pool,
    ):
        shards = list(
            pool.map(
                lambda index: run_shard(command, index, options, Path(folder)),
                range(options.processes),
            )
        )
    bad = [shard for shard in shards if shard["status"] != 0]
    for shard in bad:
        print("\n".join(shard["last"]), file=sys.stderr)
    return {
        "tests": sum(shard["tests"] for shard in shards),
        "failed": sorted(name for shard in shards for name in shard["failed"]),
        "statuses": sorted({str(shard["status"]) for shard in bad}),
        "reports": sum(shard["reports"] for shard in shards),
        "seconds": round(time.monotonic() - start, 1),
    }


def main() -> None:
    """Run the stages, print a line for each, and exit with 1 if one found something."""
    options = arguments()
    program = build_dir() / "caffe" / "build" / "test" / "test.testbin"
    if not program.exists():
        sys.exit(f"error: no {program}; run python3 scripts/build_caffe.py --gpu")
    try:
        content: dict[str, Any] = gpu_here()
        if not content:
            raise ToolError(
                "nvidia-smi finds no GPU here: run this where there is one, or the "
                "same tests in emulation with tests/cuda_on_cpu/run.py"
            )
        sanitizer = None
        if set(options.stages) & set(TOOLS):
            python = build_dir() / "venv" / "bin" / "python"
            sanitizer = cuda.compute_sanitizer(build_dir() / "cuda", python, print)
    except ToolError as error:
        sys.exit(f"error: {error}")
    content["stages"] = {}
    bad = False
    for stage in options.stages:
        done = run_stage(stage, program, sanitizer, options)
        content["stages"][stage] = done
        wrong = bool(done["failed"] or done["statuses"] or done["reports"])
        bad |= wrong or not done["tests"]
        print(
            f"{stage:10} {done['tests']:5d} tests, {len(done['failed'])} failed, "
            f"{done['reports']} reports, {done['seconds']:.0f} s"
            + (f", status {', '.join(done['statuses'])}" if done["statuses"] else ""),
            flush=True,
        )
        if options.out:
            write_json(options.out, content)
    sys.exit(bad)


if __name__ == "__main__":
    main()
