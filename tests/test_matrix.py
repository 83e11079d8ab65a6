"""What tests/matrix.py reads and writes; the builds themselves it makes on its own."""

import json
import re
import subprocess

import debian_root
import forks
import matrix
import matrix_build
import matrix_cells
import pytest
from conftest import REPOSITORY

from figures import builds

ANSWERS = ("passed", "compiles", "patched", "refused", "failed", "not run")


def test_every_cell_is_a_tree_on_a_machine_with_that_compiler():
    assert len({cell.key for cell in matrix_cells.CELLS}) == len(matrix_cells.CELLS)
    for cell in matrix_cells.CELLS:
        assert matrix_cells.parse(cell.key) == cell
        assert cell.tree in forks.KINDS or cell.tree == "pypi"
        compilers = matrix_cells.MACHINES[cell.machine][1]
        assert cell.compiler.replace("clang++", "clang") in compilers


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("bvlc/sid", "give TREE/MACHINE/COMPILER/HOW"),
        ("bvlc/buster/g++/cmake", "buster is none of bullseye, "),
        ("bvlc/sid/g++/bazel", "bazel is none of cmake, "),
        ("caffe2/sid/g++-15/cmake", "caffe2 is none of pypi, bvlc, "),
    ],
)
def test_a_cell_that_is_none_is_named(key, why, capsys):
    with pytest.raises(ValueError, match=re.escape(why)):
        matrix_cells.parse(key)


@pytest.mark.parametrize("how", [how for how in matrix_cells.HOWS if how != "patch"])
def test_every_way_is_a_shell_program(how):
    cell = matrix_cells.Cell("bvlc", "sid", "g++-15", how)
    text = matrix_build.script(cell)
    assert not re.search("@[A-Z]+@", text)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    if how != "compile":
        for name in ("tversky_loss_layer", "top_k_loss_layers"):
            assert name in text


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ("[  PASSED  ] 12 tests.\n", 12),
        ("[  PASSED  ] 3 tests.\n[  PASSED  ] 4 tests.\n", 7),
        ("[  PASSED  ] 12 tests.\n[  FAILED  ] 1 test, listed below:\n", None),
        ("[  PASSED  ] 0 tests.\n", None),
        ("Segmentation fault\n", None),
    ],
    ids=["one program", "several", "one failed", "no test", "none ended"],
)
def test_only_tests_that_ran_and_passed_count(said, count):
    assert matrix_cells.passed(said) == count


def test_a_failure_tells_where_and_the_first_error():
    said = "STEP configure\nSTEP build\na.cpp:1: error: no x\nmake: Error 2\n"
    assert matrix.reason(said, 2) == "build: a.cpp:1: error: no x"
    assert matrix.reason("STEP build\nKilled\n", 137) == "build: exit status 137"


def test_results_are_kept_in_order_and_a_foreign_file_is_not_replaced(tmp_path):
    out = tmp_path / "builds.json"
    cells = {}
    for cell in (matrix_cells.CELLS[1], matrix_cells.CELLS[0]):
        values = dict(zip(matrix.ORDER, cell.key.split("/"), strict=True))
        cells[cell.key] = {**values, "result": "not run", "why": "x"}
        matrix.write(out, cells)
    assert matrix.read(out) == cells
    assert list(matrix.read(out)) == [cell.key for cell in matrix_cells.CELLS[:2]]
    out.write_text('{"cells": []}')
    with pytest.raises(ValueError, match="was not written by tests/matrix"):
        matrix.read(out)


def test_what_is_committed_is_complete_and_shown():
    """Every build of the list was run, or says why not; a new kind of tree may wait."""
    content = json.loads((REPOSITORY / "results" / "builds.json").read_text())
    known = matrix.read(matrix.OUT)
    listed = {cell.key for cell in matrix_cells.CELLS if cell.how != "patch"}
    assert listed <= known.keys()
    assert {cell["tree"] for cell in known.values()} <= {*forks.KINDS, "pypi"}
    for cell in known.values():
        assert cell["result"] in ANSWERS
        assert cell["result"] in ("passed", "compiles", "patched") or cell["why"]
    lines = builds.builds(content).splitlines()
    assert len(lines) - 2 == sum(cell["how"] in builds.WAYS for cell in known.values())
    assert builds.MACHINES.keys() == matrix_cells.MACHINES.keys()


def test_a_machine_that_cannot_be_made_is_a_cell_that_did_not_run(
    monkeypatch, tmp_path, capsys
):
    def make(*arguments):
        raise RuntimeError("debootstrap sid:\nno such suite")

    monkeypatch.setattr(debian_root, "make", make)
    monkeypatch.setattr(debian_root, "why_not", lambda: None)
    out, key = tmp_path / "builds.json", "bvlc/sid/g++-15/cmake"
    words = ["matrix", key, "--out", str(out), "--roots", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    assert matrix.main() == 0
    assert matrix.read(out)[key]["why"] == "no such suite"
    assert "not run no such suite" in capsys.readouterr().out
