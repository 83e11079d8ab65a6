"""Who owns a file in an output folder: a list there names the files that we wrote.

The list is the file `.randrop.sha256` in the folder, in the format of sha256sum: one
line per file with the digest of its content. A file is ours as long as it is listed,
in its folder or a folder above, and still has that content. Nothing else is ever
replaced or removed. Lines `# any PATTERN` reserve names that another program fills for
us (caffe's snapshots, logs), until a later line has the digest of the result. Lines
`# by SCRIPT` name the scripts that wrote into the folder: a script does not replace
what another one wrote.
"""

import functools
import hashlib
import logging
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from randrop.errors import UserError
from randrop.files.temporary import is_left, remove_left
from randrop.pycaffe.build import REPOSITORY

log = logging.getLogger(__name__)

LIST = ".randrop.sha256"
"""Name of the list, in the folder whose files it names."""

LOCK = ".randrop.lock"
"""Name of the file that a program holds while it writes into a folder."""

_HEAD = "# Files that randrop wrote into this folder: it replaces and removes no other."
_SHOWN = 3
_claimed: set[Path] = set()
_RESULTS = ("results", "models", "prototxt", "proto", "docs", "README.md")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal number."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def is_ours(path: Path, top: Path | None = None) -> bool:
    """Return whether we wrote the file at `path` and nobody has changed it since.

    Parameters
    ----------
    path : Path
    top : Path, optional
        Lists in folders above this one are not read.
    """
    if path.is_symlink() or not path.is_file():
        return False
    path = path.absolute()
    if _list_of(path, top) is not None:
        return True
    return top is None and _is_safe_in_git(path)


def check(*paths: Path, maker: str | None = None) -> None:
    """Refuse to continue if a path belongs to somebody else.

    Parameters
    ----------
    *paths : Path
    maker : str, optional
        The current script: files of our other scripts count as somebody else's, too.

    Raises
    ------
    UserError
        Names the path and the remedy.
    """
    for path in paths:
        if not os.path.lexists(path):
            continue
        plain = path.is_file() and not path.is_symlink()
        folder = _list_of(path.absolute()) if plain else None
        if folder is None and not (plain and _is_safe_in_git(path)):
            raise UserError(
                f"cannot write {path}: this program did not write the existing file: "
                "move it away, or choose another name or folder"
            )
        makers = [] if folder is None else _words(_read(folder), "by")
        if maker and makers and maker not in makers:
            raise UserError(
                f"cannot write {path}: {' and '.join(makers)} wrote the existing "
                "file: choose another output folder"
            )


def check_kind(path: Path, suffix: str, *marks: str) -> None:
    """Refuse to replace a file of ours that is no earlier result of the same command.

    Parameters
    ----------
    path : Path
        The file to write.
    suffix : str
        Of its name, as in ".json".
    *marks : str
        What every such file contains.

    Raises
    ------
    UserError
        If it has another suffix, is somebody else's, or lacks a mark.
    """
    if path.suffix.lower() != suffix:
        raise UserError(f"cannot write {path}: give a name that ends in {suffix}")
    check(path)
    if path.exists():
        content = path.read_bytes()
        if not all(mark.encode() in content for mark in marks):
            raise UserError(
                f"cannot write {path}: the existing file is something else: choose "
                "another name"
            )


def _list_of(path: Path, top: Path | None = None) -> Path | None:
    """Return the nearest folder whose list matches the file, or None."""
    digest = ""
    for folder in path.parents:
        if text := _read(folder):
            name = path.relative_to(folder).as_posix()
            begin = 0
            for line in re.finditer(r"^# any (.*)\n", text, re.M):
                if _fits(name, line[1]):
                    begin = line.end()
            end = f"  {_line(name)}\n"
            listed = text.find(end, begin) >= 0
            if listed:
                digest = digest or sha256(path)
            # Any of the digests: a kill in between may leave two.
            if text.find(digest + end) >= 0 if listed else begin > 0:
                return folder
        if top is not None and folder == top.absolute():
            break
    return None


def warn_if_changed(path: Path) -> None:
    """Warn if a list has a file, but with another content.

    For formats whose readers do not notice every wrong byte.
    """
    path = path.absolute()
    for folder in path.parents:
        end = f"  {_line(path.relative_to(folder).as_posix())}\n"
        if end in (text := _read(folder)):
            if f"{sha256(path)}{end}" not in text:
                log.warning(
                    "%s is not as it was written: if you did not change it, it is "
                    "damaged, and what it shows may be wrong",
                    path,
                )
            return


def _fits(name: str, pattern: str) -> bool:
    """Return whether a name matches: `*` is anything, `#` a whole number."""
    parts = {"*": "[^/]*", "#": "[0-9]+"}
    form = "".join(parts.get(sign, re.escape(sign)) for sign in pattern)
    return re.fullmatch(form, name) is not None


def matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the files of a folder whose names match one of the patterns."""
    return sorted(
        {
            path
            for pattern in patterns
            for path in folder.glob(pattern.replace("#", "*"))
            if _fits(path.relative_to(folder).as_posix(), pattern)
        }
    )


def settle(folder: Path, streams: Iterable[str]) -> None:
    """List files that were written without `files.replacing` in their current state."""
    for path in matching(folder, streams):
        if path.is_file() and not path.is_symlink():
            record(path, sha256(path))


def record(path: Path, digest: str) -> None:
    """List a file as ours, in the nearest folder that was claimed, or in its own.

    Lists of folders above, which earlier commands left, stay as they are: an output
    folder that is copied or moved must hold its own list. Call it before the file gets
    its name: after a kill in between, the list has the old and the new digest.
    """
    path = path.absolute()
    folder = next((f for f in path.parents if f in _claimed), path.parent)
    name = _line(path.relative_to(folder).as_posix())
    if f"\n{digest}  {name}\n" not in _read(folder):
        _append(folder, f"{digest}  {name}")


def claim(
    folder: Path, maker: str, names: Iterable[str] = (), *, streams: Iterable[str] = ()
) -> None:
    """Prepare `folder` and its list for the files that a script is about to write.

    Temporary files that a killed run left beside these files are removed.

    Parameters
    ----------
    folder : Path
        It may hold files of others; the script writes beside them.
    maker : str
        The current script.
    names : iterable of str
        Files to be written, so that a conflict is found before the work, not after it.
    streams : iterable of str
        Patterns of files to be written without `files.replacing`: `*` is anything, `#`
        a whole number.

    Raises
    ------
    UserError
        If somebody else's file has one of these names, or the system refuses.
    """
    names, streams = list(names), list(streams)
    check(*(folder / name for name in names), maker=maker)
    check(*matching(folder, streams), maker=maker)
    lines = [f"# any {pattern}" for pattern in streams]
    if maker not in _words(_read(folder), "by"):
        lines.insert(0, f"# by {maker}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if lines:
            _append(folder, *lines)
        _claimed.add(folder.absolute())
        for place in {folder, *((folder / name).parent for name in names)}:
            remove_left(place)
    except OSError as error:
        raise UserError(
            f"cannot create the folder {folder} ({why_not(folder, error)}): choose "
            "another folder"
        ) from error


def why_not(folder: Path, error: OSError) -> str:
    """Return why a folder cannot be created; names a file that is in its place."""
    for path in (folder, *folder.parents):
        if os.path.lexists(path) and not path.is_dir():
            return f"{path} is a file"
    return error.strerror or str(error)


def adopt(folder: Path, names: Iterable[str]) -> None:
    """List the files of a script version that kept no lists."""
    if not (folder / LIST).exists():
        for name in names:
            if (folder / name).is_file():
                _append(folder, f"{sha256(folder / name)}  {_line(name)}")


def check_replaceable(folder: Path, maker: str) -> None:
    """Refuse a folder if replacing it whole would destroy somebody's files.

    Raises
    ------
    UserError
        If it is not a folder, or holds files that are not ours or that another script
        of ours wrote; names them.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: choose another output folder")
    others = [by for by in _words(_read(folder), "by") if by != maker]
    # A training in a data set, for instance, has its own list.
    for path in sorted(folder.rglob(f"*/{LIST}")):
        makers = [by for by in _words(_read(path.parent), "by") if by != maker]
        others += [f"{by} ({path.parent.relative_to(folder)})" for by in makers]
    if not _read(folder):
        inside = (_list_of(path) for path in _files(folder.absolute()))
        above = next((top for top in inside if top is not None), None)
        if above is not None:
            by = " and ".join(_words(_read(above), "by")) or "another program"
            below = folder.absolute() in above.absolute().parents
            raise UserError(
                f"{folder} {'contains' if below else 'is part of'} {above}, which {by} "
                "wrote: choose a new folder"
            )
    foreign = [path for path in _files(folder) if not is_ours(path, folder)]
    if foreign:
        names = [str(path.relative_to(folder)) for path in foreign[:_SHOWN]]
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise UserError(
            f"{folder} contains other files ({', '.join(names)}{more}): choose a new "
            "folder, or move them away"
        )
    if others:
        raise UserError(
            f"{folder} contains output of {', '.join(others)}: choose a new folder"
        )


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        listed = path.name == LIST and _read(path.parent)
        known = path.is_dir() or listed or path.name == LOCK or is_left(path)
        if path.is_symlink() or not known:
            yield path


def _read(folder: Path) -> str:
    """Return the list of a folder, empty if there is none."""
    path = folder / LIST
    try:
        stat = path.stat()
        return _content(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return ""


@functools.lru_cache(64)
def _content(path: Path, *_of_that_state: int) -> str:
    text = path.read_text(errors="surrogateescape")
    # Do not trust somebody else's file of the same name.
    return text if text.startswith(_HEAD) else ""


def _append(folder: Path, *lines: str) -> None:
    path = folder / LIST
    known = path.exists()
    if known and not _read(folder):
        raise UserError(f"{path} is not a file list of randrop: choose another folder")
    if not known:
        lines = (_HEAD, *lines)
    text = "".join(f"{line}\n" for line in lines)
    # One write: several processes append, and none may split another's lines.
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.write(handle, text.encode(errors="surrogateescape"))
    finally:
        os.close(handle)


def _words(text: str, kind: str) -> list[str]:
    """Return the text after each comment of a kind."""
    return re.findall(rf"^# {kind} (.*)$", text, re.M)


def _line(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\n", "\\n")


def _is_safe_in_git(path: Path) -> bool:
    """Return whether this is a file of the project that git has in its current state.

    The commands in README and docs/ rewrite the project's own results; git keeps the
    old ones.
    """
    if not {REPOSITORY / name for name in _RESULTS}.intersection(
        (path.resolve(), *path.resolve().parents)
    ):
        return False
    git = ["git", "-C", str(path.parent)]
    return all(
        subprocess.run([*git, *words, "--", path.name], capture_output=True).returncode
        == 0
        for words in (["ls-files", "--error-unmatch"], ["diff", "--quiet", "HEAD"])
    )
