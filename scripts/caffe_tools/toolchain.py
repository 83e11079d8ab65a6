"""What a build needs on the machine: Debian packages, Python packages, CUDA."""

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
        When some are missing and may not or cannot be installed; names the command.
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
        raise ToolError(
            f"{len(missing)} Debian packages are missing. Install them:\n  {by_hand}"
        )
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


def requirements(groups: tuple[str, ...] = ("test",)) -> list[str]:
    """Return the pinned packages of pyproject.toml, with those of some groups.

    The lists there are plain; Python 3.10 has no reader of TOML, so this reads them.
    """
    text = PYPROJECT.read_text()
    lists = dict(re.findall(r"^(\w+) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL))
    return [
        item
        for name in ("dependencies", *groups)
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
        When it cannot be made, is made of another interpreter than the one asked for,
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
            _quietly([base, "-m", "venv", str(venv)], "cannot make build/venv")
        except ToolError:
            # Half of one, without pip, would stop every later run.
            shutil.rmtree(venv, ignore_errors=True)
            raise
    _quietly(
        [str(interpreter), "-m", "pip", "install", "-q", *wanted],
        "cannot install the Python packages of pyproject.toml",
    )
    stamp.write_text(digest)
    return interpreter


def _check_interpreter(python: str, interpreter: Path) -> None:
    """Refuse an interpreter that is missing, old, or not the one of the venv."""
    ask = "import sys; print(sys.version_info >= (3, 10), sys._base_executable)"
    if not shutil.which(python):
        raise ToolError(f"--python {python}: there is no such program")
    recent, _, base = _output([python, "-c", ask]).strip().partition(" ")
    if recent != "True":
        raise ToolError(f"--python {python}: Python 3.10 or newer is needed")
    if interpreter.exists():
        present = _output([str(interpreter), "-c", ask]).strip().partition(" ")[2]
        if not present or Path(present).resolve() != Path(base).resolve():
            venv = interpreter.parents[1]
            raise ToolError(
                f"--python {python}: {venv} is made of {present or 'another'}; "
                "delete that folder to have it made anew"
            )


def _quietly(command: list[str], failed: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        errors = [line for line in said if line.startswith("ERROR")]
        # pip repeats one warning a try; the first says why, the last say what.
        why = [line for line in said if "SSLError" in line or "NewConnection" in line]
        raise ToolError("\n  ".join([f"{failed}:", *why[:1], *(errors or said)[-5:]]))


def find_nvcc() -> Path | None:
    """Return the CUDA compiler: $CUDA_HOME's, else this machine's, or None.

    Raises
    ------
    ToolError
        When CUDA_HOME is set, and none is there.
    """
    home = os.environ.get("CUDA_HOME")
    if home:
        named = Path(home, "bin", "nvcc")
        if not named.exists():
            raise ToolError(f"CUDA_HOME is {home}, and there is no {named}")
        return named.resolve()
    found = shutil.which("nvcc")
    for path in (found, "/usr/local/cuda/bin/nvcc"):
        if path and Path(path).exists():
            return Path(path).resolve()
    return None


def cuda_toolkit(
    nvcc: Path, folder: Path, python: Path, say: Callable[[str], None]
) -> Path:
    """Return a toolkit folder with compiler, runtime, cuBLAS and cuRAND.

    The system's where it is whole; else a folder of links to the system's compiler and
    runtime and to PyPI's packages of cuBLAS and cuRAND of the same major version.

    Raises
    ------
    ToolError
        When the packages cannot be installed.
    """
    text = _output([str(nvcc), "--dryrun", "-c", "-x", "cu", "/dev/null"])
    match = re.search(r"^#\$ TOP=(.*)$", text, re.MULTILINE)
    root = Path(match[1]).resolve() if match else nvcc.parents[1]
    toolkit = folder / "toolkit"
    for whole in (root, toolkit):
        if (whole / "include" / "cublas_v2.h").exists():
            return whole
    version = _output([str(nvcc), "--version"])
    major = re.search(r"release (\d+)\.", version)[1]
    names = ["nvidia-cublas", "nvidia-curand"]
    if int(major) < 13:
        names = [f"{name}-cu{major}" for name in names]
    pins = [p for p in requirements(("gpu",)) if re.split("[=;]", p)[0] in names]
    say(f"Getting cuBLAS and cuRAND for CUDA {major} from PyPI (600 MB)")
    packages = folder / "packages"
    _quietly(
        [
            *(str(python), "-m", "pip", "install", "-q", "--no-deps"),
            *("--target", str(packages), *(pins or names)),
        ],
        "cannot install cuBLAS and cuRAND",
    )
    shutil.rmtree(toolkit, ignore_errors=True)
    for part in ("bin", "include", "lib64", "nvvm"):
        (toolkit / part).mkdir(parents=True)
    _link_into(toolkit / "bin", root / "bin")
    _link_into(toolkit / "nvvm", root / "nvvm")
    for source in [root, *(p.parent for p in packages.glob("nvidia/*/include"))]:
        for headers in ("include", "targets/x86_64-linux/include"):
            _link_into(toolkit / "include", source / headers)
        for libraries in ("lib64", "lib", "targets/x86_64-linux/lib"):
            _link_into(toolkit / "lib64", source / libraries)
    for library in sorted((toolkit / "lib64").glob("lib*.so.*")):
        plain = library.with_name(library.name.partition(".so.")[0] + ".so")
        if not plain.exists():
            plain.symlink_to(library.name)
    return toolkit


def _link_into(target: Path, source: Path) -> None:
    if source.is_dir():
        for item in source.iterdir():
            link = target / item.name
            if not link.exists():
                link.symlink_to(item.resolve())


def gpu_architectures(nvcc: Path) -> list[str]:
    """Return the architectures that a compiler knows ("75", ...), oldest first."""
    found = re.findall(r"compute_(\d+)\b", _output([str(nvcc), "--list-gpu-arch"]))
    return [str(number) for number in sorted(set(map(int, found)))]


def choose_architectures(known: list[str], gpus: list[str]) -> list[str]:
    """Return the architectures to compile for, when none is asked for.

    Code for one runs on every later one of the same major version, so a GPU here needs
    a single one; and without a GPU here, the first of each major version serves all.

    Parameters
    ----------
    known : list of str
        What the compiler knows, oldest first, as "75".
    gpus : list of str
        Architectures of the GPUs of this machine; empty without any.

    Raises
    ------
    ToolError
        When the compiler knows none that runs on a GPU of this machine.
    """
    if not gpus:
        first: dict[str, str] = {}
        for architecture in known:
            first.setdefault(architecture[:-1], architecture)
        return list(first.values())
    chosen = set()
    for gpu in gpus:
        # A GPU newer than the compiler is served by the newest's PTX.
        fitting = [a for a in known if int(a) <= int(gpu)]
        if not fitting:
            raise ToolError(
                f"this nvcc compiles for architecture {known[0]} and newer, and a GPU "
                f"of this machine has {gpu}: install an older CUDA toolkit, or build "
                "without --gpu"
            )
        chosen.add(fitting[-1])
    return sorted(chosen, key=int)


def gpus_here() -> list[str]:
    """Return the architectures ("90") of this machine's GPUs; none without a driver."""
    if not shutil.which("nvidia-smi"):
        return []
    text = _output(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"])
    found = re.findall(r"^(\d+)\.(\d)$", text, re.MULTILINE)
    return sorted({major + minor for major, minor in found}, key=int)


def _output(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr
