"""Build Caffe trees on other Debians with other compilers, and write what happened.

Each cell is TREE/MACHINE/COMPILER/HOW: a tree (a kind of tests/forks.py, or "pypi", the
tree that build_caffe.py takes from PyPI) is patched and built on a machine, which is a
Debian of another age in a folder below build/matrix, and our gtests run there. The
result is written into results/builds.json after each cell, so that a stopped run goes
on with the next one. scripts/readme_tables.py makes the tables of builds.md from it.

    python tests/matrix.py --list                           # cells, and what is known
    python tests/matrix.py                                  # all that are not known yet
    python tests/matrix.py bvlc/trixie/g++-14/cmake --again # this one, once more
    python tests/matrix.py --not-run "no time"              # say so of the rest

It takes root, debootstrap and the Debian archive of this machine's apt configuration. A
machine takes 2 minutes and 2.5 GB; a whole build about 8 minutes of CPU time, the
compiler alone 2.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import debian_root
import forks
import matrix_build
from matrix_cells import CELLS, HOWS, MACHINES, PACKAGES, Cell, parse, passed

REPOSITORY = Path(__file__).resolve().parents[1]
OUT = REPOSITORY / "results" / "builds.json"
SIGN = "Caffe trees x machines, by tests/matrix.py"
BARE = ("python3", "ca-certificates", "ccache")
"""What a machine of "tool" begins with."""


def read(path: Path) -> dict[str, dict]:
    """Return the cells of a result file; none if it does not exist.

    Raises
    ------
    ValueError
        If the file is not one of ours.
    """
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    if not isinstance(content, dict) or content.get("what") != SIGN:
        raise ValueError(
            f"{path} was not written by tests/matrix.py: give another --out"
        )
    return {"/".join(cell[k] for k in ORDER): cell for cell in content["cells"]}


ORDER = ("tree", "machine", "compiler", "how")


def write(path: Path, cells: dict[str, dict]) -> None:
    """Write the cells in the order of CELLS, others after them."""
    order = [cell.key for cell in CELLS]
    keys = sorted(cells, key=lambda k: (order.index(k) if k in order else 10**6, k))
    content = {"what": SIGN, "cells": [cells[key] for key in keys]}
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(json.dumps(content, indent=1) + "\n")
    new.replace(path)


def machine(folder: Path, name: str, bare: bool) -> Path:
    """Return the root of a machine, made if it does not exist.

    Raises
    ------
    RuntimeError
        If it cannot be made.
    """
    root = folder / (f"{name}-bare" if bare else name)
    if root.exists():
        return root
    suite, _, more = name.partition("+")
    print(f"  making {root} (2 minutes)", flush=True)
    if bare:
        return debian_root.make(root, suite, BARE)
    making = root.with_name(root.name + ".making")
    if making.exists():
        debian_root.remove(making)
    debian_root.make(making, suite)
    debian_root.install(making, (*PACKAGES, *MACHINES[name][1]))
    if more:
        sources = making / "etc/apt/sources.list"
        text = sources.read_text()
        sources.write_text(text + text.replace(suite, more))
        # Their packages alone: others of such a suite need not fit these.
        (making / "etc/apt/preferences.d/90randrop").write_text(
            f"Package: src:opencv src:protobuf\nPin: release a={more}\n"
            "Pin-Priority: 990\n"
        )
        newer = (name for name in PACKAGES if re.search("opencv|protobuf", name))
        debian_root.install(making, tuple(newer))
    making.rename(root)
    return root


def settings(cell: Cell, tree: str, jobs: int) -> dict[str, str]:
    """Return the environment of a cell."""
    kept = ("PIP_CERT", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "HTTPS_PROXY")
    # Cells with the same compiler share what they compiled.
    ccache = {
        "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
        "CMAKE_C_COMPILER_LAUNCHER": "ccache",
        "CCACHE_DIR": "/build/ccache",
        "CCACHE_BASEDIR": "/build",
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_SLOPPINESS": "time_macros,include_file_mtime,include_file_ctime",
    }
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "TREE": tree,
        "CXX": cell.compiler,
        "CC": cell.compiler.replace("clang++", "clang").replace("g++", "gcc"),
        "JOBS": str(jobs),
        **ccache,
        "DEBIAN_FRONTEND": "noninteractive",
        "GLOG_minloglevel": "2",
        "OMP_NUM_THREADS": str(jobs),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def versions(root: Path, cell: Cell) -> dict[str, str]:
    """Return the versions of what a root builds with."""
    env = settings(cell, "/", 1)
    command = ["sh", "-c", matrix_build.VERSIONS]
    lines = debian_root.run(root, command, env=env).stdout.splitlines()
    found = (line.partition("=")[::2] for line in lines if "=" in line)
    return {name: value.strip() for name, value in found if value.strip()}


def place(cell: Cell, root: Path) -> Path:
    """Put the cell's tree into the root; return the folder."""
    folder = root / "build" / cell.key.replace("/", "-")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    tree = folder / "caffe"
    if cell.tree == "pypi" and cell.how != "tool":
        from caffe_tools import pypi_source

        pypi_source.unpack(pypi_source.download(folder, sys.executable), tree)
    elif cell.tree != "pypi":
        forks.make(cell.tree, tree)
    return tree


