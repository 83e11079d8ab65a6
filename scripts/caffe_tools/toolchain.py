"""What a build needs on the machine: Debian and Python packages."""

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

# Boost's library `system` comes with `filesystem`, where there is one: Boost 1.89 has
# none, and then Debian has no package of that name.
PACKAGES = (
    "build-essential",
    "cmake",
    "dpkg-dev",
    "libboost-context-dev",
    "libboost-filesystem-dev",
    "libboost-python-dev",
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


# Boost's libraries that forks ask for besides, each in a package of its own.
_BOOST = ("atomic", "chrono", "date_time", "iostreams", "log", "program_options")
_BOOST += ("random", "regex", "serialization", "timer")
_ASKS_BOOST = re.compile(r"find_package\s*\(\s*Boost\b([^)]*)\)", re.IGNORECASE)


def boost_packages(tree: Path) -> tuple[str, ...]:
    """Return the packages of Boost that a tree's CMake asks for besides `PACKAGES`."""
    asked: set[str] = set()
    for file in (tree / "CMakeLists.txt", *sorted((tree / "cmake").glob("*.cmake"))):
        if file.is_file():
            text = re.sub(r"#.*", "", file.read_text(errors="replace"))
            for words in _ASKS_BOOST.findall(text):
                asked |= set(words.lower().split())
    found = sorted(asked.intersection(_BOOST))
    return tuple(f"libboost-{name.replace('_', '-')}-dev" for name in found)


def default_jobs() -> int:
    """Return how many compilers to run: one per usable processor and 1.5 GB."""
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
        If some are missing and must not or cannot be installed; names the command.
    """
    if not shutil.which("dpkg-query"):
        # CMake will report whether the libraries are there, too.
        if needed is VENV_PACKAGES or (
            shutil.which("cmake") and shutil.which("protoc")
        ):
            return
        raise ToolError(
            "this machine has no dpkg. Install Caffe's dependencies (Debian's names: "
            f"{' '.join(needed)}), and run this again"
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
    # sudo drops the environment, so pass the setting on the command line.
    start = ["env", "DEBIAN_FRONTEND=noninteractive"]
    if not root:
        start = ["sudo", *start]
    # Another vendor's broken archive fails the update, but not our installation.
    results = [
        subprocess.run(
            [*start, *part],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        for part in (["apt-get", "update"], install)
    ]
    if results[-1].returncode:
        said = [line for r in results for line in r.stderr.strip().splitlines()]
        said = [line for line in said if line.startswith("E:")] or said
        raise ToolError(
            "apt-get cannot install what Caffe needs:\n  "
            + "\n  ".join(said[-5:])
            + f"\nInstall them by hand:\n  {by_hand}"
        )


def _is_installed(name: str) -> bool:
    result = subprocess.run(
        ["dpkg-query", "-W", "-f=${db:Status-Status}", name],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return result.stdout == "installed"


def requirements(
    groups: tuple[str, ...] = ("test", "docs", "cluster"), own: bool = True
) -> list[str]:
    """Return the pinned packages of dependency groups in pyproject.toml.

    Python 3.10 has no TOML reader, but the lists are simple enough to read here.

    Parameters
    ----------
    groups : tuple of str
        Names of dependency groups.
    own : bool
        Put the packages of the project itself before those of the groups.
    """
    text = PYPROJECT.read_text()
    lists = dict(re.findall(r"^(\w+) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL))
    return [
        item
        for name in (*(("dependencies",) if own else ()), *groups)
        for item in re.findall(r'^\s*"(.*)",$', lists[name], re.MULTILINE)
    ]


def make_venv(venv: Path, python: str | None, say: Callable[[str], None]) -> Path:
    """Create or update the virtual environment; return its Python.

    Parameters
    ----------
    venv : Path
        Its folder.
    python : str or None
        The interpreter to create it with. None keeps the existing one; a new
        environment then uses Debian's, which matches Debian's Boost.Python.
    say : callable
        Called before a long step.

    Raises
    ------
    ToolError
        If it cannot be created, uses another interpreter than the requested one, or
        packages cannot be installed.
    """
    wanted = requirements()
    stamp = venv / "requirements.sha256"
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    interpreter = venv / "bin" / "python"
    if python:
        check_interpreter(python, interpreter)
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
            # A partial environment without pip would break every later run.
            shutil.rmtree(venv, ignore_errors=True)
            raise
    elif not _imports(interpreter, "pip._internal.commands.install"):
        # Somebody killed the run that was making it. What looks whole stays as it is.
        for rest in venv.glob("lib/python3*/site-packages/pip*"):
            if rest.name == "pip" or rest.name.endswith(".dist-info"):
                shutil.rmtree(rest)
        run_quietly(
            [str(interpreter), "-I", "-m", "ensurepip", "--upgrade", "--default-pip"],
            f"{venv} has no whole pip. Delete that folder, and run this again",
        )
    run_quietly(
        [str(interpreter), "-I", "-m", "pip", "install", "-q", *wanted],
        "cannot install the Python packages of pyproject.toml",
    )
    stamp.write_text(digest)
    return interpreter


def _imports(interpreter: Path, module: str) -> bool:
    """Return whether an interpreter can import a module."""
    command = [str(interpreter), "-I", "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def install_judges(folder: Path, python: Path, say: Callable[[str], None]) -> None:
    """Install the packages whose losses ours are tested against, all or none.

    They go into a folder of their own, which only the tests need: they append it to
    their path.

    Parameters
    ----------
    folder : Path
        Their folder.
    python : Path
        The interpreter that will import them.
    say : callable
        Called before the download.

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


def check_interpreter(python: str, interpreter: Path) -> None:
    """Refuse an interpreter that cannot be that of the virtual environment.

    Parameters
    ----------
    python : str
        The program that --python names.
    interpreter : Path
        The Python of the virtual environment, which need not exist.

    Raises
    ------
    ToolError
        If it is missing, too old, or not the one that the environment uses.
    """
    ask = "import sys; print(sys.version_info >= (3, 10), sys._base_executable)"
    if not shutil.which(python):
        raise ToolError(f"--python {python}: the program does not exist")
    recent, _, base = output_of([python, "-I", "-c", ask]).strip().partition(" ")
    if recent != "True":
        raise ToolError(f"--python {python}: give Python 3.10 or newer")
    if interpreter.exists():
        present = (
            output_of([str(interpreter), "-I", "-c", ask]).strip().partition(" ")[2]
        )
        if not present or Path(present).resolve() != Path(base).resolve():
            venv = interpreter.parents[1]
            raise ToolError(
                f"--python {python}: {venv} uses {present or 'another Python'}: "
                "delete that folder, and run this again"
            )


def run_quietly(command: list[str], failed: str) -> None:
    """Run a command; if it fails, raise a ToolError with its last output."""
    result = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False
    )
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        errors = [line for line in said if line.startswith("ERROR")]
        # pip repeats a warning per try: the first gives the cause, the last the result.
        why = [line for line in said if "SSLError" in line or "NewConnection" in line]
        raise ToolError("\n  ".join([f"{failed}:", *why[:1], *(errors or said)[-5:]]))


def output_of(command: list[str]) -> str:
    """Return the output of a command, whatever bytes it consists of."""
    result = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False
    )
    return result.stdout + result.stderr
