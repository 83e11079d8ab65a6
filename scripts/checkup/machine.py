"""What the machine has for building Caffe and training."""

import http.client
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from caffe_tools import apt_config, cuda, source, toolchain
from caffe_tools.errors import ToolError
from checkup.finding import (
    NO,
    OK,
    UNKNOWN,
    Finding,
    install,
    nearest_folder,
    program_version,
    size,
)

_DISK = 4e9
_MEMORY = 1.5e9
# Where Debian puts headers; the second is for OpenCV 4.
_HEADERS = ("/usr/include", "/usr/include/opencv4", "/usr/local/include")
# Name, header, patterns of the parts of its version, and the packages of Debian.
_LIBRARIES = (
    ("OpenCV", "opencv2/core/version.hpp", r"#define CV_VERSION_M\w+ +(\d+)"),
    ("Boost", "boost/version.hpp", r'#define BOOST_LIB_VERSION "(\w+)"'),
    ("BLAS", "openblas_config.h", r'OPENBLAS_VERSION "[^"\d]*([\d.]+)'),
    ("HDF5", "hdf5/serial/H5public.h", r'H5_VERS_INFO +"[^"\d]*5[^"\d]*([\d.]+)'),
)
_ENGINE = ("oneapi/dnnl/dnnl_version.h", r"#define DNNL_VERSION_(?:MAJ|MIN)\w+ (\d+)")


def look(root: Path, network: bool) -> Iterator[Finding]:
    """Look at the machine.

    Parameters
    ----------
    root : Path
        The build folder.
    network : bool
        Ask the package archives, too.
    """
    checks = {
        "system": _system,
        "Python": _python,
        "packages": _packages,
        "compilers": _compilers,
        "libraries": _libraries,
        "OpenMP": _openmp,
        "disk": lambda: _disk(root),
        "memory": _memory,
        "processor": _processor,
        "GPU": _gpu,
        "nvcc": lambda: _nvcc(root),
        "source": lambda: _source(root),
        "network": _network if network else _no_network,
    }
    for name, check in checks.items():
        try:
            yield from check()
        except (OSError, ValueError, ToolError) as error:
            # One thing that cannot be looked at must not hide the rest.
            where = f"{getattr(error, 'filename', None) or ''}: ".removeprefix(": ")
            why = getattr(error, "strerror", None) or error
            yield _finding(name, UNKNOWN, f"cannot be looked at: {where}{why}")


def _finding(
    name: str, state: str, words: str, remedy: str = "", needed: bool = True
) -> Finding:
    return Finding("machine", name, state, words, remedy, needed)


def _system() -> Iterator[Finding]:
    machine = platform.machine()
    if platform.system() != "Linux":
        yield _finding(
            "system", NO, f"{platform.system()}: the tools are for Linux: use the "
            "Dockerfile, or a virtual machine with Debian"
        )  # fmt: skip
        return
    try:
        about = platform.freedesktop_os_release()
    except OSError:
        about = {}
    name, version = about.get("ID", ""), about.get("VERSION_ID", "")
    title = f"{about.get('PRETTY_NAME', 'Linux')}, {machine}"
    number = tuple(int(part) for part in re.findall(r"\d+", version))
    known = (name == "debian" and (not number or number >= (12,))) or (
        name == "ubuntu" and number >= (22, 4)
    )
    if known:
        yield _finding("system", OK, title)
    else:
        words = f"{title}: not among the systems that are tested"
        yield _finding("system", UNKNOWN, words)


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    yield _finding("Python", OK, f"{version} ({sys.executable})")


def _packages() -> Iterator[Finding]:
    if not shutil.which("dpkg-query"):
        yield _finding(
            "packages", UNKNOWN, "this system has no dpkg: Debian's names of what "
            f"Caffe needs are {' '.join(toolchain.PACKAGES)}"
        )  # fmt: skip
        return
    missing = missing_packages()
    if not missing:
        yield _finding("packages", OK, f"all {len(toolchain.PACKAGES)} are installed")
        return
    rest = "" if os.geteuid() == 0 or shutil.which("sudo") else " (as root)"
    yield _finding(
        "packages", NO, f"{len(missing)} of Debian's packages are missing: "
        f"{', '.join(missing)}. build_caffe.py installs them, too{rest}",
        install(*missing),
    )  # fmt: skip


