"""The tree to build: a copy that records which tree it came from."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from caffe_tools.errors import ToolError

RECORD = ".randrop-origin"
# Files that a tree in use gathers and a build does not read: its own builds, history,
# and data and weights, which can be many times the size of Caffe. A caffe.pb.h from its
# Makefile lies among the headers and would hide the one with our parameters.
_BUILDS = ("build", ".build_*", "distribute")
_LEFT_OUT = (
    *("caffe.pb.*", "caffe_pb2.py", "_caffe*.so", "__pycache__"),
    *(".git", "*_lmdb", "*_leveldb", "*.caffemodel", "*.solverstate"),
)


def place_tree(source: Path, tree: Path, say: Callable[[str], None]) -> None:
    """Copy a tree to where it is built, atomically.

    A copy of the same tree in the same state stays. Any other copy is replaced together
    with its build.

    Raises
    ------
    ToolError
        If the copy would lie inside the original, or replace somebody else's tree.
    """
    if tree == source:
        return
    if source in tree.parents:
        raise ToolError(
            f"{tree} is inside {source}, and a folder cannot be copied into itself: "
            "set RANDROP_BUILD to a folder elsewhere, or build that tree with "
            "--in-place"
        )
    record = {"tree": str(source), "state": _state_of(source)}
    before = origin(tree)
    if before == record:
        return
    if tree.exists() and not before:
        raise ToolError(
            f"this script did not create {tree} and will not replace it: move it "
            "away, or build it with --caffe-root and --in-place"
        )
    if tree.exists():
        what = "another tree" if before.get("tree") != str(source) else "an older state"
        say(f"{tree} is a copy of {what}: replacing and rebuilding it")
    say(f"Copying Caffe's source from {source} to {tree}")
    temporary = tree.with_name(tree.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)

    def leave_out(folder: str, names: Iterable[str]) -> set[str]:
        patterns = _LEFT_OUT + (_BUILDS if Path(folder) == source else ())
        return shutil.ignore_patterns(*patterns)(folder, names)

    shutil.copytree(source, temporary, symlinks=True, ignore=leave_out)
    (temporary / RECORD).write_text(json.dumps(record))
    if tree.exists():
        old = tree.with_name(tree.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        tree.rename(old)
        temporary.rename(tree)
        shutil.rmtree(old)
    else:
        temporary.rename(tree)


def origin(tree: Path) -> dict[str, str]:
    """Return what a tree was copied from; empty if that is unknown."""
    try:
        return json.loads((tree / RECORD).read_text())
    except (OSError, ValueError):
        return {}


def _state_of(tree: Path) -> str:
    """Return a digest of names, times and sizes of the files to copy."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(tree):
        patterns = _LEFT_OUT + (_BUILDS if Path(folder) == tree else ())
        left_out = shutil.ignore_patterns(*patterns)(folder, [*folders, *files])
        folders[:] = sorted(set(folders) - left_out)
        for name in sorted(set(files) - left_out):
            stat = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - three times faster
            digest.update(f"{folder}/{name} {stat.st_mtime_ns} {stat.st_size}".encode())
    return digest.hexdigest()
