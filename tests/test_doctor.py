"""The doctor says what is there, and each of its remedies works."""

import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import forks
import patched_tree
import pytest
from conftest import REPOSITORY

from caffe_tools import parameters, toolchain
from caffe_tools.planning import registered_types
from checkup import machine, trees
from checkup.finding import NO, OK, UNKNOWN

SCRIPT = REPOSITORY / "scripts" / "doctor.py"


def run(*words, **variables):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )


def follow(finding):
    """Type the remedy, in the repository, as it stands."""
    assert finding.remedy, finding
    result = subprocess.run(
        finding.remedy, shell=True, cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def named(findings, name):
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def of_tree(tree, name):
    return named(trees.look_at(tree), name)


def test_the_exit_status_is_that_of_what_is_needed(tmp_path):
    result = run("--json", RANDROP_BUILD=str(tmp_path / "nothing"))
    content = json.loads(result.stdout)
    assert not content["usable"]
    assert result.returncode == 1, result.stderr
    states = {f["name"]: f["state"] for f in content["findings"]}
    assert states["Caffe"] == states["Python packages"] == "no"
    assert set(states.values()) <= {OK, NO, UNKNOWN}
    for finding in content["findings"]:
        assert finding["words"]
        assert finding["state"] == NO or not finding["remedy"]
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_is_no_caffe_is_an_error(tmp_path):
    result = run(tmp_path)
    assert result.returncode == 2
    assert "is not a Caffe tree" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_lines_name_the_remedy(tree):
    result = run(tree)
    assert result.returncode == 1
    assert re.search(r"^no +patched +not yet\n +-> python3 scripts/patch_caffe\.py ",
                     result.stdout, re.MULTILINE)  # fmt: skip
    assert "Missing: " in result.stdout
    assert "patched" in result.stdout.splitlines()[-1]


def test_a_tree_is_told_to_be_patched_and_then_is(tree):
    before = patched_tree.hashes(tree)
    assert of_tree(tree, "fits").state == OK
    not_yet = of_tree(tree, "patched")
    assert not_yet.state == NO
    assert patched_tree.hashes(tree) == before
    follow(not_yet)
    assert of_tree(tree, "patched").state == OK
    assert of_tree(tree, "engine").state == OK


def test_the_mends_are_named(tree):
    words = of_tree(tree, "mends").words
    assert "numpy-2" in words
    assert "cpu-engine" not in words
    assert not re.search(r"apply: .*[A-Z ]{2}", words)


def test_a_half_patched_tree_is_completed(tree):
    patched_tree.tool(tree)
    (tree / "include/caffe/layers/pixel_loss_layer.hpp").unlink()
    partly = of_tree(tree, "patched")
    assert partly.state == NO
    assert "partly" in partly.words


def test_a_taken_number_comes_with_a_free_one(tree):
    number = parameters.our_fields()[0].number
    patched_tree.add_field(tree, f"optional TileParameter tile_param = {number};")
    taken = of_tree(tree, "fits")
    assert taken.state == NO
    assert "--number" in taken.remedy
    follow(taken)
    assert of_tree(tree, "patched").state == OK


@pytest.mark.parametrize(
    ("kind", "state", "word"),
    [
        ("nvidia-template", NO, "Layer<Ftype, Btype>"),
        ("opencl-template", NO, "Layer<Dtype, "),
        ("old-headers", OK, "files"),
    ],
)
def test_whether_our_layers_compile_in_a_tree_is_told(
    kind, state, word, bvlc, tmp_path
):
    tree = forks.make(kind, tmp_path / "tree", bvlc)
    fits = of_tree(tree, "fits")
    assert fits.state == state
    assert word in fits.words


def test_a_file_that_differs_leaves_the_engine_out_with_a_word(tree):
    (tree / "src/caffe/syncedmem.cpp").write_text("// other\n")
    engine = of_tree(tree, "engine")
    assert engine.state == NO
    assert "syncedmem.cpp" in engine.words
    assert not engine.needed


@pytest.mark.parametrize("line", ["# WITH_PYTHON_LAYER := 1", ""])
def test_python_layers_are_switched_on_for_make(tree, line):
    assert of_tree(tree, "Python layers").state == UNKNOWN
    (tree / "Makefile.config").write_text(f"CPU_ONLY := 1\n{line}\n")
    off = of_tree(tree, "Python layers")
    assert off.state == NO
    follow(off)
    assert of_tree(tree, "Python layers").state == OK


@pytest.mark.skipif(not shutil.which("cmake"), reason="there is no cmake")
def test_python_layers_are_switched_on_for_cmake(tree):
    (tree / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.10)\nproject(a NONE)\n"
        'option(BUILD_python_layer "" OFF)\n'
    )
    (tree / "build").mkdir()
    subprocess.run(["cmake", ".."], cwd=tree / "build", check=True, capture_output=True)
    off = of_tree(tree, "Python layers")
    assert off.state == NO
    follow(off)
    assert of_tree(tree, "Python layers").state == OK


