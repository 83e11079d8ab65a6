#!/usr/bin/env python3
"""Run a gtest program in several processes at once, each with a part of its tests."""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from caffe_tools.toolchain import default_jobs

# Lines of tests that pass.
_QUIET = ("[ RUN ", "[       OK", "[-----", "[WARNING] ", "[=====", "Note: ")
_PASSED = re.compile(r"^\[  PASSED  \] (\d+) tests?\.", re.MULTILINE)
EXAMPLE = "example: tests/gtest_shards.py build/test/test.testbin --filter '*Randrop*'"


def run(
    program: Path, chosen: str, variables: dict[str, str], processes: int | None = None
) -> int:
    """Run the tests, print what failed and how many passed, and return the status.

    Parameters
    ----------
    program : Path
        The test program.
    chosen : str
        gtest's filter.
    variables : dict
        Environment variables beside those of this process.
    processes : int, optional
        How many at once. By default as many as the machine builds with.

    Returns
    -------
    int
        0, or the status of the first process that failed. No test at all is a failure.
    """
    number = processes or default_jobs()
    passed, statuses = 0, []
    with contextlib.ExitStack() as stack:
        # Into files: a pipe that nobody reads would stop its process.
        files = [
            stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
            for _ in range(number)
        ]
        children = [
            subprocess.Popen(
                [str(program), f"--gtest_filter={chosen}"],
                env={
                    **os.environ,
                    **variables,
                    "GTEST_TOTAL_SHARDS": str(number),
                    "GTEST_SHARD_INDEX": str(index),
                },
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            for index, file in enumerate(files)
        ]
        for child, file in zip(children, files, strict=True):
            statuses.append(child.wait())
            file.seek(0)
            text = file.read()
            count = _PASSED.search(text)
            passed += int(count[1]) if count else 0
            if child.returncode:
                lines = text.splitlines()
                print("\n".join(x for x in lines if x and not x.startswith(_QUIET)))
    print(f"{passed} tests passed in {number} process(es)", flush=True)
    failed = next((status for status in statuses if status), 0)
    if not failed and not passed:
        print(f"error: {program} has no test called {chosen}", file=sys.stderr)
        return 1
    return failed


def main() -> int:
    """Run a program."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("program", type=Path)
    parser.add_argument("--filter", default="*", help="gtest's filter; default: all")
    parser.add_argument("--processes", type=int, metavar="N", help="how many at once")
    options = parser.parse_args()
    return run(options.program, options.filter, {}, options.processes)


if __name__ == "__main__":
    status = main()
    # A process that a signal ended has a negative one.
    sys.exit(status if status >= 0 else 128 - status)
