"""Writing files so that a reader never sees a partial one."""

import contextlib
import fcntl
import glob
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.files import ownership
from randrop.files.locks import locked
from randrop.files.temporary import beside

log = logging.getLogger("randrop")


def _remedy(error: OSError) -> str:
    """Return what helps: a full disk is one reason of many."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "A part of this path is a file: choose another folder"
    if isinstance(error, PermissionError):
        return "Choose a folder that you may write"
    return "Free some disk space, or choose another folder"


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], edited: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it on success.

    The temporary name keeps the suffix of `path`, see `temporary.beside`. If the block
    raises, the temporary file is removed and the old content of `path` stays.

    Parameters
    ----------
    path : path
    edited : bool
        The new content is the existing file with requested changes, so the file may
        belong to anybody.

    Raises
    ------
    UserError
        If the system refuses the write (disk full, no permission), or the file there
        is not ours (see `randrop.files.ownership`); the message names `path`.
    """
    path = Path(path)
    if not edited:
        ownership.check(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as temporary:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            if not edited:
                ownership.record(path, ownership.sha256(temporary))
            temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Nothing was changed. "
            f"{_remedy(error)}"
        ) from error


def make_folder(folder: Path, wanted: Path | None = None) -> None:
    """Create a folder and its parents, if they are missing.

    Raises
    ------
    UserError
        If the system refuses; the message names `wanted`, its purpose.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the folder {wanted or folder} "
            f"({ownership.why_not(folder, error)}): choose another folder"
        ) from error


def check_writable(folder: Path) -> None:
    """Create a folder if it is missing, and try to write in it.

    Raises
    ------
    UserError
        If the system refuses; the message names it.
    """
    make_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write in the folder {folder} ({error.strerror or error}): make it "
            "writable, or choose another one"
        ) from error


@contextlib.contextmanager
def output(
    folder: Path, maker: str, names: Iterable[str], *, streams: Iterable[str] = ()
) -> Iterator[None]:
    """Lock a folder while a script writes into it beside the files of others.

    See `locks.locked` and `ownership.claim`.

    Raises
    ------
    UserError
        If another program writes there, the system refuses, or somebody else's file
        has one of the names.
    """
    with locked(folder):
        ownership.claim(folder, maker, names, streams=streams)
        yield


@contextlib.contextmanager
def building(folder: Path, maker: str, unstable: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that replaces it on success.

    If the block raises, the temporary folder is removed and the old `folder` stays.

    Parameters
    ----------
    folder : Path
        New, or a folder in which we wrote every file.
    maker : str
        The current script: it does not replace what another one wrote.
    unstable : sequence of str
        Patterns of files that readers of the folder change.

    Raises
    ------
    UserError
        If `folder` is not ours to replace, or the system refuses a write; the message
        names it.
    """
    if folder.is_symlink():
        folder = folder.resolve()
    ownership.check_replaceable(folder, maker)
    before = _state(folder)
    for left in _left_behind(folder):
        log.warning(
            "%s was left by a run that was killed, and nothing uses it: remove it", left
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(
                dir=folder.parent, prefix=f".{folder.name}."
            ) as name,
            _held(Path(name)),
        ):
            temporary, old = Path(name, "set"), Path(name, "old")
            temporary.mkdir()
            ownership.claim(temporary, maker, streams=unstable)
            yield temporary
            for path in temporary.rglob("*"):
                if path.is_file() and path.name != ownership.LIST:
                    ownership.record(path, ownership.sha256(path))
            # Check again: much may have happened in the meantime.
            ownership.check_replaceable(folder, maker)
            if _state(folder) != before:
                raise UserError(
                    f"another program wrote {folder} in the meantime, and its files "
                    "were kept: run this again to replace them"
                )
            if folder.exists():
                folder.rename(old)
            try:
                temporary.rename(folder)
            except OSError:
                if old.exists():
                    old.rename(folder)
                raise
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}. No partial output was "
            f"left. {_remedy(error)}"
        ) from error


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Lock a temporary folder, and yield whether nobody else has."""
    handle = os.open(folder, os.O_RDONLY)
    free = True
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # Or the file system has no locks.
            free = False
        yield free
    finally:
        os.close(handle)


def _left_behind(folder: Path) -> Iterator[Path]:
    """Yield temporary folders of `building` whose process has ended."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        with contextlib.suppress(OSError):
            if (path / "set" / ownership.LIST).is_file():
                with _held(path) as free:
                    if free:
                        yield path


def _state(folder: Path) -> tuple[int, ...] | None:
    """Return what identifies this very folder, or None if there is none."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
