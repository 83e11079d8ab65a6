"""Configuring and building a patched Caffe tree, with progress reports."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from caffe_tools import failures, patching
from caffe_tools.errors import ToolError
from caffe_tools.planning import registered_types

_SOURCES = (".cpp", ".cu", ".cc", ".hpp", ".h", ".proto")
_PRODUCTS = {
    "caffe": "build/lib/libcaffe.so",
    "caffe.bin": "build/tools/caffe",
    "pycaffe": "python/caffe/_caffe.so",
    "test.testbin": "build/test/test.testbin",
    "test_engine.testbin": "build/test/test_engine.testbin",
}
# Where program, pycaffe and tests look for libcaffe: relative to themselves, so that a
# moved or copied tree runs its own. The first entry is for pycaffe, which Python opens
# through a link in python/caffe, and also works for the others. CMake would pad the
# list with empty entries, to have room for another path at installation, and to the
# loader an empty entry means the current folder, whatever libraries lie there.
_PLACES = (
    "-DCMAKE_BUILD_RPATH=$ORIGIN/../../build/lib",
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",
    "-DCMAKE_NO_BUILTIN_CHRPATH=ON",
)
SANITIZE = [
    # Debug information gives line numbers; Boost.Python's types have no vptr to check.
    "-DCMAKE_CXX_FLAGS=-fsanitize=address,undefined -fno-sanitize=vptr "
    "-fno-omit-frame-pointer",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -g1 -DNDEBUG",
]
"""CMake's flags for a build that checks addresses and finds undefined behaviour."""
_PERCENT = re.compile(r"^\[ *(\d+)%\]")


def say(words: str) -> None:
    """Announce a step before it starts."""
    print(words, flush=True)


def configure(tree: Path, python: Path, flags: Iterable[str], log: Path) -> None:
    """Run CMake if the flags or the set of sources changed since its last run.

    Raises
    ------
    ToolError
        If it fails.
    """
    build = tree / "build"
    command = [
        # Progress is parsed from make's output, so ignore CMAKE_GENERATOR.
        *("cmake", "-S", str(tree), "-B", str(build), "-G", "Unix Makefiles"),
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_POLICY_VERSION_MINIMUM=3.5",
        "-DBLAS=Open",
        "-Dpython_version=3",
        f"-DPYTHON_EXECUTABLE={python}",
        "-DUSE_LEVELDB=OFF",
        "-DUSE_OPENMP=ON",
        "-DBUILD_docs=OFF",
        "-DBUILD_python=ON",
        "-DBUILD_python_layer=ON",
        *_PLACES,
        *flags,
    ]
    # CMake globs the sources only when it configures.
    files = sorted(str(p) for p in (tree / "src").rglob("*") if p.suffix in _SOURCES)
    files = [file for file in files if not file.endswith((".pb.cc", ".pb.h"))]
    key = hashlib.sha256(json.dumps([command, files]).encode()).hexdigest()
    stamp = build / "randrop-configured"
    if stamp.exists() and stamp.read_text() == key:
        return
    known = build / "CMakeCache.txt"
    made = known.exists() and re.search(
        r"^CMAKE_CACHEFILE_DIR:INTERNAL=(.*)$", known.read_text(), re.MULTILINE
    )
    if made and Path(made[1]).resolve() != build.resolve():
        raise ToolError(
            f"{build} was built in {made[1]} and then moved or copied: it runs, but "
            "CMake cannot update it here. Rebuild with 'python3 "
            "scripts/build_caffe.py --clean', or move it back"
        )
    say("Configuring (CMake, 5 s)")
    # A failed run leaves its flags in CMake's cache, so the old stamp is void.
    stamp.unlink(missing_ok=True)
    build.mkdir(exist_ok=True)
    # CMake runs Python, which would import packages from the current folder.
    result = subprocess.run(
        command, cwd=build, capture_output=True, text=True, check=False
    )
    output = result.stdout + result.stderr
    log.write_text(" ".join(command) + "\n" + output)
    if result.returncode:
        _failed(log, "CMake cannot configure Caffe", failures.of_cmake(output))
    if "CUDA is not detected" in output:
        _failed(
            log,
            "CMake finds no CUDA toolkit, which --gpu needs: install it, or build "
            "without --gpu",
            [line for line in output.splitlines() if "CUDA" in line][:3],
        )
    stamp.write_text(key)


