"""Nets in forks, and engine tests that run their cases in forks.

Those run in a process that has run no net, so that every case starts alike.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_engine import NO_ENGINE, has_engine

HERE = Path(__file__).parent


@pytest.mark.parametrize("threads", [1, 4])
def test_a_process_that_has_run_nets_may_fork(caffe, threads):
    """OpenMP's threads do not survive a fork, and its next loop would wait for them."""
    if not has_engine():
        pytest.skip(NO_ENGINE)
    variables = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(HERE.parent / "python_layers"),
    }
    result = subprocess.run(
        [sys.executable, HERE / "forking_child.py"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["engine_models", "engine_resnet"])
def test_those_of(name):
    command = [sys.executable, "-m", "pytest", "-q", str(HERE / f"{name}.py")]
    result = subprocess.run(
        command, cwd=HERE.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-6000:]
