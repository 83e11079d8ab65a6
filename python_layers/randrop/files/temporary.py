"""Temporary files beside the ones that they replace, and those that a kill left.

A temporary file is locked while it is written. One that nobody has locked was left by
a process that was killed.
"""

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NAME = re.compile(r"\..*\.randrop-[a-z0-9_]{8}(\..*)?", re.S)
_STEM = 40  # characters: with them and the suffix, a name of 255 bytes stays one


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield an empty file in the folder of `path`, removed at the end if it is there.

    Its name keeps the suffix of `path`, because image and figure writers choose the
    format by it.
    """
    handle, temporary = _created(path)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _created(path: Path) -> tuple[int, Path]:
    while True:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem[:_STEM]}.randrop-", suffix=path.suffix, dir=path.parent
        )
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Somebody may have taken it for one that was left, before it was locked.
        if os.path.lexists(name):
            return handle, Path(name)
        os.close(handle)


def is_left(path: Path) -> bool:
    """Return whether a killed process left this file as its temporary one.

    False where the file system has no locks.
    """
    with _left(path) as found:
        return found


def remove_left(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Not in folders in it, and none that a process still writes.
    """
    with contextlib.suppress(OSError):
        for path in [*folder.iterdir()]:
            with _left(path) as found:
                if found:
                    path.unlink()


@contextlib.contextmanager
def _left(path: Path) -> Iterator[bool]:
    if not _NAME.fullmatch(path.name) or path.is_symlink() or not path.is_file():
        yield False
        return
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
