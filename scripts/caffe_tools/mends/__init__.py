"""Fixes that let an old Caffe tree build and run with today's libraries.

Each mend fixes one problem wherever a tree has it. It is made whole or not at all, and
what it recognises but cannot mend is told with file and line. All mends are safe with
old libraries: they check versions where that matters.

A mend has a name, a purpose, `covers(path)`, `apply(text)` and `left(text)`.
"""

import os
from pathlib import Path

from caffe_tools.mends.cmake import CMAKE_MENDS
from caffe_tools.mends.code import CODE_MENDS
from caffe_tools.mends.cuda import CUDA_MENDS
from caffe_tools.mends.cudnn import CUDNN_MENDS
from caffe_tools.mends.files import FILE_MENDS
from caffe_tools.mends.makefile import MAKEFILE_MENDS
from caffe_tools.mends.mend import CMAKE, CODE, CodeMend, Mend, Remark, covers
from caffe_tools.mends.opencv import NAMES, OPENCV
from caffe_tools.mends.pycaffe import PYCAFFE_MENDS

__all__ = ["MENDS", "NAMES", "CodeMend", "Mend", "Remark", "apply", "left", "paths"]

MENDS: tuple[Mend | CodeMend, ...] = (
    OPENCV,
    *CODE_MENDS,
    *FILE_MENDS,
    *CMAKE_MENDS,
    *MAKEFILE_MENDS,
    *CUDA_MENDS,
    *CUDNN_MENDS,
    *PYCAFFE_MENDS,
)

_TOPS = ("src", "include", "tools", "examples", "python", "matlab", "cmake")


def paths(root: Path) -> list[str]:
    """Return the files of a tree that mends look at, relative to it.

    A link is left out if it leads to a file of the tree, which is there by itself.
    """
    found = []
    home = root.resolve()
    for top in ("", *_TOPS):
        start = root / top
        # os.walk would follow a link that it begins with.
        if top and start.is_symlink() and start.resolve().is_relative_to(home):
            continue
        for folder, names, files in os.walk(start):
            if not top:
                names.clear()
            names[:] = sorted(n for n in names if not n.startswith((".", "build")))
            for name in sorted(files):
                file = Path(folder, name)
                path = file.relative_to(root).as_posix()
                if not covers(f"{CODE} {CMAKE} *.py Makefile*", path):
                    continue
                # Ours is as it is to be, also where nobody recorded that it is ours.
                if is_ours(path):
                    continue
                # Not a link that leads nowhere, nor a pipe, which would wait.
                if not file.is_file():
                    continue
                if file.is_symlink() and file.resolve().is_relative_to(home):
                    continue
                found.append(path)
    return list(dict.fromkeys(found))


def is_ours(path: str) -> bool:
    """Return whether a path is in one of our folders, where no mend has business."""
    return "/caffe/randrop/" in path


def apply(path: str, text: str) -> tuple[str, list[str]]:
    """Return the mended text of a file and the purposes of the mends that it needed."""
    whys = []
    for mend in MENDS:
        if mend.covers(path):
            mended = mend.apply(text)
            if mended != text:
                whys.append(f"{mend.name}: {mend.why}")
            text = mended
    return text, list(dict.fromkeys(whys))


def left(path: str, text: str) -> list[str]:
    """Return a line for each place that a mend recognises but cannot mend.

    Parameters
    ----------
    path : str
        The file, relative to the tree.
    text : str
        Its content, mended.
    """
    # Not str.splitlines, which also splits at form feeds.
    lines = text.split("\n")
    remarks = [r for mend in MENDS if mend.covers(path) for r in mend.left(text)]
    return [
        f"{path}:{remark.line}: {lines[remark.line - 1].strip()}: {remark.what}"
        for remark in sorted(remarks, key=lambda r: r.line)
    ]
