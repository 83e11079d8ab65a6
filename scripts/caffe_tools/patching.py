"""Patching a Caffe tree with our layers, and restoring it.

`caffe_tools.record` says what `.randrop/` in the tree holds, and `caffe_tools.recovery`
what becomes of a tree that somebody changed in between.
"""

import contextlib
import enum
import os
import shlex
from pathlib import Path

from caffe_tools import record, recovery
from caffe_tools.errors import ToolError
from caffe_tools.planning import PROTO, Change, check_tree, plan, read_file
from caffe_tools.record import STATE, TEMPORARY, digest


class State(enum.Enum):
    """The state of a tree relative to our patch."""

    PATCHED = 0
    NOT_PATCHED = 1
    PARTLY = 3
    OTHER_VERSION = 4
    EDITED = 5
    RECORD_LOST = 6


def apply(
    root: Path, numbers: dict[str, int] | None = None, mends_only: bool = False
) -> list[str]:
    """Patch the tree, or update it to the current patch.

    Files that are already right are not written, so their times stay. A failure leaves
    the tree as it was. Edits that somebody made since stay.

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
    with record.alone(root):
        return _apply(root, numbers, mends_only)


def _apply(root: Path, numbers: dict[str, int] | None, mends_only: bool) -> list[str]:
    # Mends alone do not mind what somebody has merged by hand.
    alone = mends_only and not record.read_manifest(root)
    manifest = {} if alone else recovery.take_stock(root)
    numbers = manifest.get("numbers", {}) | (numbers or {})
    changes = plan(root, numbers, mends_only)
    present = {c.path: read_file(root / c.path) for c in changes}
    old = manifest.get("files", {})
    planned = {change.path for change in changes}
    dropped = [path for path in old if path not in planned]
    pending = [c for c in changes if present[c.path] != c.after]
    if not pending and not dropped and manifest.get("state") == "applied":
        return []
    _check_writable(root, [c.path for c in pending])
    _check_inside(root, [c.path for c in pending])
    _write(root, manifest, changes, pending, dropped, numbers)
    return [c.path for c in pending] + dropped


def check(root: Path) -> State:
    """Return the state of the tree relative to the current patch.

    Raises
    ------
    ToolError
        If it is not a Caffe tree, or its state cannot be read, or another run is
        changing it.
    """
    check_tree(root)
    with record.still(root):
        return _check(root)


def refused(root: Path) -> list[str]:
    """Return why a tree in state EDITED can be neither patched again nor reverted."""
    with record.still(root):
        return recovery.refused(root, record.read_manifest(root))


def _check(root: Path) -> State:
    manifest = record.read_manifest(root)
    if not manifest:
        return State.RECORD_LOST if recovery.traces(root) else State.NOT_PATCHED
    files = manifest["files"]
    if recovery.edited(root, manifest):
        return State.EDITED
    present = {path: digest(read_file(root / path)) for path in files}
    if manifest["state"] != "applied" or any(
        present[path] != entry["after"] for path, entry in files.items()
    ):
        return State.PARTLY
    for path, entry in files.items():
        record.original(root, path, entry)
    try:
        changes = plan(root, manifest["numbers"], manifest.get("mends_only", False))
    except ToolError:
        return State.OTHER_VERSION
    wanted = {change.path: digest(change.after) for change in changes}
    return State.PATCHED if wanted == present else State.OTHER_VERSION


def planned(
    root: Path, state: State, numbers: dict[str, int] | None = None
) -> list[Change]:
    """Return what `apply` would make of the files of a tree; nothing is written.

    Parameters
    ----------
    root : Path
        Caffe tree.
    state : State
        What `check` says of it; not EDITED, where only `apply` tells.
    numbers : dict, optional
        Numbers for our fields where the tree uses ours; earlier choices stay.

    Raises
    ------
    ToolError
        On any conflict.
    """
    with record.still(root):
        if state is State.RECORD_LOST:
            originals, earlier = recovery.found(root)
        else:
            originals, earlier = None, record.read_manifest(root).get("numbers", {})
        return plan(root, earlier | (numbers or {}), originals=originals)


def revert(root: Path) -> list[str]:
    """Restore the tree byte for byte to its state before the patch.

    Edits that somebody made since stay.

    Returns
    -------
    list of str
        The paths that changed.

    Raises
    ------
    ToolError
        If it is not patched, or an edit touches the lines of the patch, or the system
        refuses to write.
    """
    check_tree(root)
    with record.alone(root):
        try:
            return _revert(root)
        except OSError as error:
            raise ToolError(
                f"cannot write {error.filename or root}: {error.strerror}. The tree is "
                "restored in part, and the record of the rest stays. Free some disk "
                "space, or make the tree writable, and run this again"
            ) from error


def _revert(root: Path) -> list[str]:
    manifest = recovery.take_stock(root)
    if not manifest:
        raise ToolError(f"{root} is not patched: nothing to revert")
    files = manifest["files"]
    _check_writable(root, list(files))
    originals = {path: record.original(root, path, files[path]) for path in files}
    changed = []
    # Remove the record last, so that a killed revert can be run again.
    for path, content in originals.items():
        if _restore(root / path, content, files[path].get("link")):
            changed.append(path)
        _temporary(root / path).unlink(missing_ok=True)
    _remove_folders(root, manifest["folders"])
    record.remove(root)
    return changed


def _restore(target: Path, content: bytes | None, link: str | None) -> bool:
    """Put a content or a link back; return whether that changed the file."""
    if link is not None:
        if target.is_symlink():
            return False
        record.link(target, link)
    elif content is None:
        if not target.exists():
            return False
        target.unlink()
    elif read_file(target) == content:
        return False
    else:
        record.replace(target, content)
    return True


def _write(
    root: Path,
    old_manifest: dict,
    changes: list[Change],
    pending: list[Change],
    dropped: list[str],
    numbers: dict[str, int],
) -> None:
    """Stage everything, then rename; undo everything on failure."""
    old = old_manifest.get("files", {})
    previous = {
        path: (read_file(root / path), _link(root / path))
        for path in [*(c.path for c in pending), *dropped]
    }
    folders = set(old_manifest.get("folders", []))
    for change in changes:
        for parent in Path(change.path).parents:
            if not (root / parent).exists():
                folders.add(parent.as_posix())
    staged: list[tuple[Path, Path]] = []
    try:
        files = {c.path: _entry(root, c, old.get(c.path)) for c in changes}
        manifest = {
            "state": "applied",
            "numbers": numbers,
            "mends_only": all(c.path != PROTO for c in changes),
            "folders": sorted(folders),
            "files": files,
        }
        _begin(root, manifest, previous, {path: old[path] for path in dropped})
        for change in changes:
            if change.before is not None:
                record.keep_patched(root, change.path, change.after)
        for change in pending:
            target = root / change.path
            record.make_folder(target.parent)
            temporary = _temporary(target)
            staged.append((temporary, target))
            temporary.write_bytes(change.after)
            record.take_place(temporary, target)
        for temporary, target in staged:
            temporary.replace(target)
        for path in dropped:
            content = record.original(root, path, old[path])
            _restore(root / path, content, old[path].get("link"))
        # A killed run may have left some of files that are not planned any more.
        for path in old.keys() | files:
            _temporary(root / path).unlink(missing_ok=True)
        record.write_manifest(root, manifest)
    except BaseException as error:
        _undo(root, staged, previous, old_manifest, folders)
        if isinstance(error, OSError):
            raise ToolError(
                f"cannot write {error.filename or root}: {error.strerror}. The tree "
                "is unchanged. Free some disk space, or make the tree writable, and "
                "run this again"
            ) from error
        raise


def _entry(root: Path, change: Change, old: dict | None) -> dict:
    """Return a file's entry in the manifest, after keeping its original."""
    entry = {"before": digest(change.before), "after": digest(change.after)}
    if change.before is not None:
        name = record.keep_original(root, change.path, change.before)
        if name != change.path:
            entry["original"] = name
    link = (old or {}).get("link") or _link(root / change.path)
    if link:
        entry["link"] = link
    return entry


