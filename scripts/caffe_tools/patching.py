"""Patching a Caffe tree with our layers, and restoring it.

`.randrop/` in the tree records its original state: a manifest with the hash of every
file before and after, and the originals. The manifest is written before the first file
changes, so that a run that is killed halfway can be detected, completed or undone.
"""

import contextlib
import enum
import hashlib
import json
import os
import shutil
from pathlib import Path

from caffe_tools.errors import ToolError
from caffe_tools.planning import (
    PROTO,
    STATE,
    Change,
    check_tree,
    decode,
    plan,
    read_file,
    read_manifest,
    read_originals,
)

_TEMPORARY = ".randrop-new"


class State(enum.Enum):
    """The state of a tree relative to our patch."""

    PATCHED = 0
    NOT_PATCHED = 1
    PARTLY = 3
    OTHER_VERSION = 4


def apply(
    root: Path, numbers: dict[str, int] | None = None, mends_only: bool = False
) -> list[str]:
    """Patch the tree, or update it to the current patch.

    Files that are already right are not written, so their times stay. A failure leaves
    the tree as it was.

    Parameters
    ----------
    root : Path
        Caffe tree.
    numbers : dict, optional
        Numbers for our fields where the tree uses ours; earlier choices stay.
    mends_only : bool
        Apply only the compatibility mends.

    Returns
    -------
    list of str
        The paths that changed.

    Raises
    ------
    ToolError
        On any conflict, or if the system refuses to write.
    """
    check_tree(root)
    manifest = read_manifest(root)
    if numbers is None:
        numbers = manifest.get("numbers", {})
    changes = plan(root, numbers, mends_only)
    present = {c.path: read_file(root / c.path) for c in changes}
    old = manifest.get("files", {})
    for change in changes:
        if present[change.path] not in (change.before, change.after):
            _refuse_edited(root, change.path, present[change.path], old)
    planned = {change.path for change in changes}
    dropped = [path for path in old if path not in planned]
    for path in dropped:
        _refuse_edited(root, path, read_file(root / path), old)
    pending = [c for c in changes if present[c.path] != c.after]
    if not pending and not dropped and manifest.get("state") == "applied":
        return []
    _check_writable(root, [c.path for c in pending])
    _write(root, changes, pending, dropped, numbers)
    return [c.path for c in pending] + dropped


def check(root: Path) -> State:
    """Return the state of the tree relative to the current patch.

    Raises
    ------
    ToolError
        If it is not a Caffe tree, or its state cannot be read.
    """
    check_tree(root)
    manifest = read_manifest(root)
    if not manifest:
        marked = "// randrop: begin" in decode((root / PROTO).read_bytes())
        return State.PARTLY if marked else State.NOT_PATCHED
    files = manifest["files"]
    present = {path: _hash(read_file(root / path)) for path in files}
    if manifest["state"] != "applied" or any(
        present[path] != record["after"] for path, record in files.items()
    ):
        return State.PARTLY
    try:
        changes = plan(root, manifest["numbers"], manifest.get("mends_only", False))
    except ToolError:
        return State.OTHER_VERSION
    wanted = {change.path: _hash(change.after) for change in changes}
    return State.PATCHED if wanted == present else State.OTHER_VERSION


def revert(root: Path) -> list[str]:
    """Restore the tree byte for byte to its state before the patch.

    Returns
    -------
    list of str
        The paths that changed.

    Raises
    ------
    ToolError
        If it is not patched, or a patched file has been edited since.
    """
    check_tree(root)
    manifest = read_manifest(root)
    if not manifest:
        raise ToolError(f"{root} is not patched: nothing to revert")
    files = manifest["files"]
    for path, record in files.items():
        content = read_file(root / path)
        if _hash(content) not in (record["before"], record["after"]):
            _refuse_edited(root, path, content, files)
    _check_writable(root, list(files))
    changed = []
    # Remove the manifest last, so that a killed revert can be run again.
    for path, record in files.items():
        target = root / path
        if record["before"] is None:
            if target.exists():
                target.unlink()
                changed.append(path)
        elif _hash(read_file(target)) != record["before"]:
            _replace(target, (root / STATE / "originals" / path).read_bytes())
            changed.append(path)
    _remove_folders(root, manifest["folders"])
    for path in root.rglob(f"*{_TEMPORARY}"):
        path.unlink()
    shutil.rmtree(root / STATE)
    return changed


