"""The folder beside the archive in which a bundle is put together."""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from randrop.errors import UserError
from randrop.files import ownership

log = logging.getLogger("randrop")

MARK = ".randrop-bundling"
"""File in each such folder; a running program holds its lock."""

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_TEXT = (
    "bundle.py made this folder. If it was killed, its next run with the same --out "
    "removes it.\n"
)


@contextlib.contextmanager
def beside(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; first remove those of killed runs.

    Beside, because /tmp may be small. Only folders with our mark whose lock nobody
    holds are removed.

    Raises
    ------
    UserError
        If the system refuses a write; the message names `out`.
    """
    prefix = f".{out.stem}."
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for folder in sorted(out.parent.iterdir()):
            if folder.name.startswith(prefix):
                _remove_leftover(folder)
        made = tempfile.TemporaryDirectory(prefix=prefix, dir=out.parent)
    except OSError as error:
        raise _refused(out, error) from error
    with made as name, _marked(Path(name)):
        top = Path(name, "work")
        top.mkdir()
        try:
            yield top
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            raise _refused(out, error) from error


def _refused(out: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {out}: {error.strerror or error}. Nothing was changed. Free "
        "some disk space, or choose another folder"
    )


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[None]:
    """Mark a folder, and hold the lock of the mark."""
    # Locked before it has its name: no other run takes it for a leftover.
    with (folder / f"{MARK}.new").open("w") as stream:
        stream.write(_TEXT)
        stream.flush()
        with contextlib.suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(stream.name).rename(folder / MARK)
        yield


def _remove_leftover(folder: Path) -> None:
    """Remove a folder if it has our mark and nobody holds its lock."""
    mark = folder / MARK
    try:
        if folder.is_symlink() or mark.is_symlink() or mark.read_text() != _TEXT:
            return
        with mark.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            log.info("Removing what a run that was killed left: %s", folder)
            shutil.rmtree(folder)
    except (OSError, UnicodeDecodeError):
        # Somebody else's, in use, or on a file system without locks: it stays.
        return


def publish(made: Path, out: Path) -> None:
    """Give a finished file, from a folder beside it, its name."""
    umask = os.umask(0)
    os.umask(umask)
    made.chmod(0o666 & ~umask)
    ownership.record(out, ownership.sha256(made))
    made.replace(out)
