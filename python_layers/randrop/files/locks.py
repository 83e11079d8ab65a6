"""Locks: only one program at a time writes into a folder."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.files.ownership import LIST, LOCK, why_not

log = logging.getLogger(__name__)

_DYING = 5.0
"""Seconds to wait for what a holder that has died leaves behind to end, too."""

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def locked(folder: Path, wanted: Path | None = None) -> Iterator[int | None]:
    """Lock `folder` while the block runs; create it if it is missing.

    The kernel holds the lock (flock on `.randrop.lock`) and releases it when its holder
    ends, however it ends. The file names the holder. If the block raises, a folder that
    was created for the lock and holds nothing else is removed.

    Parameters
    ----------
    folder : Path
    wanted : Path, optional
        What the lock is for, named in errors.

    Yields
    ------
    int or None
        The open file; a child process that inherits it keeps the lock while it runs.
        None if the file system has no locks.

    Raises
    ------
    UserError
        If another program, which the message names, holds the folder, or the folder
        cannot be created.
    """
    made = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _taken(folder / LOCK)
    except OSError as error:
        _remove(folder, made)
        raise UserError(
            f"cannot create the folder {wanted or folder} ({why_not(folder, error)}): "
            "choose another folder"
        ) from error
    try:
        yield handle
    except BaseException:
        _remove(folder, made)
        raise
    finally:
        if handle is not None:
            os.close(handle)


def is_locked(folder: Path) -> bool:
    """Return whether a program holds the lock of `folder`.

    On a file system without locks, whether the last holder still runs.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Released at once. Whoever wants the lock meanwhile tries again, because the
        # file names a holder that has ended.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        holder = _holder(folder / LOCK)
        return bool(holder) and not _has_died(holder)
    finally:
        os.close(handle)
    return False


def check_idle(folder: Path) -> None:
    """Refuse to read a folder while a program writes into it.

    Raises
    ------
    UserError
        Names the program.
    """
    if is_locked(folder):
        raise UserError(_busy(folder, _holder(folder / LOCK)))


def _remove(folder: Path, made: list[Path]) -> None:
    """Remove folders that were created for the lock and hold nothing else."""
    with contextlib.suppress(OSError):
        if folder in made and {path.name for path in folder.iterdir()} <= {LOCK, LIST}:
            for path in folder.iterdir():
                path.unlink()
        for empty in made:
            empty.rmdir()


def _taken(path: Path) -> int | None:
    """Return the open and locked file, or None if there are no locks."""
    until = time.monotonic() + _DYING
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            holder = _holder(path)
            if _has_died(holder) and time.monotonic() < until:
                time.sleep(0.1)
                continue
            raise UserError(_busy(path.parent, holder)) from error
        except OSError as error:
            os.close(handle)
            if error.errno not in _NO_LOCKS:
                raise
            log.warning(
                "%s: this file system does not support locks (%s): make sure that no "
                "other program writes there",
                *(path.parent, error.strerror),
            )
            return None
        # It may have been removed, or renamed with its folder, before we locked it.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == path.stat().st_ino:
                _introduce(handle)
                return handle
        os.close(handle)


def _introduce(handle: int) -> None:
    who = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": Path(sys.argv[0]).name,
    }
    os.ftruncate(handle, 0)
    os.pwrite(handle, (json.dumps(who) + "\n").encode(), 0)


def _holder(path: Path) -> dict[str, Any]:
    try:
        who = json.loads(path.read_text())
        return {k: who[k] for k in ("pid", "host", "since", "command")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _has_died(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, TypeError, OverflowError):
        return False
    return False


def _busy(folder: Path, holder: dict[str, Any]) -> str:
    who = "another program"
    if holder:
        who = (
            f"{holder['command']} (process {holder['pid']} on {holder['host']}, since "
            f"{holder['since']})"
        )
    return (
        f"{who} is writing into {folder}: wait until it ends, stop it, or choose "
        "another folder"
    )
