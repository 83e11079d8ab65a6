"""Which Caffe trees are built on which machines, for tests/matrix.py."""

import re
from dataclasses import dataclass
from pathlib import Path

import forks

REPOSITORY = Path(__file__).resolve().parents[1]
HOWS = {
    "cmake": "patch_caffe.py, then Caffe's own CMake",
    "make": "patch_caffe.py, then Caffe's own Makefile",
    "hand": "docs/how-to/patch-by-hand.md, then Caffe's own CMake",
    "tool": "build_caffe.py, on a machine without the packages, or as an Ubuntu (pypi)",
    "compile": "patch_caffe.py, then every changed .cpp file through the compiler",
    "patch": "patch_caffe.py alone",
}
"""What is done in a cell."""

PACKAGES = (
    *("build-essential", "ccache", "cmake", "dpkg-dev", "git", "pkg-config"),
    *("libboost-context-dev", "libboost-filesystem-dev", "libboost-python-dev"),
    *("libboost-regex-dev", "libboost-thread-dev"),
    *("libdnnl-dev", "libgflags-dev", "libgoogle-glog-dev", "libhdf5-dev"),
    *("liblmdb-dev", "libopenblas-dev", "libopencv-dev", "libprotobuf-dev"),
    *("protobuf-compiler", "python3-dev", "python3-numpy", "python3-venv"),
)
"""What a machine has before a tree is built; the cells of "tool" install it."""

MACHINES = {
    "bullseye": ("Debian 11", ("clang", "libomp-dev", "g++-9", "g++-10")),
    "bookworm": ("Debian 12", ("clang", "libomp-dev", "g++-11", "g++-12")),
    "trixie": ("Debian 13", ("clang", "libomp-dev", "g++-13", "g++-14")),
    "sid": ("Debian unstable", ("clang", "libomp-dev", "g++-15", "g++-16")),
    "sid+experimental": (
        "Debian unstable, OpenCV and protobuf of experimental",
        ("g++-15",),
    ),
}
"""Debian's suite, its name for people, and the compilers in it."""


@dataclass(frozen=True)
class Cell:
    """A tree, a machine, a compiler, and what is done there."""

    tree: str
    machine: str
    compiler: str
    how: str

    @property
    def key(self) -> str:
        """Return its name on the command line."""
        return "/".join((self.tree, self.machine, self.compiler, self.how))


def _several(trees: str, machine: str, compilers: str, how: str) -> list[Cell]:
    return [
        Cell(tree, machine, compiler, how)
        for tree in trees.split()
        for compiler in compilers.split()
    ]


CELLS = [
    # What the quickstart does on a bare machine, and where apt knows no Debian archive.
    *_several("debian", "trixie", "g++-14", "tool"),
    *_several("pypi", "bookworm", "g++-12", "tool"),
    # What a user with a tree of his own does, on old and new machines.
    *_several("bvlc", "bookworm", "g++-12", "cmake"),
    *_several("bvlc", "sid+experimental", "g++-15", "cmake"),
    # Its Python is too old for the patch tool.
    *_several("debian", "bullseye", "g++-10", "hand"),
    *_several("bvlc", "bookworm", "g++-12", "make"),
    *_several("bvlc", "trixie", "clang++", "cmake"),
    # Other compilers, without a whole build.
    *_several("bvlc", "bullseye", "g++-9 clang++", "compile"),
    *_several("bvlc", "bookworm", "g++-11 clang++", "compile"),
    *_several("bvlc", "trixie", "g++-13 clang++", "compile"),
    *_several("bvlc", "sid", "g++-15 g++-16 clang++", "compile"),
    # Trees as forks and users have them.
    *_several(" ".join(forks.KINDS), "bookworm", "g++-12", "patch"),
]
"""What can be asked for; others are made from their key."""


def parse(key: str) -> Cell:
    """Return the cell of a key.

    Raises
    ------
    ValueError
        If it is not a key; says why.
    """
    words = key.split("/")
    if len(words) != 4:
        raise ValueError(f"{key}: give TREE/MACHINE/COMPILER/HOW, as --list shows")
    cell = Cell(*words)
    trees = ("pypi", *forks.KINDS)
    asked = ((cell.tree, trees), (cell.machine, MACHINES), (cell.how, HOWS))
    for word, known in asked:
        if word not in known:
            raise ValueError(f"{key}: {word} is none of {', '.join(known)}")
    return cell


def our_tests() -> list[str]:
    """Return the names by which Caffe's CMake knows our test files."""
    folder = REPOSITORY / "caffe_layers" / "src" / "caffe" / "test"
    return sorted(path.stem.removeprefix("test_") for path in folder.glob("*.cpp"))


def passed(said: str) -> int | None:
    """Return how many gtests passed, or None if one failed or none ran."""
    counts = re.findall(r"^\[  PASSED  \] (\d+) tests?", said, re.MULTILINE)
    if re.search(r"^\[  FAILED  \]", said, re.MULTILINE):
        return None
    return sum(map(int, counts)) or None
