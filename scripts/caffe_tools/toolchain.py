"""What a build needs on the machine: Debian packages, Python packages."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from caffe_tools.errors import ToolError
from caffe_tools.planning import REPOSITORY

PACKAGES = (
    "build-essential",
    "cmake",
    "dpkg-dev",
    "libboost-context-dev",
    "libboost-filesystem-dev",
    "libboost-python-dev",
    "libboost-system-dev",
    "libboost-thread-dev",
    "libgflags-dev",
    "libgoogle-glog-dev",
    "libhdf5-dev",
    "liblmdb-dev",
    "libopenblas-dev",
    "libopencv-dev",
    "libdnnl-dev",
    "libprotobuf-dev",
    "protobuf-compiler",
    "python3-dev",
    "python3-venv",
)
VENV_PACKAGES = ("python3-venv",)
PYPROJECT = REPOSITORY / "pyproject.toml"


def default_jobs() -> int:
    """Return how many compilers to run: the processors ours, and 1.5 GB for each."""
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:
        processors = os.cpu_count() or 1
    try:
        text = Path("/proc/meminfo").read_text()
        free = int(re.search(r"MemAvailable:\s+(\d+)", text)[1]) * 1024
    except (OSError, TypeError):
        return processors
    return max(1, min(processors, free // 1_500_000_000))


def install_packages(
    needed: tuple[str, ...], allowed: bool, say: Callable[[str], None]
) -> None:
    """Install the Debian packages that are missing.

    Raises
    ------
    ToolError
        If some are missing and may not or cannot be installed; names the command.
    """
    if not shutil.which("dpkg-query"):
        # Whether the libraries are there too, CMake will say.
        if needed is VENV_PACKAGES or (
            shutil.which("cmake") and shutil.which("protoc")
        ):
            return
        raise ToolError(
            "this machine has no dpkg. Install what Caffe needs (as Debian names it: "
            f"{' '.join(needed)}), then run this again"
        )
    missing = [name for name in needed if not _is_installed(name)]
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    root = os.geteuid() == 0
    prefix = "" if root else "sudo "
    by_hand = f"{prefix}apt-get update\n  {prefix}{' '.join(install)}"
    if not allowed or not (root or shutil.which("sudo")):
        raise ToolError(f"Debian packages are missing. Install them:\n  {by_hand}")
    say(f"Installing {len(missing)} Debian packages (1 to 4 minutes)")
    # sudo drops the environment, so the setting is given on the command line.
    start = ["env", "DEBIAN_FRONTEND=noninteractive"]
    if not root:
        start = ["sudo", *start]
    # A broken archive of another vendor fails the update, not what we install.
    results = [
        subprocess.run([*start, *part], capture_output=True, text=True, check=False)
        for part in (["apt-get", "update"], install)
    ]
    if results[-1].returncode:
        said = [line for r in results for line in r.stderr.strip().splitlines()]
        said = [line for line in said if line.startswith("E:")] or said
        raise ToolError(
            "apt-get cannot install what Caffe needs:\n  "
            + "\n  ".join(said[-5:])
            + f"\nBy hand:\n  {by_hand}"
        )


def _is_installed(name: str) -> bool:
    result = subprocess.run(
        ["dpkg-query", "-W", "-f=${db:Status-Status}", name],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout == "installed"


def requirements(
    groups: tuple[str, ...] = ("test", "docs"), own: bool = True
) -> list[str]:
    """Return the pinned packages of some groups of pyproject.toml.

    The lists there are plain; Python 3.10 has no reader of TOML, so this reads them.

    Parameters
    ----------
    groups : tuple of str
        Names of dependency groups.
    own : bool
        With the packages of the project itself, before those of the groups.
    """
    text = PYPROJECT.read_text()
    lists = dict(re.findall(r"^(\w+) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL))
    return [
        item
        for name in (*(("dependencies",) if own else ()), *groups)
        for item in re.findall(r'^\s*"(.*)",$', lists[name], re.MULTILINE)
    ]


def make_venv(venv: Path, python: str | None, say: Callable[[str], None]) -> Path:
    """Make the virtual environment, or bring it up to date; return its Python.

    Parameters
    ----------
    venv : Path
        Where it is, or will be.
    python : str or None
        The interpreter that it is to be made of; None for the one there is, and for a
        new one Debian's, to which Debian's Boost.Python belongs.
    say : callable
        Told before a long step.

    Raises
    ------
    ToolError
        If it cannot be made, is made of another interpreter than the one asked for,
        or packages cannot be installed.
    """
    wanted = requirements()
    stamp = venv / "requirements.sha256"
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    interpreter = venv / "bin" / "python"
    if python:
        _check_interpreter(python, interpreter)
    if stamp.exists() and stamp.read_text() == digest and interpreter.exists():
        return interpreter
    base = python or next(
        p for p in ("/usr/bin/python3", sys.executable) if Path(p).exists()
    )
    say(f"Installing {len(wanted)} Python packages into {venv} (a minute)")
    if not interpreter.exists():
        try:
            run_quietly([base, "-I", "-m", "venv", str(venv)], "cannot make build/venv")
        except ToolError:
            # Half of one, without pip, would stop every later run.
            shutil.rmtree(venv, ignore_errors=True)
            raise
    run_quietly(
        [str(interpreter), "-I", "-m", "pip", "install", "-q", *wanted],
        "cannot install the Python packages of pyproject.toml",
    )
    stamp.write_text(digest)
    return interpreter


def install_judges(folder: Path, python: Path, say: Callable[[str], None]) -> None:
    """Install the packages whose losses ours are tested against, all or none.

    They go into a folder of their own, which the tests put at the end of their path:
    nobody else needs them.

    Parameters
    ----------
    folder : Path
        Where they are, or will be.
    python : Path
        The interpreter that is to import them.
    say : callable
        Told before the download.

    Raises
    ------
    ToolError
        If they cannot be installed.
    """
    whole = requirements(("judges",), own=False)
    alone = requirements(("judges_alone",), own=False)
    digest = hashlib.sha256("\n".join(whole + alone).encode()).hexdigest()
    stamp = folder / "requirements.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    say(f"Installing PyTorch, MONAI, nnU-Net and PyMIC into {folder}, for the tests")
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    pip = [str(python), "-I", "-m", "pip", "install", "-q", "--target", str(temporary)]
    run_quietly([*pip, *whole], "cannot install PyTorch")
    run_quietly([*pip, "--no-deps", *alone], "cannot install MONAI and the others")
    (temporary / stamp.name).write_text(digest)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _check_interpreter(python: str, interpreter: Path) -> None:
    """Refuse an interpreter that is missing, old, or not the one of the venv."""
    ask = "import sys; print(sys.version_info >= (3, 10), sys._base_executable)"
    if not shutil.which(python):
        raise ToolError(f"--python {python}: there is no such program")
    recent, _, base = output_of([python, "-I", "-c", ask]).strip().partition(" ")
    if recent != "True":
        raise ToolError(f"--python {python}: Python 3.10 or newer is needed")
    if interpreter.exists():
        present = (
            output_of([str(interpreter), "-I", "-c", ask]).strip().partition(" ")[2]
        )
        if not present or Path(present).resolve() != Path(base).resolve():
            venv = interpreter.parents[1]
            raise ToolError(
                f"--python {python}: {venv} is made of {present or 'another'}; "
                "delete that folder to have it made anew"
            )


def run_quietly(command: list[str], failed: str) -> None:
    """Run a command, and raise a ToolError with its last words if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        errors = [line for line in said if line.startswith("ERROR")]
        # pip repeats one warning a try; the first says why, the last say what.
        why = [line for line in said if "SSLError" in line or "NewConnection" in line]
        raise ToolError("\n  ".join([f"{failed}:", *why[:1], *(errors or said)[-5:]]))


def output_of(command: list[str]) -> str:
    """Return all that a command says."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr
