"""The doctor gives its report in every environment, and never ends in a traceback."""

import json
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from test_doctor import named

from caffe_tools import folders, toolchain
from checkup import machine, trees
from checkup.finding import NO, OK, UNKNOWN

SCRIPT = REPOSITORY / "scripts" / "doctor.py"
# What an executable file on PATH may be.
PROGRAMS = {
    "says bytes that are no UTF-8": b"#!/bin/sh\nprintf 'caf\\351 \\377\\n'\n",
    "says nothing": b"#!/bin/sh\n",
    "fails without a word": b"#!/bin/sh\nexit 3\n",
    "is killed": b"#!/bin/sh\nkill -9 $$\n",
    "is no program": b"\x7fELF\0",
    "is empty": b"",
    "has an interpreter that is gone": b"#!/nowhere/sh\n",
}


def put(folder, name, content):
    (folder / name).write_bytes(content)
    (folder / name).chmod(0o755)


def run(*words, **options):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
        **options,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_of_any_kind_are_looked_at(tmp_path, program):
    """All that the doctor calls, at once; the next test has one alone."""
    for name in ("c++", "make", "cmake", "protoc", "dpkg-query", "nvcc", "nvidia-smi"):
        put(tmp_path, name, PROGRAMS[program])
    path = f"{tmp_path}:{os.environ['PATH']}"
    where = {"PATH": path, "CUDA_HOME": "", "RANDROP_BUILD": str(tmp_path / "build")}
    result = run("--json", env={**os.environ, **where})
    assert result.stderr == b""
    assert result.returncode == 1
    states = {f["name"]: f["state"] for f in json.loads(result.stdout)["findings"]}
    works = program == "says bytes that are no UTF-8"
    for name in ("c++", "make", "cmake", "protoc"):
        assert states[name] == (OK if works else NO)
    assert states["GPU"] != OK
    assert states["nvcc"] != OK
    # Whatever stands before them, the others are looked at.
    assert {"system", "OpenCV", "disk", "memory", "source", "Caffe"} <= states.keys()


@pytest.mark.parametrize("program", [name for name in PROGRAMS if "bytes" not in name])
def test_a_compiler_that_does_not_work_is_named_with_its_place(
    tmp_path, monkeypatch, program
):
    put(tmp_path, "cmake", PROGRAMS[program])
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    cmake = named(machine.look(tmp_path / "build", False), "cmake")
    assert cmake.state == NO
    assert f"{tmp_path / 'cmake'} does not work" in cmake.words
    # To install the package does not help: this one is still found first.
    assert "PATH" in cmake.words
    assert not cmake.remedy


def surroundings():
    """Return words and variables that are odd, and what is said of them."""
    return {
        "the build folder is a file": ([], {"RANDROP_BUILD": "{0}/file"}, "a file"),
        "or below one": ([], {"RANDROP_BUILD": "{0}/file/a/b"}, "/file, which is a"),
        "or a link to itself": ([], {"RANDROP_BUILD": "{0}/loop"}, "link"),
        "or leads nowhere": ([], {"RANDROP_BUILD": "{0}/gone"}, "does not exist"),
        "or has too long a name": ([], {"RANDROP_BUILD": "{0}/" + 300 * "a"}, "long"),
        "or one of other bytes": ([], {"RANDROP_BUILD": "{0}/\udce9\udcff"}, ""),
        "or none": ([], {"RANDROP_BUILD": ""}, ""),
        "the tree is a link to itself": (["{0}/loop"], {}, "loop"),
        "or of an unknown user": (["~no-such-user/caffe"], {}, "~no-such-user"),
        "or has a name that is too long": (["{0}/" + 300 * "a"], {}, "long"),
        "or has other bytes in it": (["{0}/\udce9\udcff"], {}, "is not a folder"),
        "or is a file": (["{0}/file"], {}, "is not a folder"),
        "there is no home": (["~/caffe"], {"HOME": "/nowhere"}, "/nowhere/caffe"),
        "nor a place for files": ([], {"TMPDIR": "/nowhere"}, ""),
        "nor a program": ([], {"PATH": "/nowhere"}, "is not on PATH"),
        "only ASCII is shown": (
            ["{0}/é"], {"PYTHONIOENCODING": "ascii"}, "is not a folder"
        ),
        "and in the report": (
            [], {"PYTHONIOENCODING": "ascii", "RANDROP_BUILD": "{0}/é"}, "free for"
        ),
        "the toolkit is none": ([], {"CUDA_HOME": "{0}/file"}, "CUDA_HOME"),
    }  # fmt: skip


SURROUNDINGS = surroundings()


