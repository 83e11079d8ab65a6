"""Writing files so that a reader never meets half of one."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from randrop.errors import UserError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place on success.

    The temporary name keeps the suffix of `path`, since image and figure writers
    choose the format by it. When the block raises, the temporary file is removed and
    what stood at `path` before stays.

    Raises
    ------
    UserError
        When the system refuses the write (disk full, no permission); the message
        names `path`.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; "
            "nothing was changed there: free some space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path, wanted: Path | None = None) -> None:
    """Make a folder and those above it, if they are not there.

    Raises
    ------
    UserError
        When the system refuses; the message names `wanted`, which it is made for.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {wanted or folder} ({error.strerror or error}): "
            "choose another place, or make room there"
        ) from error


@contextlib.contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place on success.

    When the block raises, nothing is left, and what stood at `folder` before stays.

    Raises
    ------
    UserError
        When the system refuses a write; the message names `folder`.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=f".{folder.name}."
        ) as name:
            temporary = Path(name, "set")
            temporary.mkdir()
            yield temporary
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}; nothing was left "
            "there: free some space or choose another folder"
        ) from error


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
