"""The Dockerfile has good style, and what it runs and copies is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_elsewhere import REPOSITORY

from bundling import launchers

TEXT = (REPOSITORY / "Dockerfile").read_text()


def test_hadolint_finds_nothing():
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint is not installed: build_caffe.py --venv-only does it")
    result = subprocess.run(
        [program, REPOSITORY / "Dockerfile"], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_what_it_runs_exists_and_understands_its_options():
    runs = re.findall(r"(scripts/\w+\.(?:py|sh))((?: --[\w-]+(?: /\S+)?)*)", TEXT)
    assert {name for name, _ in runs} == {
        *("scripts/need_python.sh", "scripts/build_caffe.py", "scripts/bundle.py")
    }
    for name, options in runs:
        assert (REPOSITORY / name).is_file()
        if options:
            command = [sys.executable, REPOSITORY / name, "--help"]
            shown = subprocess.run(command, capture_output=True, text=True).stdout
            for option in re.findall(r"--[\w-]+", options):
                assert option in shown


def test_its_shell_is_named_where_it_is_used():
    """Buildah's images ignore SHELL: the command would fail under sh."""
    assert "SHELL" not in re.findall(r"^[A-Z]+", TEXT, re.MULTILINE)
    assert len(re.findall(r"^RUN ", TEXT, re.MULTILINE)) == len(
        re.findall(r"^RUN bash -euc '", TEXT, re.MULTILINE)
    )


def test_what_docker_does_not_send_is_not_needed():
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    assert {"build", ".git"} <= set(ignored)
    for needed in ("scripts", "caffe_layers", "caffe_patches", "proto", "models"):
        assert needed not in ignored


def test_any_system_can_be_given():
    """Whole names: only Debian's have one more that ends in -slim."""
    names = re.findall(r"^ARG (\w+)=\S+$", TEXT, re.MULTILINE)
    used = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert used == [f"${{{name}}}" for name in names]
    page = (REPOSITORY / "docs/how-to/bundle.md").read_text()
    for text in (TEXT, page):
        assert set(re.findall(r"--build-arg (\w+)=", text)) == set(names)


def test_any_user_can_be_given():
    """One whom the image does not know has no home of his own."""
    assert "useradd" not in TEXT
    assert re.search(r"^ENV .*\bHOME=/tmp$", TEXT, re.MULTILINE)
    assert re.search(r"^USER \d+:\d+$", TEXT, re.MULTILINE)


def test_its_command_is_one_of_the_bundle():
    (words,) = re.findall(r'^CMD \["([\w-]+)"', TEXT, re.MULTILINE)
    assert words in launchers.COMMANDS
