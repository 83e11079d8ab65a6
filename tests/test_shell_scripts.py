"""The shell scripts take paths from where the user stands, wherever that is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import slurm_programs
from conftest import REPOSITORY

FOLDER = REPOSITORY / "scripts"
SOURCED = {"from_here.sh", "need_python.sh"}
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.sh") if path.name not in SOURCED)
# A build that tells what it was given, and stops.
STAND_IN = """\
#!/bin/sh
[ "$1" = -c ] && exit 0
echo "in $PWD: $*"
echo "build $RANDROP_BUILD" "tree $CAFFE_ROOT" "cuda $CUDA_HOME"
exit 3
"""


def run(script, *words, here, **variables):
    keep = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    stand_in = here / "bin"
    stand_in.mkdir(exist_ok=True)
    (stand_in / "python3").write_text(STAND_IN)
    (stand_in / "python3").chmod(0o755)
    keep["PATH"] = f"{stand_in}:{keep['PATH']}"
    return subprocess.run(
        ["bash", FOLDER / script, *words],
        env={**keep, **variables},
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh", "sanitize.sh"])
def test_variables_are_taken_from_where_the_user_stands(tmp_path, script):
    relative = {"RANDROP_BUILD": "b b", "CAFFE_ROOT": "../c", "CUDA_HOME": "/d"}
    result = run(script, here=tmp_path, **relative)
    assert result.returncode == 3, result.stderr
    assert f"in {REPOSITORY}: scripts/build_caffe.py" in result.stdout
    said = f"build {tmp_path}/b b tree {tmp_path}/../c cuda /d"
    if script == "sanitize.sh":
        said = f"build {tmp_path}/b b"
    assert said in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh", "sanitize.sh"])
def test_without_variables_the_repository_is_the_place(tmp_path, script):
    result = run(script, here=tmp_path, RANDROP_BUILD="", CDPATH=str(tmp_path))
    assert f"build {REPOSITORY}/build tree" in result.stdout


@pytest.mark.parametrize("form", ["{}", "./{}", "../here/{}", "{here}/{}"])
def test_folders_of_the_quickstart_are_taken_from_there_too(tmp_path, form):
    here = tmp_path / "here"
    for name in ("caffe tree", "photos"):
        (here / name).mkdir(parents=True)
    tree, data = (form.format(n, here=here) for n in ("caffe tree", "photos"))
    result = run("quickstart.sh", "--data", data, "--caffe-root", tree, here=here)
    assert result.returncode == 3, result.stderr
    given = re.search(r"--caffe-root (.*)$", result.stdout, re.MULTILINE)[1].strip()
    assert os.path.realpath(given) == str((here / "caffe tree").resolve())


@pytest.mark.parametrize("option", ["--data", "--caffe-root"])
@pytest.mark.parametrize("folder", ["scripts", "nowhere", "", "file"])
def test_a_folder_that_is_only_in_the_repository_is_refused_first(
    tmp_path, option, folder
):
    (tmp_path / "file").write_text("")
    result = run("quickstart.sh", option, folder, here=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {option} ")
    assert result.stderr.endswith(" is not a folder\n")


def test_a_compiler_is_a_name_or_a_path_from_there(tmp_path):
    (tmp_path / "cc").write_text('#!/bin/sh\necho "it is $0" >&2\nexit 9\n')
    (tmp_path / "cc").chmod(0o755)
    result = run("check_kernels.sh", "--compiler", "./cc", here=tmp_path)
    assert "is not installed" not in result.stderr
    result = run("check_kernels.sh", "--compiler", "./none", here=tmp_path)
    assert f"error: {tmp_path}/./none is not installed" in result.stderr
    result = run("check_kernels.sh", "--compiler", "randrop-none", here=tmp_path)
    assert "error: randrop-none is not installed" in result.stderr


def test_a_tree_that_is_not_built_is_named_with_its_place(tmp_path):
    result = run("check_threads.sh", here=tmp_path, CAFFE_ROOT="tree")
    assert f"error: {tmp_path}/tree is not built" in result.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_of_ours_begins_so(script):
    """The next one, too: no path option can be forgotten by a `cd` of its own."""
    text = (FOLDER / script).read_text()
    commands = [line for line in text.splitlines() if line and line[0] != "#"]
    assert commands[:2] == ["set -euo pipefail", '. "$(dirname -- "$0")/from_here.sh"']
    assert not re.search(r"^cd ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--slurm --sanitize", "--slurm and --sanitize exclude each other"),
        ("--faults --fuzz 3", "--faults and --fuzz exclude each other"),
        ("--slurm --fast", "--slurm replaces the tests"),
        ("--gpu-build --slurm", "--gpu-build and --slurm exclude each other"),
        ("--fast --nightly", "--nightly replaces the tests"),
        ("--thorough --faults", "--faults replaces the tests"),
        ("--fast --thorough", "--fast and --thorough exclude each other"),
        ("--seed 7", "--seed needs --faults, --fuzz or --nightly"),
        ("--slurm --seed 7", "--seed needs --faults, --fuzz or --nightly"),
        ("--nightly --seconds 4", "--seconds needs --faults"),
        ("--compute-sanitizer", "--compute-sanitizer needs --gpu"),
        ("--compute-sanitizer --slurm", "--slurm replaces the tests"),
    ],
)
def test_options_of_the_tests_that_exclude_each_other(tmp_path, words, told):
    result = run("test.sh", *words.split(), here=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {told}")


@pytest.mark.parametrize("words", [[], ["--faults", "--seconds", "4", "--seed", "7"]])
def test_other_options_of_the_tests_begin_with_the_build(tmp_path, words):
    assert run("test.sh", *words, here=tmp_path).returncode == 3


def test_slurm_is_looked_for_before_anything_is_built(tmp_path):
    """By the list of programs that the tests start, and as who may start them."""
    for name in slurm_programs.PROGRAMS:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    program = REPOSITORY / "tests/slurm_programs.py"
    for absent in (None, "squeue", "munged"):
        if absent:
            (tmp_path / absent).unlink()
        result = subprocess.run(
            [sys.executable, program],
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        if os.geteuid() != 0:
            assert "takes root" in result.stderr
        elif absent and not any(
            (Path(folder) / absent).exists() for folder in slurm_programs.SBIN
        ):
            assert f"no {absent}" in result.stderr
            assert slurm_programs.REMEDY in result.stderr
        assert result.returncode == (1 if result.stderr else 0)
    result = run("test.sh", "--slurm", here=tmp_path)
    assert result.returncode == 2
    assert "tests/slurm_programs.py" in result.stdout
    assert "build_caffe.py" not in result.stdout
