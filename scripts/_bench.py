"""What the benchmarks share: each contender is timed in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from randrop.caffe_build import PATIENCE, build_dir
from randrop.errors import UserError

Pass = Callable[[], Any]


def in_a_process(
    script: str, task: dict[str, Any], threads: int, **environment: str
) -> dict[str, float]:
    """Run `script --child TASK`, and return the figures that it prints last.

    Raises
    ------
    UserError
        When it fails; with its last words.
    """
    result = subprocess.run(
        [sys.executable, script, "--child", json.dumps(task)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
            "GLOG_minloglevel": "2",
            **PATIENCE,
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        last = "\n".join(result.stderr.strip().splitlines()[-3:])
        raise UserError(f"{task} failed: {last}")
    return json.loads(result.stdout.splitlines()[-1])


def use_judges() -> None:
    """Let `import` find PyTorch and the others of build/judges."""
    sys.path.append(str(build_dir() / "judges"))


def check_judges(package: str, otherwise: str) -> None:
    """Refuse to go on without a package of build/judges.

    Raises
    ------
    UserError
        Which says what to do, or `otherwise`.
    """
    if not (build_dir() / "judges" / package).exists():
        raise UserError(
            f"there is no {package} in build/judges: run scripts/build_caffe.py "
            f"--judges, or {otherwise}"
        )


def median(figures: list[dict[str, float]], digits: int = 2) -> dict[str, float]:
    """Return the median of each figure over the rounds."""
    return {
        name: round(float(np.median([f[name] for f in figures])), digits)
        for name in figures[0]
    }
