"""What was built where (docs/reference/builds.md)."""

import html
from collections.abc import Mapping
from typing import Any

from figures.words import bullets, listed
from randrop.report.markdown import table

TREES = {
    "debian": "Debian's package",
    "bvlc": "BVLC's master",
    "pypi": "BVLC's master, from PyPI",
}
MACHINES = {
    "bullseye": "Debian 11",
    "bookworm": "Debian 12",
    "trixie": "Debian 13",
    "sid": "Debian unstable",
    "sid+experimental": "Debian unstable, OpenCV and protobuf of experimental",
}
WAYS = {
    "cmake": "`patch_caffe.py`, CMake",
    "make": "`patch_caffe.py`, `make`",
    "hand": "by hand, CMake",
    "tool": "`build_caffe.py`",
}
_VERSIONS = (
    *("CMake", "Python", "NumPy", "protobuf", "OpenCV", "Boost", "glog", "HDF5"),
    "oneDNN",
)


def builds(content: Mapping[str, Any]) -> str:
    """Return the table of whole builds."""
    rows = [
        [
            TREES.get(cell["tree"], f"`{cell['tree']}`"),
            MACHINES[cell["machine"]],
            _compiler(cell),
            WAYS[cell["how"]],
            _result(cell),
        ]
        for cell in content["cells"]
        if cell["how"] in WAYS
    ]
    return table(["tree", "machine", "compiler", "way", "result"], rows)


def compilers(content: Mapping[str, Any]) -> str:
    """Return the table of what the compiler alone accepts."""
    rows = [
        [TREES[cell["tree"]], MACHINES[cell["machine"]], _compiler(cell), _result(cell)]
        for cell in content["cells"]
        if cell["how"] == "compile"
    ]
    return table(["tree", "machine", "compiler", "result"], rows)


def versions(content: Mapping[str, Any]) -> str:
    """Return the table of what the machines have."""
    # A machine of "tool" has its NumPy elsewhere: the others come last, and count.
    cells = [cell for cell in content["cells"] if "versions" in cell]
    cells.sort(key=lambda cell: cell["how"] != "tool")
    found = {cell["machine"]: cell["versions"] for cell in cells}
    rows = [
        [name, *(_short(found[name].get(what, "")) for what in _VERSIONS)]
        for name in MACHINES
        if name in found
    ]
    rows = [[MACHINES[name], *rest] for name, *rest in rows]
    return table(["machine", *_VERSIONS], rows)


def forks(content: Mapping[str, Any]) -> str:
    """Return what the patch tool said of each kind of tree."""
    cells = [cell for cell in content["cells"] if cell["how"] == "patch"]
    whys = ((c["tree"], c.get("why")) for c in cells if c["result"] == "patched")
    done = [f"`{tree}`" + (f" ({why})" if why else "") for tree, why in whys]
    others = [cell for cell in cells if cell["result"] != "patched"]
    refused = [f"`{cell['tree']}` is refused: {_reason(cell)}" for cell in others]
    return bullets([f"Patched: {listed(done)}.", *refused])


def _reason(cell: Mapping[str, Any]) -> str:
    """Return why a tree is refused, without the remedies that the tool adds."""
    return html.escape(cell["why"].partition(". Nothing was written")[0], quote=False)


def _compiler(cell: Mapping[str, Any]) -> str:
    name = "Clang" if "clang" in cell["compiler"] else "GCC"
    version = cell.get("versions", {}).get("compiler")
    if version is None:
        return f"`{cell['compiler']}`"
    return f"{name} {version}"


def _short(version: str) -> str:
    """Return a version without Debian's additions."""
    return version.partition("+")[0].partition("-")[0]


def _result(cell: Mapping[str, Any]) -> str:
    words = {
        "passed": "built; {tests} of our gtests pass",
        "compiles": "{files} files compile",
        "failed": "**fails**: {why}",
        "refused": "refused: {why}",
        "not run": "not run: {why}",
    }[cell["result"]]
    why = html.escape(cell.get("why", ""), quote=False).replace("|", "\\|")
    return words.format(**{**cell, "why": why})
