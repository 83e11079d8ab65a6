"""The copy in which a user's tree is built: edits of it, links out of it."""

import os
import shutil
import subprocess
import sys

import forks
import pytest
from conftest import REPOSITORY

from caffe_tools import origin, patching
from caffe_tools.errors import ToolError
from caffe_tools.patching import State

IO = "src/caffe/util/io.cpp"
BLOB = "src/caffe/blob.cpp"


def append(tree, path):
    with (tree / path).open("a") as stream:
        stream.write("// the user's\n")


@pytest.fixture
def copied(bvlc, tmp_path):
    own, copy = tmp_path / "own", tmp_path / "build/caffe"
    leave = shutil.ignore_patterns("docs", "examples", "data", "models", "matlab")
    shutil.copytree(bvlc, own, symlinks=True, ignore=leave)
    origin.place_tree(own, copy, lambda _: None)
    patching.apply(copy)
    return own, copy


def renew(own, copy):
    append(own, "src/caffe/net.cpp")
    origin.place_tree(own, copy, lambda _: None)


def test_a_patch_is_no_edit(copied):
    own, copy = copied
    assert origin.edits(copy, origin.origin(copy)) == []
    renew(own, copy)
    assert patching.check(copy) is State.NOT_PATCHED


@pytest.mark.parametrize("path", [IO, BLOB], ids=["a mended file", "another file"])
@pytest.mark.parametrize("built", [False, True], ids=["", "patched again"])
def test_an_edit_of_the_copy_stays_and_is_not_overwritten(copied, path, built):
    own, copy = copied
    append(copy, path)
    origin.place_tree(own, copy, lambda _: None)
    if built:
        patching.apply(copy)
        assert patching.check(copy) is State.PATCHED
    assert "// the user's" in (copy / path).read_text()
    with pytest.raises(ToolError, match=r"edited in this copy .* would be lost"):
        renew(own, copy)
    assert "// the user's" in (copy / path).read_text()
    # The remedy: the edit goes into the original, and --clean deletes the copy.
    append(own, path)
    shutil.rmtree(copy)
    origin.place_tree(own, copy, lambda _: None)
    patching.apply(copy)
    assert "// the user's" in (copy / path).read_text()


def test_an_error_says_where_to_edit(copied):
    own, copy = copied
    said = origin.where_to_edit(copy, own)
    assert f"edit it in {own}, and run this again" in said
    assert f"Edits in {copy} stay" in origin.where_to_edit(copy, None)
    assert origin.where_to_edit(own, own) == ""


def test_links_that_lead_out_are_copied(bvlc, tmp_path):
    tree = forks.make("links", tmp_path / "caffe", bvlc)
    copy = tmp_path / "far/away/build/caffe"
    origin.place_tree(tree, copy, lambda _: None)
    for path in (IO, "include/caffe/util/io.hpp", "src/caffe/proto/caffe.proto"):
        assert (copy / path).read_bytes() == (tree / path).read_bytes()
        assert (copy / path).resolve().is_relative_to(copy)
    patching.apply(copy)
    patching.revert(copy)


def build(root, *options):
    command = [sys.executable, REPOSITORY / "scripts/build_caffe.py", *options]
    return subprocess.run(
        [*command, "--caffe-root", root],
        env={**os.environ, "RANDROP_BUILD": str(root.parent / "out")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_build_caffe_refuses_impossible_numbers_at_once(bvlc, tmp_path):
    tree = forks.make("bvlc", tmp_path / "caffe", bvlc)
    result = build(tree, "--number", "randrop_loss_param=x")
    assert (result.returncode, "give FIELD=N" in result.stderr) == (2, True)
    result = build(tree, "--number", "theirs=5")
    assert (result.returncode, "our fields are" in result.stderr) == (2, True)
    result = build(tree, "--number", "randrop_loss_param=5", "--unpatched")
    assert (result.returncode, "leaves out" in result.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
