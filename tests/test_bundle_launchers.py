"""The programs of a bundle find its parts, and say what a machine lacks for them."""

import os
import subprocess
from types import SimpleNamespace

import bundle_elsewhere
import pytest

from bundling import contents, launchers


@pytest.fixture
def launcher(tmp_path):
    """A bundle with a Python that prints its arguments, and a way to run it."""
    top = tmp_path / "a folder" / "bundle"
    launchers.write(
        top,
        version="1",
        machine="Linux-x86_64",
        glibc="2.36",
        flags=["sse4_2"],
        python="python3.11",
    )
    program = top / "python/bin/python3.11"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$CAFFE_ROOT|$PYTHONHOME|$@"\n')
    program.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()

    def run(path="bin/train", **answers):
        for name, text in {"uname": "echo x86_64", **answers}.items():
            (tools / name).write_text(f"#!/bin/sh\n{text}\n")
            (tools / name).chmod(0o755)
        variables = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONHOME": "/other"}
        return subprocess.run(
            [made.top / path, "a b"], capture_output=True, text=True, env=variables
        )

    made = SimpleNamespace(run=run, top=top)
    return made


LINUX = "case $1 in -s) echo Linux ;; *) echo x86_64 ;; esac"
GLIBC = {"uname": LINUX, "getconf": "echo glibc 2.36"}


def test_a_launcher_runs_its_script_from_where_it_lies(launcher):
    result = launcher.run(**GLIBC)
    script = launcher.top / "randrop/scripts/train.py"
    assert result.stdout == f"{launcher.top}/caffe||{script} a b\n", result.stderr


def test_a_link_to_a_launcher_runs_it(launcher, tmp_path):
    (launcher.top / "linked").symlink_to(launcher.top / "bin/train")
    assert "scripts/train.py a b" in launcher.run("linked", **GLIBC).stdout


@pytest.mark.parametrize("path", ["bin/train", "bin/caffe", "caffe/build/tools/caffe"])
def test_a_folder_that_python_cannot_be_told_is_refused(launcher, path, tmp_path):
    launcher.top.rename(tmp_path / "a:b")
    launcher.top = tmp_path / "a:b"
    result = launcher.run(path, **GLIBC)
    assert (result.returncode, result.stdout) == (2, "")
    assert "move the bundle to a path without colons" in result.stderr
    launcher.top = launcher.top.rename(tmp_path / "moved")
    assert launcher.run("bin/train", **GLIBC).returncode == 0


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"getconf": "echo glibc 2.4"}, "needs the GNU C library 2.36 or newer"),
        ({"getconf": "echo glibc 2.35"}, "this system has 2.35"),
        ({"getconf": "exit 1"}, "has another C library"),
        ({"uname": "echo other"}, "for Linux-x86_64, but this machine is other-other"),
        ({"grep": "exit 1"}, "processor with sse4_2"),
    ],
)
def test_a_machine_that_cannot_run_it_is_told_why(launcher, answers, words):
    result = launcher.run(**{**GLIBC, **answers})
    assert result.returncode == 2
    assert result.stderr.startswith("error: this bundle ")
    assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("version", ["2.36", "2.37", "2.100", "3.0"])
def test_a_newer_c_library_will_do(launcher, version):
    result = launcher.run(**{**GLIBC, "getconf": f"echo glibc {version}"})
    assert result.returncode == 0, result.stderr


def test_every_command_is_a_script():
    scripts = bundle_elsewhere.REPOSITORY / "scripts"
    for name in launchers.COMMANDS:
        assert (scripts / f"{name.replace('-', '_')}.py").is_file()
        assert f"{name.replace('-', '_')}.py" not in contents._NOT_SCRIPTS
