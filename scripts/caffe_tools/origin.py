"""The tree to build: a copy that records which tree it came from."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from caffe_tools.errors import ToolError
from caffe_tools.record import digest, read_manifest

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
    with its build, unless somebody edited it. What links out of the original is copied.

    Raises
    ------
    ToolError
        If the copy would lie inside the original, or replace somebody else's tree or
        edits.
    """
    if is_copy(source, tree):
        return
    record: dict = {"tree": str(source), "state": _state_of(source)}
    if tree.exists():
        same = origin(tree).get("tree") == str(source)
        what = "an older state" if same else "another tree"
        say(f"{tree} is a copy of {what}: replacing and rebuilding it")
    say(f"Copying Caffe's source from {source} to {tree}")
    temporary = tree.with_name(tree.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)

    def leave_out(folder: str, names: Iterable[str]) -> set[str]:
        patterns = _LEFT_OUT + (_BUILDS if Path(folder) == source else ())
        # A pipe or a socket cannot be copied.
        special = {
            name
            for name in names
            if not (path := Path(folder, name)).is_symlink()
            and not (path.is_file() or path.is_dir())
        }
        return shutil.ignore_patterns(*patterns)(folder, names) | special

    shutil.copytree(source, temporary, symlinks=True, ignore=leave_out)
    _follow_links_out(source, temporary)
    record["files"] = _digests(temporary)
    (temporary / RECORD).write_text(json.dumps(record))
    if tree.exists():
        old = tree.with_name(tree.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        tree.rename(old)
        temporary.rename(tree)
        shutil.rmtree(old)
    else:
        temporary.rename(tree)


def is_copy(source: Path, tree: Path) -> bool:
    """Return whether a tree is the source, or a copy of it in the same state.

    Raises
    ------
    ToolError
        If it is not, and nothing may be copied there; see `place_tree`.
    """
    if tree == source:
        return True
    check_apart(source, tree)
    before = origin(tree)
    record = {"tree": str(source), "state": _state_of(source)}
    if {key: before.get(key) for key in record} == record:
        return True
    if tree.exists() and not before:
        raise ToolError(
            f"this script did not create {tree} and will not replace it: move it "
            "away, or build it with --caffe-root and --in-place"
        )
    if tree.exists():
        _refuse_edits(tree, source, before)
    return False


def check_apart(source: Path, tree: Path) -> None:
    """Refuse to copy a tree into itself.

    Raises
    ------
    ToolError
        If the copy would lie inside the original.
    """
    if source in tree.parents:
        raise ToolError(
            f"{tree} is inside {source}, and a folder cannot be copied into itself: "
            "set RANDROP_BUILD to a folder elsewhere, or build that tree with "
            "--in-place"
        )


def origin(tree: Path) -> dict:
    """Return what a tree was copied from; empty if that is unknown."""
    try:
        return json.loads((tree / RECORD).read_text())
    except (OSError, ValueError):
        return {}


def where_to_edit(tree: Path, own: Path | None) -> str:
    """Return a sentence for errors of a build: where their files are to be edited.

    Parameters
    ----------
    tree : Path
        The tree that is built.
    own : Path, optional
        The user's tree of which it is a copy.
    """
    if own == tree or not origin(tree):
        return ""
    if own is None:
        return f"\nEdits in {tree} stay: mend a file there, and run this again"
    return (
        f"\n{tree} is a copy of {own}. To mend a file, edit it in {own}, and run this "
        "again: the copy is then made anew. An edit in the copy also stays, as long as "
        "you change nothing in the original"
    )


def edits(tree: Path, record: dict) -> list[str]:
    """Return the files of a copy that somebody edited, apart from our patch."""
    patched = read_manifest(tree).get("files", {})
    found = []
    for path, copied in record.get("files", {}).items():
        file = tree / path
        now = digest(file.read_bytes()) if file.is_file() else None
        entry = patched.get(path)
        if entry and now in (entry["after"], *entry.get("was", ())):
            now = entry["before"]
        if now not in (copied, None):
            found.append(path)
    return found


def _refuse_edits(tree: Path, source: Path, record: dict) -> None:
    edited = edits(tree, record)
    if edited:
        names = ", ".join(str(tree / path) for path in edited[:5])
        more = f" and {len(edited) - 5} more" if len(edited) > 5 else ""
        raise ToolError(
            f"{names}{more}: edited in this copy of {record.get('tree')}, and would be "
            f"lost, because {source} is to be copied here now. Make the same edits in "
            f"{source}, and run this again with --clean, which deletes the copy"
        )


def _digests(tree: Path) -> dict[str, str | None]:
    return {
        path.relative_to(tree).as_posix(): digest(path.read_bytes())
        for path in sorted(tree.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _follow_links_out(source: Path, copy: Path) -> None:
    """Put copies in the place of links that lead out of the original tree."""
    for link in [path for path in copy.rglob("*") if path.is_symlink()]:
        original = source / link.relative_to(copy)
        if not original.exists():
            continue
        target = original.resolve()
        if target.is_relative_to(source):
            inside = copy / target.relative_to(source)
            new = os.path.relpath(inside, link.parent)
            link.unlink()
            link.symlink_to(new)
        elif target.is_dir():
            link.unlink()
            shutil.copytree(target, link)
        elif target.is_file():
            link.unlink()
            shutil.copy2(target, link)


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