def missing_packages() -> list[str]:
    """Return which of Debian's packages for Caffe are not installed."""
    form = "${Package} ${db:Status-Status}\\n"
    result = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={form}", *toolchain.PACKAGES],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    there = {
        line.split()[0]
        for line in result.stdout.splitlines()
        if line.endswith(" installed")
    }
    return [name for name in toolchain.PACKAGES if name not in there]


def _compilers() -> Iterator[Finding]:
    remedies = {
        "c++": "build-essential",
        "make": "build-essential",
        "cmake": "cmake",
        "protoc": "protobuf-compiler",
    }
    for name, package in remedies.items():
        path = shutil.which(name)
        works, said = program_version(path) if path else (False, "")
        if works:
            yield _finding(name, OK, said)
        elif path:
            # Its package does not help while this one is found first.
            words = f"{path} does not work ({said}): take it off PATH, or repair it"
            yield _finding(name, NO, words)
        else:
            yield _finding(name, NO, "is not on PATH", install(package))


def _libraries() -> Iterator[Finding]:
    remedies = {
        "OpenCV": "libopencv-dev",
        "Boost": "libboost-python-dev libboost-filesystem-dev libboost-thread-dev",
        "BLAS": "libopenblas-dev",
        "HDF5": "libhdf5-dev",
    }
    for name, header, pattern in _LIBRARIES:
        version = _version(header, pattern)
        if version:
            yield _finding(name, OK, version)
        else:
            words = f"{header} is not in Debian's places"
            yield _finding(name, NO, words, install(remedies[name]))
    version = _version(*_ENGINE)
    if version:
        yield _finding("oneDNN", OK, version, needed=False)
    else:
        yield _finding(
            "oneDNN", NO, "not installed: convolutions take several times as long",
            install("libdnnl-dev"), needed=False,
        )  # fmt: skip


def _version(header: str, pattern: str) -> str | None:
    """Return a library's version from its header, or None without it."""
    multiarch = Path("/usr/include", f"{platform.machine()}-linux-gnu")
    for folder in (*map(Path, _HEADERS), multiarch):
        if (folder / header).is_file():
            text = (folder / header).read_text(errors="replace")
            parts = re.findall(pattern, text)
            return ".".join(parts).replace("_", ".") or f"in {folder}"
    return None


def _openmp() -> Iterator[Finding]:
    compiler = shutil.which("c++")
    if not compiler:
        yield _finding("OpenMP", UNKNOWN, "there is no compiler to ask", needed=False)
        return
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "a.cpp")
        program.write_text("#include <omp.h>\nint main() { return omp_in_parallel(); }")
        command = [compiler, "-fopenmp", str(program), "-o", str(Path(folder, "a"))]
        result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode == 0:
        yield _finding("OpenMP", OK, "the compiler has it", needed=False)
        return
    package = "libomp-dev" if "clang" in program_version(compiler)[1] else "libgomp1"
    yield _finding(
        "OpenMP", NO, "the compiler does not link it: losses then use one thread",
        install(package), needed=False,
    )  # fmt: skip


