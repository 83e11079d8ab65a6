"""build_caffe.py touches only its own files in the build folder."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from test_foreign_files import MODULES, holds, occupy

from caffe_tools import building, origin, place, toolchain
from caffe_tools.errors import ToolError
from randrop.pycaffe.build import caffe_root

SCRIPT = REPOSITORY / "scripts/build_caffe.py"


@pytest.mark.parametrize("name", place.NAMES)
def test_somebodys_folder_with_a_name_of_ours_is_refused(tmp_path, name):
    before = occupy(tmp_path, [f"{name}/mine.txt"])
    result = subprocess.run(
        [sys.executable, SCRIPT, "--no-install", "--clean"],
        env={**os.environ, "RANDROP_BUILD": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert f"contains {name}, which this script did not create" in result.stderr
    assert holds(tmp_path, before)


def test_one_build_at_a_time_beside_what_others_have_there(tmp_path):
    before = occupy(tmp_path, ["notes.txt", "run/final.caffemodel"])
    with place.take(tmp_path):
        (tmp_path / "venv").mkdir()
        with pytest.raises(ToolError, match=rf"process {os.getpid()} on .* is build"):
            place.take(tmp_path)
    place.take(tmp_path).close()
    assert holds(tmp_path, before)


def test_a_tree_of_somebody_is_not_replaced(tree, tmp_path):
    target = tmp_path / "build" / "caffe"
    before = occupy(target, ["src/mine.cpp"])
    with pytest.raises(ToolError, match=r"this script did not create .*move it away"):
        origin.place_tree(tree, target, print)
    assert holds(target, before)


def test_a_build_of_somebody_is_not_touched(tree):
    before = occupy(tree / "build", ["CMakeCache.txt"])
    with pytest.raises(
        ToolError, match=r"this script did not create the build in .*move it away"
    ):
        place.check_build(tree)
    assert holds(tree / "build", before)
    (tree / "build").rename(tree / "mine")
    place.take_build(tree)
    place.take_build(tree)


def test_nothing_in_the_current_folder_is_run(tmp_path, monkeypatch):
    """Not by Python's venv and pip, nor by commands that query an interpreter."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text("open(__file__ + '.ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(toolchain, "requirements", lambda *_, **__: ["pip"])
    python = toolchain.make_venv(tmp_path / "venv", sys.executable, lambda _: None)
    toolchain.make_venv(tmp_path / "venv", sys.executable, lambda _: None)
    assert python.exists()
    building.check_registered(caffe_root(), sys.executable)
    assert not sorted(tmp_path.glob("*.ran"))


@pytest.mark.parametrize("left", ["no pip", "half of pip"])
def test_an_environment_whose_making_was_killed_is_finished(
    tmp_path, monkeypatch, left
):
    """Else every later run would say that there is no pip."""
    monkeypatch.setattr(toolchain, "requirements", lambda *_, **__: ["pip"])
    venv = tmp_path / "venv"
    options = ["--without-pip"] if left == "no pip" else []
    subprocess.run([sys.executable, "-m", "venv", *options, venv], check=True)
    if left == "half of pip":
        (pip,) = venv.glob("lib/python3.*/site-packages/pip")
        shutil.rmtree(pip / "_vendor")
    python = toolchain.make_venv(venv, None, lambda _: None)
    subprocess.run([python, "-m", "pip", "--version"], check=True)
    assert (venv / "requirements.sha256").exists()


def test_a_build_that_was_moved_says_so(tmp_path):
    """CMake would report it in its own words, after some seconds."""
    build = tmp_path / "caffe" / "build"
    build.mkdir(parents=True)
    (tmp_path / "caffe" / "src").mkdir()
    cache = build / "CMakeCache.txt"
    cache.write_text("CMAKE_CACHEFILE_DIR:INTERNAL=/elsewhere/caffe/build\n")
    with pytest.raises(ToolError, match=r"then moved or copied.*--clean"):
        building.configure(build.parent, sys.executable, [], tmp_path / "log")
    assert cache.exists()