def _begin(
    root: Path,
    manifest: dict,
    previous: dict[str, tuple[bytes | None, str | None]],
    dropped: dict[str, dict],
) -> None:
    """Write the manifest of a tree that is half written: all contents are known."""
    files = manifest["files"] | dropped
    for path, (content, _) in previous.items():
        files[path] = {**files[path], "was": [digest(content)]}
    record.write_manifest(root, {**manifest, "state": "applying", "files": files})


def _undo(
    root: Path,
    staged: list[tuple[Path, Path]],
    previous: dict[str, tuple[bytes | None, str | None]],
    old_manifest: dict,
    folders: set[str],
) -> None:
    for temporary, _ in staged:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    for path, (content, link) in previous.items():
        target = root / path
        if content is None:
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)
        elif link is None and read_file(target) != content:
            original = root / STATE / "originals" / path
            # A rename needs no space on a full disk.
            if not old_manifest and read_file(original) == content:
                original.replace(target)
            else:
                record.replace(target, content)
        elif link is not None:
            _restore(target, content, link)
    if old_manifest:
        record.write_manifest(root, old_manifest)
    else:
        _remove_folders(root, sorted(folders))
        record.remove(root)


def _link(path: Path) -> str | None:
    return os.readlink(path) if path.is_symlink() else None  # noqa: PTH115


def _temporary(target: Path) -> Path:
    return target.with_name(target.name + TEMPORARY)


def _remove_folders(root: Path, folders: list[str]) -> None:
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            (root / folder).rmdir()


def _check_writable(root: Path, paths: list[str]) -> None:
    for path in [".", *paths]:
        file = root / path
        while not file.exists():
            file = file.parent
        for place in {file, file if file.is_dir() else file.parent}:
            if not os.access(place, os.W_OK):
                named = shlex.quote(str(root))
                remedy = f"Make it writable with 'chmod -R u+w {named}'"
                if place.stat().st_uid != os.geteuid():
                    remedy = (
                        "It is another user's. Make it yours with 'sudo chown -R "
                        f'"$(id -u)" {named}\''
                    )
                raise ToolError(
                    f"{place} is not writable. Nothing was written. {remedy}, or copy "
                    "the tree to your own folder, and run this again"
                )


def _check_inside(root: Path, paths: list[str]) -> None:
    """Refuse folders that are links out of the tree: others may use what is there."""
    home = root.resolve()
    for path in paths:
        folder = (root / path).parent
        if not folder.resolve().is_relative_to(home):
            link = next(p for p in (folder, *folder.parents) if p.is_symlink())
            old, copy = (shlex.quote(f"{link}{end}") for end in ("", ".copy"))
            raise ToolError(
                f"{link} is a link to {link.resolve()}, outside of the tree. Nothing "
                "was written. Put a copy in its place, and run this again: "
                f"'cp -rL {old} {copy} && rm {old} && mv {copy} {old}'"
            )
