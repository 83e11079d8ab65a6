"""Paths as users give them: from the command line and from the environment."""

import os
from pathlib import Path

from caffe_tools.errors import ToolError
from caffe_tools.planning import REPOSITORY


def resolved(path: Path) -> Path:
    """Return a path of the command line as an absolute one, without ~ and links.

    Raises
    ------
    ToolError
        If its ~ names no known user, or its links lead in a circle.
    """
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ToolError(
            f"{path}: the home folder that {path.parts[0]} stands for is not known: "
            "give the whole path"
        ) from error
    try:
        return path.resolve()
    except RuntimeError as error:
        # Python 3.13 returns such a path as it is; none of its files then exists.
        raise ToolError(f"{path}: its links lead in a circle") from error


def build_folder() -> Path:
    """Return the folder for all that is built, $RANDROP_BUILD or build/.

    Raises
    ------
    ToolError
        If no folder can be there, because a file is.
    """
    given = os.environ.get("RANDROP_BUILD")
    named = "RANDROP_BUILD" if given else "the build folder"
    remedy = "set RANDROP_BUILD to a folder, which need not exist"
    try:
        folder = Path(given or REPOSITORY / "build").resolve()
        places = (folder, *folder.parents)
        file = next((p for p in places if os.path.lexists(p) and not p.is_dir()), None)
    except RuntimeError as error:
        raise ToolError(
            f"{named} is {given}, whose links lead in a circle: {remedy}"
        ) from error
    except OSError as error:
        raise ToolError(
            f"{named} is {given}, which cannot be: {error.strerror}: {remedy}"
        ) from error
    if file is not None:
        link = file.is_symlink()
        what = "a link that leads to no folder" if link else "a file and no folder"
        where = "" if file == folder else f" is in {file}, which"
        raise ToolError(f"{named} {folder}{where} is {what}: {remedy}")
    return folder
