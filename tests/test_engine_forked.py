"""Engine tests that run cases in forks of a process that has run no net before.

A fork lacks OpenMP's threads, and its next loop would wait for them.
"""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["engine_models", "engine_resnet"])
def test_those_of(name):
    command = [sys.executable, "-m", "pytest", "-q", str(HERE / f"{name}.py")]
    result = subprocess.run(
        command, cwd=HERE.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-6000:]