def test_a_library_without_our_layers_is_to_be_rebuilt(tree):
    assert of_tree(tree, "built").state == UNKNOWN
    library = tree / ".build_release/lib/libcaffe.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"SigmoidCrossEntropyLoss")
    (tree / "Makefile").write_text("all pycaffe:\n\ttouch $@\n")
    old = of_tree(tree, "built")
    assert old.state == NO
    assert "SigmoidRandomDropCELoss" in old.words
    follow(old)
    library.write_bytes("\0".join(registered_types()).encode())
    assert of_tree(tree, "built").state == OK


def test_missing_packages_are_named_in_one_command(monkeypatch):
    if not shutil.which("dpkg-query"):
        pytest.skip("not a Debian system")
    monkeypatch.setattr(toolchain, "PACKAGES", ("dpkg", "randrop-none", "none-too"))
    (found,) = machine._packages()
    assert found.state == NO
    assert found.remedy.endswith(" randrop-none none-too")
    assert found.remedy.count("apt-get") == 2
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (found,) = machine._packages()
    assert found.remedy.count("sudo apt-get") == 2
    monkeypatch.setattr(toolchain, "PACKAGES", ("dpkg",))
    (found,) = machine._packages()
    assert found.state == OK


def test_a_missing_program_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {finding.name: finding for finding in machine._compilers()}
    assert {finding.state for finding in found.values()} == {NO}
    assert found["protoc"].remedy.endswith("protobuf-compiler")
    assert next(machine._openmp()).state == UNKNOWN


def test_a_compiler_without_openmp_is_told(monkeypatch, tmp_path):
    (tmp_path / "c++").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "c++").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (found,) = machine._openmp()
    assert (found.state, found.needed) == (NO, False)


def test_a_full_disk_and_little_memory_are_told(monkeypatch, tmp_path):
    usage = SimpleNamespace(free=1e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(machine, "_available_memory", lambda: 10**9)
    (disk,), (memory,) = machine._disk(tmp_path / "not/yet"), machine._memory()
    assert disk.state == memory.state == NO
    assert "RANDROP_BUILD" in disk.remedy
    assert disk.needed
    assert not memory.needed
    usage.free = 1e11
    assert next(machine._disk(tmp_path)).state == OK


def test_an_unreachable_archive_is_told_in_seconds():
    # Nothing listens on port 9 here.
    found = machine._answers("PyPI", "http://127.0.0.1:9/simple/")
    assert (found.state, found.needed) == (NO, False)
    assert "bundle" in found.words


def test_without_network_nothing_is_asked(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    assert named(machine.look(tmp_path, False), "network").state == UNKNOWN


def test_a_build_folder_of_somebody_else_is_told(tmp_path):
    (tmp_path / "caffe").mkdir()
    (found,) = trees.look_at_build(tmp_path)
    assert found.state == NO
    assert "RANDROP_BUILD" in found.remedy


@pytest.mark.parametrize(
    ("version", "state"),
    [("debian 12", OK), ("debian 11", UNKNOWN), ("ubuntu 22.04", OK),
     ("ubuntu 20.04", UNKNOWN), ("fedora 44", UNKNOWN)],
)  # fmt: skip
def test_the_systems_that_are_tested_are_known(version, state, monkeypatch):
    name, _, number = version.partition(" ")
    about = {"ID": name, "VERSION_ID": number, "PRETTY_NAME": version}
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: about)
    assert next(machine._system()).state == state


def test_the_build_of_the_tests_is_found(caffe):
    from randrop.pycaffe.build import build_dir

    if not (build_dir() / "caffe/build/randrop-built").exists():
        pytest.skip("this build is not of build_caffe.py, or not finished")
    found = named(trees.look_at_build(build_dir()), "Caffe")
    # Other sources than those of the build make it another version, and no more.
    assert found.state == OK or "another version" in found.words
