"""The shell scripts take paths from where the user stands, wherever that is."""

import os
import re
import subprocess

import pytest
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
