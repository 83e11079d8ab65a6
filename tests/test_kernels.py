"""The vector kernels on other compilers and processors than those of the build."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from randrop.pycaffe.build import build_dir

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_kernels.sh"


def check(*options):
    """Run the script on the tests' build; return what it prints."""
    done = subprocess.run(
        ["bash", SCRIPT, *options],
        env={**os.environ, "RANDROP_BUILD": str(build_dir())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_kernels_hold(caffe):
    said = check("--plain")
    assert "[  PASSED  ]" in said
    assert "No function for one instruction set" in said


@pytest.mark.thorough
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_kernels_hold_with_every_compiler(compiler):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    said = check("--compiler", compiler)
    assert "[  PASSED  ]" in said
    assert "No function for one instruction set" in said


@pytest.mark.thorough
def test_the_kernels_hold_on_arm():
    for program in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    assert "[  PASSED  ]" in check("--arm")


def test_a_compiler_that_is_not_there_is_named():
    done = subprocess.run(
        ["bash", SCRIPT, "--compiler", "no-such-compiler"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no-such-compiler is not installed" in done.stderr
