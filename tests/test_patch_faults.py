"""A few seeds of tests/patch_faults.py; run that for more."""

import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY


@pytest.mark.slow
def test_a_killed_patch_can_always_be_told_completed_and_undone(bvlc):
    # 4 edits a file after a kill halfway; 24 kills versions with other files.
    command = [sys.executable, REPOSITORY / "tests/patch_faults.py"]
    for seed in (4, 24):
        result = subprocess.run(
            [*command, "--seed", str(seed), "--count", "3"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert re.search(r"3 cases: 3 kill; 0 faults", result.stdout)
