"""Whose a file in an output folder is: a list there names those that we wrote.

The list is the file `.randrop.sha256` in the folder, in the form of sha256sum: a line
for each file with the digest of what was written. A file is ours while it is listed,
here or in a folder above, and still has that content; nothing else is ever replaced or
removed. Names that another program fills for us (caffe's snapshots, logs) are set
aside by lines `# any PATTERN` before anything is there.
"""

import fnmatch
import functools
import hashlib
import logging
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from randrop.errors import UserError
from randrop.pycaffe.build import REPOSITORY

log = logging.getLogger(__name__)

LIST = ".randrop.sha256"
"""Name of the list, in the folder whose files it names."""

LOCK = ".randrop.lock"
"""Name of the file that a program holds while it writes into a folder."""

_HEAD = "# Files that randrop wrote into this folder: it replaces and removes no other."
_SHOWN = 3


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal number."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def is_ours(path: Path) -> bool:
    """Return whether we wrote the file at `path`, and nobody changed it since."""
    if path.is_symlink() or not path.is_file():
        return False
    path = path.absolute()
    digest = ""
    for folder in path.parents:
        text = _read(folder)
        if not text:
            continue
        name = path.relative_to(folder).as_posix()
        if any(fnmatch.fnmatchcase(name, p) for p in _words(text, "any")):
            return True
        end = f"  {_line(name)}\n"
        if end in text:
            digest = digest or sha256(path)
            if digest + end in text:
                return True
    return _is_safe_in_git(path)


def check(*paths: Path) -> None:
    """Refuse to go on where a path is somebody else's.

    Raises
    ------
    UserError
        Naming it and what to do.
    """
    for path in paths:
        if os.path.lexists(path) and not is_ours(path):
            raise UserError(
                f"cannot write {path}: what is there was not written by this program: "
                "move it away, or choose another name or folder to write to"
            )


def record(path: Path, digest: str) -> None:
    """List a file as ours, in the nearest folder that has a list, or in its own.

    Called before the file gets its name: killed in between, the list knows both what
    was there and what was to come.
    """
    path = path.absolute()
    folder = next((f for f in path.parents if (f / LIST).exists()), path.parent)
    name = _line(path.relative_to(folder).as_posix())
    if f"\n{digest}  {name}\n" not in _read(folder):
        _append(folder, f"{digest}  {name}")


def claim(
    folder: Path, maker: str, names: Iterable[str] = (), *, streams: Iterable[str] = ()
) -> None:
    """Make `folder`, with its list, a place for what a script is about to write.

    Parameters
    ----------
    folder : Path
        It may hold files of others, beside which the script writes.
    maker : str
        Which script it is.
    names : iterable of str
        Files that will be written, to be refused before the work and not after it.
    streams : iterable of str
        Patterns of names that will be filled without `files.replacing`.

    Raises
    ------
    UserError
        When a file of another is where one of those would be, or the system refuses.
    """
    text = _read(folder)
    check(*(folder / name for name in names))
    streams = [p for p in streams if p not in _words(text, "any")]
    check(*(found for pattern in streams for found in folder.glob(pattern)))
    lines = [f"# any {pattern}" for pattern in streams]
    if maker not in _words(text, "by"):
        lines.insert(0, f"# by {maker}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if lines:
            _append(folder, *lines)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror or error}): choose "
            "another place, or make room there"
        ) from error


def adopt(folder: Path, names: Iterable[str]) -> None:
    """List what a version of the scripts without lists wrote."""
    if not (folder / LIST).exists():
        for name in names:
            if (folder / name).is_file():
                _append(folder, f"{sha256(folder / name)}  {_line(name)}")


def check_replaceable(folder: Path, maker: str) -> None:
    """Refuse a folder that cannot be replaced as a whole without loss to somebody.

    Raises
    ------
    UserError
        When it is no folder, holds a file that is not ours, or what another script of
        ours wrote; names those.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: choose another folder to write")
    foreign = [path for path in _files(folder) if not is_ours(path)]
    if foreign:
        names = [str(path.relative_to(folder)) for path in foreign[:_SHOWN]]
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise UserError(
            f"{folder} holds something else ({', '.join(names)}{more}): choose a new "
            "folder, or move these away"
        )
    others = [by for by in _words(_read(folder), "by") if by != maker]
    if others:
        raise UserError(
            f"{folder} holds what {', '.join(others)} wrote: choose a new folder"
        )


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        listed = path.name == LIST and _read(path.parent)
        if path.is_symlink() or not (path.is_dir() or listed or path.name == LOCK):
            yield path


def _read(folder: Path) -> str:
    """Return the list of a folder, empty where there is none."""
    path = folder / LIST
    try:
        stat = path.stat()
        return _content(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return ""


@functools.lru_cache(64)
def _content(path: Path, *_of_that_state: int) -> str:
    text = path.read_text(errors="surrogateescape")
    # Somebody's file of the same name is not believed.
    return text if text.startswith(_HEAD) else ""


def _append(folder: Path, *lines: str) -> None:
    path = folder / LIST
    known = path.exists()
    if known and not _read(folder):
        raise UserError(f"{path} is not a list of randrop's: choose another folder")
    if not known:
        lines = (_HEAD, *lines)
    text = "".join(f"{line}\n" for line in lines)
    # One write: several processes append, and none may be cut by another.
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.write(handle, text.encode(errors="surrogateescape"))
    finally:
        os.close(handle)


def _words(text: str, kind: str) -> list[str]:
    """Return what follows the comments of a kind."""
    return re.findall(rf"^# {kind} (.*)$", text, re.M)


def _line(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\n", "\\n")


def _is_safe_in_git(path: Path) -> bool:
    """Return whether it is a file of this project that git has as it is.

    The commands in README and docs/ write the project's own results anew; git keeps
    what was there.
    """
    if REPOSITORY not in path.resolve().parents:
        return False
    git = ["git", "-C", str(path.parent)]
    return all(
        subprocess.run([*git, *words, "--", path.name], capture_output=True).returncode
        == 0
        for words in (["ls-files", "--error-unmatch"], ["diff", "--quiet", "HEAD"])
    )