def patch(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Patch a tree, by this machine's Python: Debian 11's is too old for the tool."""
    program = str(REPOSITORY / "scripts" / "patch_caffe.py")
    return subprocess.run(
        [sys.executable, program, str(tree), *options],
        capture_output=True,
        text=True,
        check=False,
    )


def answer(tree: Path, said: str) -> dict[str, str]:
    """Return what came of a tree that was refused: its advice is followed once."""
    numbers = re.findall(r"--number \S+=\d+", said)
    if numbers:
        words = [word for number in numbers for word in number.split()]
        again = patch(tree, *words)
        if again.returncode == 0:
            how = f"with the {len(numbers)} numbers that it advises"
            return {"result": "patched", "why": how}
        said = again.stderr
    why = said.strip().removeprefix("error: ").replace(f"{tree}/", "")
    return {"result": "refused", "why": why.replace(str(tree), "the tree")}


def reason(said: str, status: int) -> str:
    """Return where a build failed, and its first errors."""
    steps = re.findall(r"^STEP (.*)$", said, re.MULTILINE)
    errors = re.findall(
        r"^.*(?:error:|Error at|undefined reference|\[  FAILED  \]).*$",
        said,
        re.MULTILINE,
    )
    words = " / ".join(dict.fromkeys(error.strip() for error in errors[:3]))
    return f"{steps[-1] if steps else 'start'}: {words or f'exit status {status}'}"[
        :400
    ]


def run(cell: Cell, roots: Path, jobs: int, logs: Path) -> dict[str, object]:
    """Do what a cell says; return what happened."""
    result: dict[str, object] = dict(zip(ORDER, cell.key.split("/"), strict=True))
    if cell.how == "patch":
        root = roots / "patched"
    else:
        # Where apt has no Debian archive, it cannot install what a bare one lacks.
        bare = cell.how == "tool" and cell.tree != "pypi"
        root = machine(roots, cell.machine, bare)
    start = time.monotonic()
    tree = place(cell, root)
    if cell.how not in ("tool", "hand"):
        patched = patch(tree)
        if patched.returncode:
            return {**result, **answer(tree, patched.stderr)}
        if cell.how == "patch":
            return {**result, "result": "patched"}
        names = re.findall(r"^  (\S+\.cpp)$", patched.stdout, re.MULTILINE)
        (tree / "changed.txt").write_text("".join(f"{name}\n" for name in names))
    log = logs / (cell.key.replace("/", "-") + ".log")
    with log.open("w+") as stream:
        status = debian_root.run(
            root,
            ["bash", "-e", "-c", matrix_build.script(cell)],
            env=settings(cell, f"/{tree.relative_to(root)}", jobs),
            binds={REPOSITORY: "/repository"},
            network=cell.how == "tool",
            capture_output=False,
            stdout=stream,
            stderr=subprocess.STDOUT,
        ).returncode
    said = log.read_text(errors="replace")
    result |= {
        "seconds": round(time.monotonic() - start),
        "versions": versions(root, cell),
    }
    if status:
        return {**result, "result": "failed", "why": reason(said, status)}
    if cell.how == "compile":
        files = re.search(r"^COMPILED (\d+)", said, re.MULTILINE)
        return {**result, "result": "compiles", "files": int(files[1])}
    tests = passed(said)
    if not tests:
        return {**result, "result": "failed", "why": "test: no gtest of ours passed"}
    return {**result, "result": "passed", "tests": tests}


def main() -> int:
    """Run the cells; return 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("cells", nargs="*", metavar="TREE/MACHINE/COMPILER/HOW")
    add("--list", action="store_true", help="list cells and results, and stop")
    add("--again", action="store_true", help="also the cells that are known")
    add("--not-run", metavar="WHY", help="write that these cells were not run, and why")
    add("--out", type=Path, default=OUT, help="the result file")
    add("--roots", type=Path, help="folder of the machines (build/matrix)")
    add("--jobs", type=int, default=os.cpu_count(), help="compilers at once")
    options = parser.parse_args()
    try:
        chosen = [parse(key) for key in options.cells] or CELLS
        known = read(options.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.list:
        for cell in chosen:
            result = known.get(cell.key, {})
            words = result.get("result", "-"), result.get("why", "")
            print(f"{cell.key:44} {' '.join(words)}")
        print(*(f"{name}: {what}" for name, what in HOWS.items()), sep="\n")
        return 0
    unable = debian_root.why_not()
    if unable:
        print(f"error: {unable}", file=sys.stderr)
        return 2
    build = Path(os.environ.get("RANDROP_BUILD", REPOSITORY / "build"))
    roots = options.roots or build.resolve() / "matrix"
    logs = roots / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    failed = 0
    for cell in chosen:
        was = known.get(cell.key, {}).get("result", "not run")
        if was != "not run" and not options.again:
            continue
        print(cell.key, flush=True)
        names = dict(zip(ORDER, cell.key.split("/"), strict=True))
        result = {**names, "result": "not run", "why": options.not_run}
        try:
            if not options.not_run:
                result = run(cell, roots, options.jobs, logs)
        except (RuntimeError, OSError) as error:
            result["why"] = str(error).strip().splitlines()[-1][:300]
        known = read(options.out) | {cell.key: result}
        write(options.out, known)
        failed += result["result"] == "failed"
        print(f"  {result['result']} {result.get('why', '')}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