@pytest.mark.parametrize("case", SURROUNDINGS)
def test_surroundings_of_any_kind_are_told_in_a_sentence(tmp_path, case):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    words, variables, said = SURROUNDINGS[case]
    given = {"RANDROP_BUILD": "{0}/build", **variables}
    given = {name: value.format(tmp_path) for name, value in given.items()}
    result = run(*(w.format(tmp_path) for w in words), env={**os.environ, **given})
    shown = (result.stdout + result.stderr).decode(errors="replace")
    assert "Traceback" not in shown
    assert said in shown
    # Without a tree there is always a report; of no tree there cannot be one.
    if words:
        assert result.returncode == 2
        assert result.stderr.startswith(b"error: ")
        assert result.stderr.count(b"\n") == 1
    else:
        assert result.returncode in (0, 1)
        assert result.stderr == b""
        assert b"\nMissing: " in result.stdout or b"\nAll that is" in result.stdout


@pytest.mark.parametrize("tree", ["loop", "~no-such-user/caffe", "file"])
@pytest.mark.parametrize("script", ["patch_caffe.py", "build_caffe.py --caffe-root"])
def test_the_tools_say_of_such_a_tree_what_the_doctor_says(tmp_path, script, tree):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    name, *options = script.split()
    command = [sys.executable, SCRIPT.with_name(name), *options, tree]
    both = [
        subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        for words in (command, [sys.executable, SCRIPT, tree])
    ]
    assert [done.returncode for done in both] == [2, 2]
    assert both[0].stderr == both[1].stderr
    assert both[0].stderr.startswith("error: ")
    assert both[0].stderr.count("\n") == 1


def test_an_empty_variable_is_none(monkeypatch):
    """As in the shell scripts, which write ${RANDROP_BUILD:-...}."""
    from randrop.pycaffe.build import build_dir, caffe_root

    for name in ("RANDROP_BUILD", "CAFFE_ROOT"):
        monkeypatch.setenv(name, "")
    assert folders.build_folder() == build_dir() == REPOSITORY / "build"
    assert caffe_root() == REPOSITORY / "build/caffe"


@pytest.mark.parametrize("place", ["file", "file/build", "loop"])
def test_where_no_build_folder_can_be_its_variable_is_the_remedy(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    variables = {"RANDROP_BUILD": str(tmp_path / place)}
    result = run("--json", env={**os.environ, **variables})
    found = json.loads(result.stdout)["findings"]
    (folder,) = [f for f in found if f["group"] == "build"]
    assert (folder["name"], folder["state"]) == ("folder", NO)
    assert folder["remedy"].startswith("export RANDROP_BUILD=")
    assert str(tmp_path) in folder["words"]


def test_a_folder_that_was_deleted_can_be_stood_in(tmp_path):
    (tmp_path / "here").mkdir()
    command = ["rmdir ../here && exec $0 $1", sys.executable, SCRIPT]
    result = subprocess.run(
        ["sh", "-c", *command],
        env={**os.environ, "RANDROP_BUILD": str(tmp_path / "build")},
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in result.stderr
    assert "\nMissing: " in result.stdout


@pytest.mark.parametrize("index", ["http://[::1/", "http://a b/", "http://a:b/", "x:y"])
def test_an_address_that_is_none_does_not_answer(index):
    found = machine._answers("PyPI", index)
    assert found.state == NO
    assert "bundle" in found.words


@pytest.mark.parametrize(
    "file", ["build/CMakeCache.txt", "Makefile.config", "build/lib/libcaffe.so"]
)
def test_files_of_a_tree_may_have_any_bytes(tree, file):
    (tree / file).parent.mkdir(parents=True, exist_ok=True)
    (tree / file).write_bytes(b"# caf\xe9 \xff\0\n")
    assert {f.state for f in trees.look_at(tree)} <= {OK, NO, UNKNOWN}


@pytest.mark.parametrize(
    "file",
    [
        "venv/requirements.sha256",
        "caffe/build/CMakeCache.txt",
        "caffe/.randrop/manifest.json",
        "caffe/build/randrop-built",
    ],
)
def test_files_of_a_build_may_have_any_bytes(tree, file):
    build = tree.parent
    for name in ("venv/bin/python", "caffe/build/tools/caffe"):
        (build / name).parent.mkdir(parents=True)
        (build / name).touch()
    for name in ("venv/requirements.sha256", "caffe/build/randrop-built"):
        (build / name).write_text("")
    (build / file).parent.mkdir(exist_ok=True)
    (build / file).write_bytes(b"caf\xe9 \xff\0\n")
    found = list(trees.look_at_build(build))
    assert NO in {f.state for f in found}
    assert all(f.remedy for f in found if f.state == NO)


def test_what_the_doctor_asks_is_what_the_builder_asks():
    """So that a program's odd words break neither."""
    assert "\ufffd" in toolchain.output_of(["printf", r"\377"])
