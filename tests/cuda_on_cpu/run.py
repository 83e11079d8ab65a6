#!/usr/bin/env python3
"""Run the layers' tests on CUDA that is emulated on the CPU.

Every Forward_gpu and Backward_gpu, and every kernel they start, runs unchanged: see
include/cuda_on_cpu.hpp for what is checked and what is not modelled.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(REPOSITORY / "scripts"), str(HERE.parent)]

import gtest_shards  # noqa: E402

from caffe_tools.toolchain import default_jobs  # noqa: E402

EPILOG = """\
It needs Caffe with its tests from scripts/build_caffe.py. Missing parts are built first
(two minutes on two cores).

examples:
  python3 tests/cuda_on_cpu/run.py
  python3 tests/cuda_on_cpu/run.py --seed 7 --filter 'RandropTopKLossLayersTest/2.*'
  python3 tests/cuda_on_cpu/run.py --whole --seeds 20
  python3 tests/cuda_on_cpu/run.py --sanitize
"""
# The GPU variants of the tests, float and double, and the emulation's own tests.
# Finite-difference gradients take thousands of launches, so only --whole runs them: the
# CPU's gradients are checked that way, and the GPU's are compared with those.
FILTER = "*/2.*:*/3.*:RandropGpuEqualsCpu*:CudaOnCpu*:GpuLoops*"
SLOW = "RandropPixelLoss*/2.TestGradient:*/3.TestGradient*:*/3.TestManyPixels"
# In sanitized builds the emulation's own checks are off, and 16 GiB fail at once.
UNSANITIZED = "CudaOnCpu*:GpuLoopsTest.TestTooManySegmentsAreOutOfMemory"


def build_root() -> Path:
    """Return the folder for all builds."""
    return Path(os.environ.get("RANDROP_BUILD", REPOSITORY / "build")).resolve()


def build(variant: str = "", jobs: int | None = None) -> Path:
    """Build the test program.

    Parameters
    ----------
    variant : str
        "sanitize" or "mutants"; "" for the plain one.
    jobs : int, optional
        Concurrent compilers.

    Returns
    -------
    Path
        The program.
    """
    root = build_root()
    caffe = Path(os.environ.get("CAFFE_ROOT", root / "caffe")).resolve()
    if not (caffe / "build" / "lib" / "libgtest.a").exists():
        sys.exit(
            f"error: {caffe} is not built with its tests; run "
            "python3 scripts/build_caffe.py"
        )
    folder = root / "-".join(["cuda_on_cpu", *([variant] if variant else [])])
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    print(f"Building the tests over CUDA on the CPU (log: {log})", flush=True)
    commands = (
        [
            *("cmake", "-S", str(HERE), "-B", str(folder), "-G", "Unix Makefiles"),
            f"-DCAFFE_ROOT={caffe}",
            f"-DPYTHON={sys.executable}",
            *(
                f"-D{name.upper()}={'ON' if name == variant else 'OFF'}"
                for name in ("sanitize", "mutants")
            ),
        ],
        ["make", "-C", str(folder), f"-j{jobs or default_jobs()}"],
    )
    with log.open("w") as stream:
        for command in commands:
            done = subprocess.run(command, stdout=stream, stderr=stream, check=False)
            if done.returncode:
                lines = log.read_text(errors="replace").splitlines()
                wrong = [x for x in lines if "rror" in x or "undefined" in x]
                shown = "\n  ".join((wrong or lines)[:8])
                sys.exit(f"error: the build failed:\n  {shown}\nFull log: {log}")
    return folder / "test_cuda_on_cpu"


def run(program: Path, chosen: str, seed: int, jobs: int | None = None) -> int:
    """Run the tests with one seed; return the exit status."""
    variables = {
        "CUDA_ON_CPU_SEED": str(seed),
        # The fibers have their own stacks.
        "ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=0",
        "GLOG_minloglevel": "2",
    }
    return gtest_shards.run(program, chosen, variables, jobs)


def main() -> None:
    """Build and run."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--seed",
        type=int,
        default=1,
        help="first seed for the order of threads and blocks",
    )
    add("--seeds", type=int, default=1, metavar="N", help="number of seeds")
    add("--whole", action="store_true", help="also run the long tests")
    add("--filter", metavar="PATTERN", help="gtest's filter; default: all on the GPU")
    add(
        "--sanitize",
        action="store_true",
        help="use AddressSanitizer and UBSan instead of the emulation's own checks",
    )
    add("--jobs", type=int, metavar="N", help="processes at once")
    options = parser.parse_args()
    program = build("sanitize" if options.sanitize else "", options.jobs)
    left_out = [] if options.whole else [SLOW]
    left_out += [UNSANITIZED] if options.sanitize else []
    chosen = options.filter or f"{FILTER}:-{':'.join(left_out)}"
    for seed in range(options.seed, options.seed + options.seeds):
        print(f"Running them with seed {seed}", flush=True)
        status = run(program, chosen, seed, options.jobs)
        if status:
            sys.exit(f"error: the tests failed with seed {seed} (status {status})")


if __name__ == "__main__":
    main()
