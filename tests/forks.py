"""Caffe trees as users have them, made from BVLC's own.

BVLC's own tree is Debian's source package without Debian's patches. Each kind is that
tree with one thing as a fork, an age or a user has it: see tests/fork_kinds.py.

    python tests/forks.py KIND DIR      # makes the tree DIR
    python tests/forks.py --list
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fork_kinds import KINDS, committed, debian, edit, git, sources

REPOSITORY = Path(__file__).resolve().parents[1]
__all__ = [
    "KINDS",
    "NoSourceError",
    "committed",
    "edit",
    "git",
    "make",
    "package",
    "pristine",
    "sources",
]


class NoSourceError(Exception):
    """Debian's source package cannot be had here."""


def package() -> Path:
    """Return the .dsc file of Debian's source package, downloaded if need be.

    Raises
    ------
    NoSourceError
        If it is neither in the cache nor to be downloaded.
    """
    sys.path += [str(REPOSITORY / folder) for folder in ("scripts", "python_layers")]
    from caffe_tools import source
    from caffe_tools.errors import ToolError
    from randrop.pycaffe.build import build_dir

    cache = build_dir() / "cache" / "caffe"
    try:
        source.fetch(cache)
    except ToolError as error:
        raise NoSourceError(str(error)) from error
    found = sorted(cache.glob("*.dsc"))
    if not found or not shutil.which("dpkg-source"):
        raise NoSourceError(f"{cache} has no source package, or dpkg-source is missing")
    return found[-1]


def pristine(folder: Path) -> Path:
    """Unpack BVLC's own tree of 2018 as `folder`, which must not exist.

    Raises
    ------
    NoSourceError
        If the package cannot be had.
    """
    _unpack(folder, "--skip-patches")
    return folder


def _unpack(folder: Path, *options: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        tree = Path(place, "tree")
        command = ["dpkg-source", *options, "-x", str(package()), str(tree)]
        subprocess.run(command, check=True, capture_output=True)
        for name in ("debian", ".pc"):
            shutil.rmtree(tree / name, ignore_errors=True)
        tree.rename(folder)


def make(kind: str, folder: Path, source: Path | None = None) -> Path:
    """Make a tree of this kind.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    folder : Path
        The tree, which must not exist.
    source : Path, optional
        BVLC's own tree from `pristine`, to copy instead of unpacking it again.

    Returns
    -------
    Path
        The tree.

    Raises
    ------
    NoSourceError
        If Debian's source package cannot be had.
    FileExistsError
        If there is such a folder.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists: give a new folder")
    change = KINDS[kind]
    if change is debian:
        _unpack(folder)
    elif source is None:
        pristine(folder)
    else:
        # Nobody compiles or patches these, and they are half of the tree.
        large = shutil.ignore_patterns("*.ipynb", "*.mat", "*.npy", "*.csv.gz")
        shutil.copytree(source, folder, symlinks=True, ignore=large)
    change(folder)
    return folder


def main() -> None:
    """Make a tree, or list the kinds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", nargs="?", choices=KINDS, metavar="KIND")
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--list", action="store_true", help="list the kinds")
    options = parser.parse_args()
    if options.list:
        for name, change in KINDS.items():
            print(f"{name:16} {change.__doc__.splitlines()[0]}")
        return
    if not options.kind or not options.folder:
        parser.error("give KIND and DIR, or --list")
    try:
        print(make(options.kind, options.folder.resolve()))
    except (NoSourceError, FileExistsError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
