"""The patches of caffe_patches/ in the order of its `series` file."""

import dataclasses
import re
from pathlib import Path

from caffe_tools import unified
from caffe_tools.errors import ToolError

SERIES = "series"
FIELDS = ("What", "Why", "Upstream")


@dataclasses.dataclass(frozen=True)
class Patch:
    """A patch and the fields of its header.

    Attributes
    ----------
    name : str
        The file name without its suffix.
    what, why, upstream : str
        What it changes, the reason, and the report upstream, if there is one.
    diffs : tuple of FileDiff
        One diff for each file.
    """

    name: str
    what: str
    why: str
    upstream: str
    diffs: tuple[unified.FileDiff, ...]


def read(folder: Path) -> tuple[Patch, ...]:
    """Read the patches that the folder's `series` file lists.

    Raises
    ------
    ToolError
        If a file is missing, malformed or lacks a header field.
    """
    lines = _text(folder / SERIES).splitlines()
    names = [line.strip() for line in lines if line.partition("#")[0].strip()]
    return tuple(_read_patch(folder / name) for name in names)


def _read_patch(path: Path) -> Patch:
    header, diffs = unified.parse(_text(path), path.name)
    fields = []
    for field in FIELDS:
        # Indented lines continue a field.
        found = re.search(rf"^{field}:(.*(?:\n[ \t].*)*)", header, re.MULTILINE)
        text = " ".join(found[1].split()) if found else ""
        if not text:
            raise ToolError(f"{path}: the header has no field '{field}: ...'")
        fields.append(text)
    return Patch(path.stem, *fields, diffs)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ToolError(
            f"{path} is missing: copy the complete folder {path.parent.name} of this "
            "project"
        ) from error
