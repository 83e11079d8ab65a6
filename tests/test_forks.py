"""The generator of Caffe trees as users have them."""

import hashlib
import subprocess
import sys

import forks
import pytest


def state(tree):
    """Return what every path of a tree is."""
    found = {}
    for path in tree.rglob("*"):
        if ".git" in path.relative_to(tree).parts[:1]:
            content = "git"
        elif path.is_symlink():
            content = f"link to {path.readlink()}"
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = "folder"
        found[path.relative_to(tree)] = content, path.lstat().st_mode
    return found


@pytest.fixture(scope="session")
def before(bvlc):
    return state(bvlc)


@pytest.fixture(scope="session")
def copied(bvlc, tmp_path_factory):
    """What a copy has of it, without large files that nobody compiles."""
    return state(forks.make("bvlc", tmp_path_factory.mktemp("copy") / "caffe", bvlc))


@pytest.mark.parametrize("kind", forks.KINDS)
def test_each_kind_is_bvlcs_tree_with_a_difference(
    bvlc, before, copied, tmp_path, kind
):
    tree = forks.make(kind, tmp_path / "caffe", bvlc)
    assert (state(tree) == copied) == (kind == "bvlc")
    assert copied.items() <= before.items()
    assert (tree / "src/caffe/proto/caffe.proto").is_file()
    assert state(bvlc) == before
    with pytest.raises(FileExistsError):
        forks.make(kind, tree, bvlc)


def test_the_old_layout_has_the_large_headers_alone(bvlc, tmp_path):
    tree = forks.make("old-headers", tmp_path / "caffe", bvlc)
    assert not (tree / "include/caffe/layers").exists()
    for name in ("common", "data", "loss", "neuron", "vision"):
        assert (tree / f"include/caffe/{name}_layers.hpp").is_file()
    for path in (p for p in forks.sources(tree) if p.suffix in (".hpp", ".cpp", ".cu")):
        assert b"caffe/layers/" not in path.read_bytes(), path


def test_the_command_names_the_kinds():
    result = subprocess.run(
        [sys.executable, forks.__file__, "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(forks.KINDS)
