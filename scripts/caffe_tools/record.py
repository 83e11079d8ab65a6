"""The record of a patched tree: `.randrop` in it.

manifest.json   the state, the chosen numbers, and for each file the hashes of what it
                was (`before`) and is (`after`), of other contents that this tool knows
                (`was`, while it writes), and the target of a link (`link`)
originals/      what Caffe's own files were
patched/        what the patch made of them, by which later edits are recognised

A manifest is replaced whole, and names a content before a file gets it: after a kill
at any moment, every file of the tree is known.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from caffe_tools.errors import ToolError

STATE = ".randrop"
TEMPORARY = ".randrop-new"
_REMOVED = ".randrop-removed"
PATIENCE = 10.0
"""For how many seconds to wait for another run: patching takes some."""


def digest(content: bytes | None) -> str | None:
    """Return the hash of a content; None for a file that is not there."""
    return None if content is None else hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep other runs of this tool out of a tree; the system forgets it with us.

    Raises
    ------
    ToolError
        If another run is at work in the tree, and goes on for `PATIENCE`.
    """
    folder = os.open(root, os.O_RDONLY)
    try:
        _lock(folder, fcntl.LOCK_EX, root)
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def still(root: Path) -> Iterator[None]:
    """Keep runs that write out of a tree that is read; others may read it, too.

    Raises
    ------
    ToolError
        As `alone` does.
    """
    try:
        folder = os.open(root, os.O_RDONLY)
    except OSError:
        # Of a folder that cannot be listed, what is in it may be read all the same.
        yield
        return
    try:
        _lock(folder, fcntl.LOCK_SH, root)
        yield
    finally:
        os.close(folder)


def _lock(folder: int, kind: int, root: Path) -> None:
    """Lock an open folder, as soon as others let go of it."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(folder, kind | fcntl.LOCK_NB)
        except OSError as error:
            # Some network disks have no locks for folders: go on without.
            if error.errno != errno.EWOULDBLOCK:
                return
            if time.monotonic() >= end:
                raise ToolError(
                    f"another run of this tool is at work in {root}. Nothing was "
                    "written. Wait until it has ended, and run this again"
                ) from error
            time.sleep(0.05)
        else:
            return


def read_manifest(root: Path) -> dict:
    """Return the manifest of a patched tree; empty if it is not patched.

    Raises
    ------
    ToolError
        If it is damaged.
    """
    state = root / STATE
    if os.path.lexists(state) and not state.is_dir():
        raise ToolError(
            f"{state} is no folder, and the record of the patch belongs there. Nothing "
            f"was written. Move it away, and run this again: 'mv {state} {state}-away'"
        )
    path = state / "manifest.json"
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text())
        manifest["state"], manifest["files"].items(), manifest["numbers"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(
            f"{path} is damaged ({error}). Move the folder {root / STATE} away, and "
            "run this again: it then finds out what of the tree is ours"
        ) from error
    return manifest


def original(root: Path, path: str, entry: dict) -> bytes | None:
    """Return what a file was before the patch, by its entry in the manifest.

    Raises
    ------
    ToolError
        If the record has lost it.
    """
    if entry["before"] is None:
        return None
    file = root / STATE / "originals" / entry.get("original", path)
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise ToolError(
            f"{file} is gone, the original of {path}. Move the folder {root / STATE} "
            "away, and run this again: it then finds out what of the tree is ours"
        ) from error


def patched(root: Path, path: str, entry: dict) -> bytes | None:
    """Return what the patch made of a file, if that was kept."""
    file = root / STATE / "patched" / path
    content = file.read_bytes() if file.exists() else None
    return content if digest(content) == entry["after"] else None


def keep_original(root: Path, path: str, content: bytes) -> str:
    """Keep an original beside an earlier one; return its name among the originals."""
    folder = root / STATE / "originals"
    for name in (path, f"{path}.{digest(content)[:12]}"):
        file = folder / name
        if not file.exists():
            replace(file, content)
        if file.read_bytes() == content:
            return name
    raise ToolError(f"{file} is not what this tool wrote: move it away")


def keep_patched(root: Path, path: str, content: bytes) -> None:
    """Keep what the patch made of one of Caffe's files."""
    file = root / STATE / "patched" / path
    if not file.exists() or file.read_bytes() != content:
        replace(file, content)


def write_manifest(root: Path, manifest: dict) -> None:
    """Replace the manifest."""
    replace(
        root / STATE / "manifest.json", json.dumps(manifest, indent=1).encode() + b"\n"
    )


def remove(root: Path) -> None:
    """Remove the record, in one step as far as others see."""
    away = root / _REMOVED
    shutil.rmtree(away, ignore_errors=True)
    if (root / STATE).exists():
        (root / STATE).rename(away)
    shutil.rmtree(away, ignore_errors=True)


def clean(root: Path) -> None:
    """Remove what a killed run has left of a removed record, or of an unborn one."""
    shutil.rmtree(root / _REMOVED, ignore_errors=True)
    if not (root / STATE / "manifest.json").exists():
        shutil.rmtree(root / STATE, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each its parent's owner's."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _belong(path, path.parent)


def take_place(new: Path, path: Path) -> None:
    """Give a new file the mode and owner of the one that it is to replace."""
    if path.exists():
        shutil.copymode(path, new)
    _belong(new, path if path.exists() else path.parent)


def _belong(path: Path, like: Path) -> None:
    """Give a path the owner of another, so that root leaves a user's tree his."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole, keeping its mode; a link becomes a file."""
    make_folder(path.parent)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        take_place(temporary, path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def link(path: Path, target: str) -> None:
    """Make a file a link again."""
    temporary = path.with_name(path.name + TEMPORARY)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    _belong(temporary, path if path.exists() else path.parent)
    temporary.replace(path)
