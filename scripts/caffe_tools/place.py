"""The build folder: ours and nobody else's."""

import fcntl
import os
from pathlib import Path
from typing import IO

from caffe_tools.errors import ToolError

MARK = ".randrop-build"
"""File that says that the folders of NAMES beside it are ours to replace."""

_TREES = ("caffe", "caffe-unpatched")
NAMES = (
    *("venv", "judges", "judges.new", "cuda", "cache", "logs"),
    *(f"{tree}{end}" for tree in _TREES for end in ("", ".new", ".old")),
)
"""What the scripts make and replace in the folder."""

# The files that a version without the mark left.
_SIGNS = ("venv/requirements.sha256", *(f"{tree}/.randrop-origin" for tree in _TREES))


def check(root: Path) -> None:
    """Refuse a build folder in which somebody's files have one of our names.

    Raises
    ------
    ToolError
        Names the files.
    """
    taken = [name for name in NAMES if os.path.lexists(root / name)]
    known = any((root / sign).exists() for sign in (MARK, *_SIGNS))
    if taken and not known:
        raise ToolError(
            f"{root} contains {', '.join(taken)}, which this script did not create "
            "and would replace: set RANDROP_BUILD to another folder, or move them "
            "away"
        )


def take(root: Path) -> IO[str]:
    """Make the build folder ours, and lock it while the returned file is open.

    Other files in it are left alone.

    Raises
    ------
    ToolError
        If somebody's files have one of our names, or another build is running.
    """
    check(root)
    mark = root / MARK
    root.mkdir(parents=True, exist_ok=True)
    stream = mark.open("a+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.seek(0)
        holder = stream.read().strip() or "another process"
        stream.close()
        raise ToolError(
            f"{holder} is building in {root}: wait until it ends, or set "
            "RANDROP_BUILD to another folder"
        ) from error
    except OSError:
        # The file system has no locks, so nothing can be detected.
        pass
    stream.truncate(0)
    stream.write(f"build_caffe.py (process {os.getpid()} on {os.uname().nodename})\n")
    stream.flush()
    return stream


def check_build(tree: Path) -> None:
    """Refuse to build in a user's tree that already has a build of the user's.

    Raises
    ------
    ToolError
    """
    build = tree / "build"
    ours = any((build / name).exists() for name in (MARK, "randrop-configured"))
    empty = build.is_dir() and not build.is_symlink() and not any(build.iterdir())
    if os.path.lexists(build) and not (ours or empty):
        raise ToolError(
            f"this script did not create the build in {build}: move it away, or omit "
            "--in-place to build a copy"
        )


def take_build(tree: Path) -> None:
    """Make the folder of the build in a user's tree ours.

    Raises
    ------
    ToolError
        If the user has a build there.
    """
    check_build(tree)
    build = tree / "build"
    build.mkdir(exist_ok=True)
    (build / MARK).touch()
