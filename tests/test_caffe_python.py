"""Caffe's own tests of pycaffe, on both engines.

All except test_draw.py, which needs Graphviz and does not use the engines.
"""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("engine", ["ONEDNN", "CAFFE"])
def test_caffes_own_python_tests_pass(caffe, engine):
    from randrop.pycaffe.build import caffe_root

    folder = caffe_root() / "python"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # This project's pytest configuration does not apply to them.
    command += ["-c", os.devnull, "--rootdir", folder, folder / "caffe" / "test"]
    command += ["--ignore", folder / "caffe" / "test" / "test_draw.py"]
    environment = {
        **os.environ,
        "RANDROP_ENGINE": engine,
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and " failed" not in done.stdout
