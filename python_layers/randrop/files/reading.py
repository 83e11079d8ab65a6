"""Reading files that somebody else may have written."""

import hashlib
import os
import stat
from pathlib import Path

from randrop.errors import UserError

LARGEST = 2**31
"""Bytes. Nothing that is read whole into memory is longer; images and HDF5 are not."""


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse an existing path that is not a file: opening a pipe may wait forever.

    Raises
    ------
    UserError
        If it is a folder, a pipe, a socket or a device.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return  # Opening it reports the error.
    _check_mode(path, mode)


def read_bytes(path: str | os.PathLike[str], remedy: str = "") -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    path : path
    remedy : str
        What to do if it cannot be read, for the message.

    Raises
    ------
    UserError
        If it is missing, not a regular file, too long or unreadable.
    """
    remedy = f": {remedy}" if remedy else ""
    try:
        # A pipe without a writer opens at once and is refused.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            state = os.fstat(handle)
            _check_mode(path, state.st_mode)
            if state.st_size > LARGEST:
                raise UserError(
                    f"{path} has {state.st_size:,} bytes, more than any file of this "
                    f"kind that randrop writes{remedy}"
                )
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing{remedy}") from error
    except UserError:
        raise
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({words}){remedy}") from error


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, as a hexadecimal number.

    Raises
    ------
    UserError
        As in `read_bytes`.
    """
    return hashlib.sha256(read_bytes(path)).hexdigest()


def read_text(path: str | os.PathLike[str], remedy: str = "") -> str:
    """Return the content of a text file in UTF-8.

    Raises
    ------
    UserError
        As in `read_bytes`, and if it is not text.
    """
    content = read_bytes(path, remedy)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        remedy = f": {remedy}" if remedy else ""
        raise UserError(f"{path} is not a text file ({error}){remedy}") from error


def _check_mode(path: str | os.PathLike[str], mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {
            stat.S_IFDIR: "a folder",
            stat.S_IFIFO: "a pipe",
            stat.S_IFSOCK: "a socket",
        }
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise UserError(f"{path} is {kind}, not a file: give the path of a file")
