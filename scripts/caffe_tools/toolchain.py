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
PYPROJECT = REPOSITORY / "pyproject.toml"


def install_packages(allowed: bool, say: Callable[[str], None]) -> None:
    """Install the Debian packages that are missing.

    Raises
    ------
    ToolError
        When some are missing and may not or cannot be installed; names the command.
    """
    if not shutil.which("dpkg-query"):
        if shutil.which("cmake") and shutil.which("protoc"):
            return
        raise ToolError(
            "this machine has no dpkg. Install what Caffe needs (as Debian names it: "
            f"{' '.join(PACKAGES)}), then run this again"
        )
    missing = [name for name in PACKAGES if not _is_installed(name)]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    by_hand = "sudo " + " ".join(command)
    if not allowed or (sudo and not shutil.which("sudo")):
        raise ToolError(f"Debian packages are missing. Install them:\n  {by_hand}")
    say(f"Installing {len(missing)} Debian packages (1 to 4 minutes)")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if sudo:
        sudo = ["sudo", "DEBIAN_FRONTEND=noninteractive"]
    for part in (["apt-get", "update", "-qq"], command):
        result = subprocess.run(
            [*sudo, *part], env=environment, capture_output=True, text=True, check=False
        )
        if result.returncode:
            said = "\n".join(result.stderr.strip().splitlines()[-5:])
            raise ToolError(
                f"{' '.join(part[:2])} failed: {said}\nBy hand:\n  {by_hand}"
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

    Raises
    ------
    ToolError
        When it cannot be made, or packages cannot be installed.
    """
    wanted = requirements()
    stamp = venv / "requirements.sha256"
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    interpreter = venv / "bin" / "python"
    if stamp.exists() and stamp.read_text() == digest and interpreter.exists():
        return interpreter
    # Debian's Boost.Python belongs to Debian's Python.
    base = python or next(
        p for p in ("/usr/bin/python3", sys.executable) if Path(p).exists()
    )
    say(f"Installing {len(wanted)} Python packages into {venv} (a minute)")
    if not interpreter.exists():
        _quietly([base, "-m", "venv", str(venv)], "cannot make a virtual environment")
    _quietly(
        [str(interpreter), "-m", "pip", "install", "-q", *wanted],
        "cannot install the Python packages of pyproject.toml",
    )
    stamp.write_text(digest)
    return interpreter


def _quietly(command: list[str], failed: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        said = "\n".join((result.stderr or result.stdout).strip().splitlines()[-5:])
        raise ToolError(f"{failed}: {said}")


def find_nvcc() -> Path | None:
    """Return the CUDA compiler of this machine, or None."""
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


def _output(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr
