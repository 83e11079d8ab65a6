#!/usr/bin/env python3
"""Run our layers' tests on a GPU under NVIDIA's compute-sanitizer.

For a build with CUDA (scripts/build_caffe.py --gpu) on a machine with a GPU. Nobody has
run this on one yet.
"""

import argparse
import os
import subprocess
import sys

import run

from caffe_tools import cuda
from caffe_tools.errors import ToolError

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
# Death tests restart the program; finite differences take thousands of launches.
FILTER = "Randrop*/2.*:RandropGpuEqualsCpu*:-*Stop*:*LabelsHaveNo*:*TestGradient*"


def main() -> None:
    """Run each tool; stop at the first that finds something."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    add("--filter", metavar="PATTERN", default=FILTER, help="gtest's filter")
    options = parser.parse_args()
    root = run.build_root()
    program = root / "caffe" / "build" / "test" / "test.testbin"
    if not program.exists():
        sys.exit(f"error: no {program}; run python3 scripts/build_caffe.py --gpu")
    try:
        sanitizer = cuda.compute_sanitizer(
            root / "cuda", root / "venv" / "bin" / "python", print
        )
    except ToolError as error:
        sys.exit(f"error: {error}")
    for tool in options.tools:
        print(f"compute-sanitizer --tool {tool}", flush=True)
        done = subprocess.run(
            [
                *(str(sanitizer), "--tool", tool, "--error-exitcode", "9"),
                *(str(program), f"--gtest_filter={options.filter}"),
            ],
            env={**os.environ, "GLOG_minloglevel": "2"},
            cwd=root / "caffe",
            check=False,
        )
        if done.returncode:
            sys.exit(f"error: {tool} or the tests failed (status {done.returncode})")


if __name__ == "__main__":
    main()
