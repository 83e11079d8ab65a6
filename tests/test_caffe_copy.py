"""A copy of a user's tree has what is wanted, and nothing is lost by it."""

import json
import shutil

import pytest

from caffe_tools import origin
from caffe_tools.errors import ToolError


@pytest.fixture
def users(tmp_path):
    """A tree that looks used: built, with history and weights."""
    tree = tmp_path / "users"
    for name in ("src/layer.cpp", "models/net.caffemodel", "build/CMakeCache.txt"):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(name)
    for name in (
        ".git/config",
        "src/build/kept.cpp",
        "data/x_lmdb/data.mdb",
        "include/proto/caffe.pb.h",
        "python/_caffe.so",
    ):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(name)
    return tree


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_copy_leaves_builds_history_and_weights_behind(users, tmp_path):
    before = names(users)
    origin.place_tree(users, tmp_path / "b" / "caffe", print)
    expected = [origin.RECORD, "src/build/kept.cpp", "src/layer.cpp"]
    assert names(tmp_path / "b" / "caffe") == expected
    assert names(users) == before
    assert origin.origin(tmp_path / "b" / "caffe")["tree"] == str(users)


def test_a_copy_follows_the_tree_that_is_asked_for(users, tmp_path):
    said, copy = [], tmp_path / "caffe"
    origin.place_tree(users, copy, said.append)
    (copy / "build").mkdir()
    said.clear()
    origin.place_tree(users, copy, said.append)
    assert said == []
    assert (copy / "build").exists()

    (users / "src/layer.cpp").write_text("changed")
    origin.place_tree(users, copy, said.append)
    assert "a copy of an older state: replacing and rebuilding it" in said[0]
    assert (copy / "src/layer.cpp").read_text() == "changed"
    assert not (copy / "build").exists()

    other = tmp_path / "other"
    shutil.copytree(users, other)
    said.clear()
    origin.place_tree(other, copy, said.append)
    assert "a copy of another tree: replacing and rebuilding it" in said[0]
    assert origin.origin(copy)["tree"] == str(other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["caffe", "other", "users"]


def test_a_copy_of_unknown_origin_is_left_until_it_is_moved_away(users, tmp_path):
    copy = tmp_path / "caffe"
    copy.mkdir()
    (copy / origin.RECORD).write_text("{")
    with pytest.raises(ToolError, match=r"this script did not create .*move it"):
        origin.place_tree(users, copy, print)
    assert (copy / origin.RECORD).read_text() == "{"
    copy.rename(tmp_path / "away")
    origin.place_tree(users, copy, print)
    assert json.loads((copy / origin.RECORD).read_text())["tree"] == str(users)


def test_a_tree_is_not_copied_into_itself(users):
    with pytest.raises(ToolError, match=r"is inside .*RANDROP_BUILD.*--in-place"):
        origin.place_tree(users, users / "build" / "caffe", print)
    assert names(users / "build") == ["CMakeCache.txt"]