def _disk(root: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(nearest_folder(root)).free
    words = f"{size(free)} free for {root}"
    if free < _DISK:
        yield _finding(
            "disk", NO, f"{words}: a build takes {size(_DISK)}",
            "export RANDROP_BUILD=/a/folder/on/a/larger/disk",
        )  # fmt: skip
    else:
        yield _finding("disk", OK, words)


def _memory() -> Iterator[Finding]:
    cores, jobs = _cores(), toolchain.default_jobs()
    memory = _available_memory()
    words = f"{size(memory)} available, {cores} processors: make -j{jobs}"
    if memory and memory < _MEMORY:
        yield _finding(
            "memory", NO, f"{words} may run out: a compiler takes {size(_MEMORY)}. "
            "Close other programs, or build elsewhere and bring a bundle",
            "python3 scripts/build_caffe.py --jobs 1", needed=False,
        )  # fmt: skip
    else:
        yield _finding("memory", OK, words)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _available_memory() -> int:
    try:
        text = Path("/proc/meminfo").read_text()
        return int(re.search(r"MemAvailable:\s+(\d+)", text)[1]) * 1024
    except (OSError, TypeError):
        return 0


def _processor() -> Iterator[Finding]:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    lines = re.findall(r"^(?:flags|Features)\b.*", text, re.MULTILINE)
    flags = set(" ".join(lines).split())
    if not flags:
        yield _finding("processor", UNKNOWN, "/proc/cpuinfo does not say", needed=False)
    elif platform.machine() == "x86_64":
        for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f")):
            if flag in flags:
                yield _finding(name, OK, "losses and oneDNN use it", needed=False)
            else:
                yield _finding(
                    name, NO, "this processor lacks it: slower, with the same results",
                    needed=False,
                )  # fmt: skip
    else:
        state = OK if flags & {"asimd", "neon"} else NO
        yield _finding("NEON", state, "the losses use it if it is there", needed=False)


def _gpu() -> Iterator[Finding]:
    gpus = cuda.gpus_here()
    if gpus:
        yield _finding("GPU", OK, f"architecture {', '.join(gpus)}", needed=False)
    else:
        what = "shows none" if shutil.which("nvidia-smi") else "is not installed"
        yield _finding(
            "GPU", NO, f"nvidia-smi {what}: training runs on the CPU", needed=False
        )


def _nvcc(root: Path) -> Iterator[Finding]:
    try:
        nvcc = cuda.find_nvcc(root / "cuda")
    except ToolError as error:
        yield _finding("nvcc", NO, str(error), "unset CUDA_HOME", needed=False)
        return
    if nvcc is None:
        yield _finding(
            "nvcc", NO, "no CUDA compiler: needed for build_caffe.py --gpu alone",
            "python3 scripts/build_caffe.py --gpu --fetch-nvcc", needed=False,
        )  # fmt: skip
        return
    known = cuda.gpu_architectures(nvcc)
    words = f"{nvcc}, CUDA {cuda.cuda_version(nvcc)}, architectures {' '.join(known)}"
    yield _finding("nvcc", OK, words, needed=False)


def _source(root: Path) -> Iterator[Finding]:
    cache = root / "cache" / "caffe"
    words = f"Caffe comes from {source.first_source(cache)}"
    here = cache.is_dir() and any(cache.iterdir())
    yield _finding("source", OK if here else UNKNOWN, words, needed=False)


def _no_network() -> Iterator[Finding]:
    yield _finding("network", UNKNOWN, "not asked: --network does")


def _network() -> Iterator[Finding]:
    archives = apt_config.debian_archives(Path("/etc/apt"))
    for uri, _ in archives[:1]:
        address = f"{uri.rstrip('/')}/dists/{source.SUITE}/Release"
        if uri.startswith(("http:", "https:")):
            yield _answers("Debian's archive", address)
        else:
            yield _finding("Debian's archive", UNKNOWN, f"not asked: {uri}")
    if not archives:
        yield _finding(
            "Debian's archive", UNKNOWN, "apt's configuration names none", needed=False
        )
    yield _answers("PyPI", _index())


def _index() -> str:
    """Return the address of the Python packages: pip's setting, or its default."""
    ask = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    said = toolchain.output_of(ask)
    given = os.environ.get("PIP_INDEX_URL") or said.strip()
    if not given.startswith("http"):
        code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
        given = toolchain.output_of([sys.executable, "-c", code]).strip()
    return given.rstrip("/") + "/numpy/"


def _answers(name: str, address: str) -> Finding:
    try:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=5) as response:
            return _finding(name, OK, f"answers ({response.status})")
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = (
            f"does not answer ({reason}): without a network, build elsewhere and bring "
            "a bundle (docs/how-to/bundle.md)"
        )
        return _finding(name, NO, words, needed=False)
