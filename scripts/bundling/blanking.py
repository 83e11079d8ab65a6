"""Programs and libraries forget in which folder of this machine they were built."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from randrop.pycaffe.build import REPOSITORY, build_dir, caffe_root


def folders() -> list[str]:
    """Return the folders of this machine that a build may have put into its results."""
    tree = caffe_root()
    known = {str(tree), str(REPOSITORY), str(build_dir())}
    known |= {sys.prefix, str(Path.home())}
    cache = tree / "build" / "CMakeCache.txt"
    if cache.is_file():
        # As CMake was told it, perhaps by a link, or before the tree was moved.
        text = cache.read_text(errors="surrogateescape")
        known |= set(
            re.findall(r"^\w+(?:_HOME_DIRECTORY|_SOURCE_DIR):\w+=(.*)$", text, re.M)
        )
    # One name, such as /root or /src, is nobody's.
    named = [name for name in known if len(Path(name).parts) > 2]
    return sorted(named, key=lambda name: (-len(name), name))


def blank(files: Iterable[Path], names: Iterable[str]) -> None:
    """Overwrite the names of folders in files; every byte keeps its place.

    Caffe's messages have the paths of its sources, and show the last part alone.

    Parameters
    ----------
    files : iterable of Path
    names : iterable of str
        Absolute paths, longest first.
    """
    pairs = [
        (
            f"{name}/".encode(errors="surrogateescape"),
            name.encode(errors="surrogateescape"),
        )
        for name in names
    ]
    for file in files:
        old = new = file.read_bytes()
        for whole, name in pairs:
            new = new.replace(whole, b"." + b"/" * len(name))
        if new != old:
            file.write_bytes(new)