def make(tree: Path, targets: Iterable[str], jobs: int, log: Path) -> None:
    """Build targets with make, showing a progress bar or lines.

    Raises
    ------
    ToolError
        If it fails; shows the first errors and the log.
    """
    command = ["make", "-C", str(tree / "build"), f"-j{jobs}", *targets]
    start, shown = time.monotonic(), -1
    tty = sys.stdout.isatty()
    with (
        log.open("w") as stream,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        for line in process.stdout:
            stream.write(line)
            match = _PERCENT.match(line)
            if not match or int(match[1]) <= shown:
                continue
            percent, seconds = int(match[1]), time.monotonic() - start
            if tty:
                bar = "#" * (percent * 40 // 100)
                print(f"\r  [{bar:40}] {percent:3} %  {seconds:4.0f} s", end="")
                sys.stdout.flush()
                shown = percent
            elif "Building" in line and percent // 10 > shown // 10:
                say(f"  {percent:3} %  {seconds:4.0f} s")
                shown = percent
        status = process.wait()
    if tty and shown >= 0:
        print()
    if status:
        output = log.read_text(errors="replace")
        _failed(log, "Caffe does not compile", failures.of_make(output))


def _failed(log: Path, what: str, errors: list[str]) -> NoReturn:
    raise ToolError(
        f"{what}:\n  "
        + "\n  ".join(errors)
        + f"\nFull log: {log}. If a header or library is missing, install it; "
        "--clean rebuilds from scratch"
    )


def build(
    tree: Path,
    python: Path,
    flags: list[str],
    targets: list[str],
    jobs: int,
    logs: Path,
    mends_only: bool = False,
    numbers: dict[str, int] | None = None,
) -> None:
    """Patch, configure and build a tree, skipping steps that are up to date.

    Raises
    ------
    ToolError
        If a step fails, or a layer type is not registered afterwards.
    """
    logs.mkdir(parents=True, exist_ok=True)
    changed = patching.apply(tree, numbers, mends_only)
    if changed:
        say(f"Patched {len(changed)} files of {tree}")
    stamp = tree / "build" / "randrop-built"
    state = _state_of(tree, python, flags)
    built = _targets_built(stamp, state, tree)
    if not changed and built.issuperset(targets):
        say(f"Caffe is built: {tree}")
        return
    # A run with other flags that stops halfway leaves neither the old nor the new.
    stamp.unlink(missing_ok=True)
    configure(tree, python, flags, logs / "cmake.log")
    if "test_engine.testbin" in targets and not has_onednn(tree):
        say("oneDNN is not installed (Debian: libdnnl-dev): Caffe uses its own layers")
        targets = [name for name in targets if name != "test_engine.testbin"]
    say(
        f"Building {', '.join(targets)} with {jobs} jobs (several minutes the first "
        "time)"
    )
    make(tree, targets, jobs, logs / "make.log")
    link_program(tree)
    link_python(tree)
    if "pycaffe" in targets and not mends_only:
        check_registered(tree, python)
    # The build itself puts files beside the sources, so read the state again.
    record = {
        "state": _state_of(tree, python, flags),
        "targets": sorted(built.union(targets)),
    }
    stamp.write_text(json.dumps(record))


def has_onednn(tree: Path) -> bool:
    """Return whether CMake found oneDNN for a configured tree."""
    cache = (tree / "build" / "CMakeCache.txt").read_text()
    found = re.findall(r"^DNNL_(?:LIBRARY|INCLUDE_DIR):\w+=(.*)$", cache, re.MULTILINE)
    return len(found) == 2 and not any(x.endswith("NOTFOUND") for x in found)


def _targets_built(stamp: Path, state: str, tree: Path) -> set[str]:
    """Return the targets that were built from this state and whose products exist."""
    try:
        record = json.loads(stamp.read_text())
        if record["state"] != state:
            return set()
        targets = set(record["targets"])
    except (OSError, ValueError, TypeError, KeyError):
        return set()
    return {name for name in targets if (tree / _PRODUCTS[name]).exists()}


def _state_of(tree: Path, python: Path, flags: list[str]) -> str:
    """Return a digest of the sources' names and times and of the build settings."""
    digest = hashlib.sha256(json.dumps([str(python), flags]).encode())
    files = [tree / "CMakeLists.txt"]
    for folder in ("src", "include", "tools", "python", "cmake"):
        files += sorted((tree / folder).rglob("*"))
    for file in files:
        if file.suffix in (".pyc", ".so") or not file.is_file():
            continue
        stat = file.stat()
        digest.update(f"{file}{stat.st_mtime_ns}{stat.st_size}".encode())
    return digest.hexdigest()


def link_program(tree: Path) -> None:
    """Link the program as `caffe`, whatever name CMake gave it."""
    tools = tree / "build" / "tools"
    if (tools / "caffe.bin").exists() and not (tools / "caffe").exists():
        (tools / "caffe").symlink_to("caffe.bin")


def link_python(tree: Path) -> None:
    """Link pycaffe's library relative to the tree, not to where it was built."""
    link, library = tree / "python/caffe/_caffe.so", tree / "build/lib/_caffe.so"
    here = os.path.relpath(library, link.parent)
    if link.is_symlink() and library.exists() and os.readlink(link) != here:  # noqa: PTH115
        new = link.with_name("_caffe.so.new")
        new.unlink(missing_ok=True)
        new.symlink_to(here)
        new.replace(link)


def _cxx_flags(tree: Path) -> str:
    """Return the compiler flags that the tree was configured with."""
    cache = tree / "build" / "CMakeCache.txt"
    text = cache.read_text() if cache.exists() else ""
    found = re.search(r"^CMAKE_CXX_FLAGS:\w+=(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _sanitizer() -> dict[str, str]:
    """Return the environment in which Python can load a sanitized library."""
    libraries = []
    for name in ("libasan.so", "libstdc++.so"):
        command = ["gcc", f"-print-file-name={name}"]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        libraries.append(found.stdout.strip())
    return {"LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0"}


def check_registered(tree: Path, python: Path) -> None:
    """Check that Caffe knows every layer type that we registered.

    Raises
    ------
    ToolError
        If a type is missing, or pycaffe cannot be imported.
    """
    # In isolated mode, Python does not import from the current folder.
    ask = f"import sys; sys.path.append({str(tree / 'python')!r})\n"
    ask += "import caffe; print(*caffe.layer_type_list())"
    result = subprocess.run(
        [str(python), "-I", "-c", ask],
        env={
            **os.environ,
            **(_sanitizer() if "-fsanitize" in _cxx_flags(tree) else {}),
            "GLOG_minloglevel": "2",
        },
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode:
        reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
        raise ToolError(
            f"{python} cannot import pycaffe from {tree}: {reason}\nIf that Python "
            "changed since the build, run build_caffe.py --clean"
        )
    missing = set(registered_types()) - set(result.stdout.split())
    library = tree / "build" / "lib" / "libcaffe.so"
    if missing:
        raise ToolError(
            f"{library} does not know the layer type(s) {', '.join(sorted(missing))}: "
            "run build_caffe.py --clean"
        )
    say(f"{library} knows {', '.join(registered_types())}")
    if "Python" not in result.stdout.split():
        raise ToolError(
            f"{library} has no Python layers, which read the data: build it with "
            "-DBUILD_python_layer=ON and with Boost.Python for the Python in use"
        )
