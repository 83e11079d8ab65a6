"""The program that runs the tests on a GPU counts right; without a GPU it says so."""

import argparse
import shutil
import subprocess
import sys

import on_gpu
import pytest
from conftest import REPOSITORY

from randrop.pycaffe.build import caffe_root

LOG = """\
[ RUN      ] First.TestA
[       OK ] First.TestA (1 ms)
[ RUN      ] First/0.TestB
[  FAILED  ] First/0.TestB, where TypeParam = float (2 ms)
========= ERROR SUMMARY: 3 errors
========= RACECHECK SUMMARY: 2 hazards displayed (1 errors, 1 warnings)
[  FAILED  ] 1 test, listed below:
[  FAILED  ] First/0.TestB, where TypeParam = float
"""


def options(**changed):
    values = {"filter": "*", "checked": "*", "processes": 2, "seconds": 60.0}
    return argparse.Namespace(**(values | changed))


def program(folder, text):
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_shares_add_up_to_all_tests(caffe):
    tests = caffe_root() / "build" / "test" / "test.testbin"
    if not tests.exists():
        pytest.skip("built without tests")
    chosen = options(filter="RandropPhilox*:*TopKLoss*/0.TestForward*")
    listing = subprocess.run(
        [tests, "--gtest_list_tests", f"--gtest_filter={chosen.filter}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    expected = sum(line.startswith("  ") for line in listing.splitlines())
    done = on_gpu.run_stage("tests", tests, None, chosen)
    assert done["tests"] == expected > 1
    assert (done["failed"], done["statuses"], done["reports"]) == ([], [], 0)


def test_failures_and_reports_are_counted(tmp_path, capsys):
    fails = program(tmp_path, f"cat <<'E'\n{LOG}E\nexit 1")
    done = on_gpu.run_stage("tests", fails, None, options(processes=1))
    assert done["tests"] == 2
    assert done["failed"] == ["First/0.TestB"]
    assert done["statuses"] == ["1"]
    assert done["reports"] == 5
    assert "First/0.TestB" in capsys.readouterr().err


def test_a_program_that_hangs_is_a_failure(tmp_path):
    hangs = program(tmp_path, "exec sleep 30")
    done = on_gpu.run_stage("tests", hangs, None, options(processes=1, seconds=0.2))
    assert done["statuses"] == ["time-out"]


def test_without_a_gpu_the_emulation_is_named(caffe):
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a GPU")
    script = REPOSITORY / "tests" / "on_gpu.py"
    result = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "tests/cuda_on_cpu/run.py" in result.stderr