def _write(
    root: Path,
    changes: list[Change],
    pending: list[Change],
    dropped: list[str],
    numbers: dict[str, int],
) -> None:
    """Stage everything, then rename; undo everything on failure."""
    first_time = not (root / STATE).exists()
    old_manifest = read_manifest(root)
    previous = {c.path: read_file(root / c.path) for c in pending}
    previous |= {path: read_file(root / path) for path in dropped}
    folders = set(old_manifest.get("folders", []))
    for change in changes:
        for parent in Path(change.path).parents:
            if not (root / parent).exists():
                folders.add(parent.as_posix())
    manifest = {
        "state": "applying",
        "numbers": numbers,
        "mends_only": all(c.path != PROTO for c in changes),
        "folders": sorted(folders),
        "files": {
            c.path: {"before": _hash(c.before), "after": _hash(c.after)}
            for c in changes
        },
    }
    # While applying, a revert must still know the files that were dropped.
    dropped_records = {p: old_manifest["files"][p] for p in dropped}
    staged: list[tuple[Path, Path]] = []
    try:
        for change in changes:
            if change.before is not None:
                original = root / STATE / "originals" / change.path
                if not original.exists():
                    original.parent.mkdir(parents=True, exist_ok=True)
                    _replace(original, change.before)
        _write_manifest(
            root, {**manifest, "files": manifest["files"] | dropped_records}
        )
        for change in pending:
            target = root / change.path
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(target.name + _TEMPORARY)
            staged.append((temporary, target))
            temporary.write_bytes(change.after)
            if target.exists():
                shutil.copymode(target, temporary)
        for temporary, target in staged:
            temporary.replace(target)
        for path in dropped:
            before = read_originals(root).get(path)
            if before is None:
                (root / path).unlink()
            else:
                _replace(root / path, before)
        _write_manifest(root, {**manifest, "state": "applied"})
    except BaseException as error:
        _undo(root, staged, previous, first_time, old_manifest, folders)
        if isinstance(error, OSError):
            raise ToolError(
                f"cannot write {error.filename or root}: {error.strerror}. The tree "
                "is unchanged. Free some disk space, or make the tree writable, and "
                "run this again"
            ) from error
        raise


def _undo(
    root: Path,
    staged: list[tuple[Path, Path]],
    previous: dict[str, bytes | None],
    first_time: bool,
    old_manifest: dict,
    folders: set[str],
) -> None:
    for temporary, _ in staged:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    for path, content in previous.items():
        target = root / path
        if content is None:
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)
        elif read_file(target) != content:
            original = root / STATE / "originals" / path
            # A rename needs no space on a full disk.
            if first_time and original.exists():
                original.replace(target)
            else:
                _replace(target, content)
    if first_time:
        _remove_folders(root, sorted(folders))
        shutil.rmtree(root / STATE, ignore_errors=True)
    else:
        _write_manifest(root, old_manifest)


def _remove_folders(root: Path, folders: list[str]) -> None:
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            (root / folder).rmdir()


def _refuse_edited(
    root: Path, path: str, content: bytes | None, records: dict[str, dict]
) -> None:
    record = records.get(path)
    if record and _hash(content) in (record["before"], record["after"]):
        return
    what = "was deleted" if content is None else "was edited"
    raise ToolError(
        f"{root / path} {what} after the tree was patched. Nothing was written. Save "
        "your change elsewhere and restore the patched file; or, to discard your "
        f"change, copy {root / STATE / 'originals' / path} over it"
    )


def _check_writable(root: Path, paths: list[str]) -> None:
    for path in [".", *paths]:
        file = root / path
        while not file.exists():
            file = file.parent
        for place in {file, file if file.is_dir() else file.parent}:
            if not os.access(place, os.W_OK):
                raise ToolError(
                    f"{place} is not writable. Nothing was written. Make it writable "
                    "(chmod u+w), or copy the tree to your own folder"
                )


def _write_manifest(root: Path, manifest: dict) -> None:
    (root / STATE).mkdir(exist_ok=True)
    _replace(
        root / STATE / "manifest.json", json.dumps(manifest, indent=1).encode() + b"\n"
    )


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + _TEMPORARY)
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _hash(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
