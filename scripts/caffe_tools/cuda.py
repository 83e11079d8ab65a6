"""NVIDIA's compiler and libraries, the system's or PyPI's, as one toolkit folder."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from caffe_tools.cuda_parts import HEADERS, LIBRARIES, MATHEMATICS, Part, has, pins_of
from caffe_tools.errors import ToolError
from caffe_tools.toolchain import output_of, requirements, run_quietly


def find_nvcc(folder: Path) -> Path | None:
    """Return the CUDA compiler: $CUDA_HOME's, the machine's, or the fetched one.

    Parameters
    ----------
    folder : Path
        Where `fetch_nvcc` installs one.

    Raises
    ------
    ToolError
        If CUDA_HOME is set but has no compiler.
    """
    home = os.environ.get("CUDA_HOME")
    if home:
        named = Path(home, "bin", "nvcc")
        if not named.exists():
            raise ToolError(
                f"CUDA_HOME is {home}, but {named} does not exist: correct or unset "
                "CUDA_HOME"
            )
        return named.resolve()
    fetched = sorted((folder / "compiler").glob("nvidia/*/bin/nvcc"))
    for path in (shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc", *fetched):
        if path and Path(path).exists():
            return Path(path).resolve()
    return None


def fetch_nvcc(folder: Path, python: Path, say: Callable[[str], None]) -> None:
    """Install PyPI's compiler into its own folder, without root.

    Raises
    ------
    ToolError
        If it cannot be installed.
    """
    say("Downloading nvcc, NVIDIA's CUDA compiler, from PyPI (300 MB)")
    _install(requirements(("nvcc",), own=False), folder / "compiler", python)


def compute_sanitizer(folder: Path, python: Path, say: Callable[[str], None]) -> Path:
    """Return the compute-sanitizer program: the machine's, or PyPI's.

    Raises
    ------
    ToolError
        If it cannot be installed.
    """
    here = shutil.which("compute-sanitizer")
    if here:
        return Path(here).resolve()
    target = folder / "sanitizer"
    wanted = requirements(("sanitizer",), own=False)
    if not all((target / _installed_as(pin)).exists() for pin in wanted):
        say("Downloading compute-sanitizer from PyPI (20 MB)")
        _install(wanted, target, python)
    # The one beside its libraries; bin/ has a script that looks for it elsewhere.
    found = sorted(target.glob("nvidia/*/compute-sanitizer/compute-sanitizer"))
    if not found:
        raise ToolError(f"{wanted[0]} has no program compute-sanitizer: see {target}")
    found[-1].chmod(0o755)
    return found[-1]


def cuda_toolkit(
    nvcc: Path,
    folder: Path,
    python: Path,
    say: Callable[[str], None],
    parts: Sequence[Part] = (),
) -> Path:
    """Return a toolkit folder with compiler, runtime, cuBLAS and cuRAND.

    The system's toolkit if it is complete; otherwise a folder of links to the existing
    compiler and runtime, and to PyPI's libraries for the same major version.

    Parameters
    ----------
    nvcc, folder : Path
        The compiler, and where fetched packages and the links are.
    python : Path
        The interpreter whose pip installs packages.
    say : callable
        Called before a long step.
    parts : sequence of Part
        What else it must have; `cuda_parts.CUDNN`, `NCCL`.

    Raises
    ------
    ToolError
        If the packages cannot be installed.
    """
    # nvcc may be a link or a wrapper, so ask it where its toolkit is.
    text = output_of([str(nvcc), "--dryrun", "-c", "-x", "cu", "/dev/null"])
    match = re.search(r"^#\$ TOP=(.*)$", text, re.MULTILINE)
    root = Path(match[1]).resolve() if match else nvcc.parents[1]
    wanted = [part for part in (MATHEMATICS, *parts) if not has(root, part)]
    if not wanted:
        return root
    version = cuda_version(nvcc)
    pins = {part: pins_of(part, version) for part in wanted}
    record = json.dumps([str(root), version, list(pins.values())])
    toolkit, stamp = folder / "toolkit", folder / "toolkit" / "randrop-made-of"
    whole = all(has(toolkit, part) for part in (MATHEMATICS, *parts))
    if whole and stamp.exists() and stamp.read_text() == record:
        return toolkit
    packages = []
    for part in wanted:
        name = part.variable.partition("_")[0].lower()
        packages.append(folder / (name or "packages"))
        if not all((packages[-1] / _installed_as(pin)).exists() for pin in pins[part]):
            major = version.partition(".")[0]
            say(f"Downloading {part.name} for CUDA {major} from PyPI ({part.size})")
            _install(pins[part], packages[-1], python)
    _assemble(toolkit, root, packages)
    for part in (MATHEMATICS, *parts):
        if not has(toolkit, part):
            raise ToolError(
                f"{toolkit}, built from {root} and {packages[0].parent}, lacks "
                f"{part.name} or its headers: install the complete CUDA toolkit, or "
                "set CUDA_HOME to one"
            )
    stamp.write_text(record)
    return toolkit


def cuda_version(nvcc: Path) -> str:
    """Return the version of a compiler ("13.0").

    Raises
    ------
    ToolError
        If it reports none.
    """
    version = re.search(r"release (\d+\.\d+)", output_of([str(nvcc), "--version"]))
    if not version:
        raise ToolError(f"{nvcc} reports no CUDA version: use NVIDIA's CUDA compiler")
    return version[1]


def _install(wanted: list[str], target: Path, python: Path) -> None:
    """Install Python packages into a folder, all of them or none."""
    temporary = target.with_name(target.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    run_quietly(
        [
            *(str(python), "-I", "-m", "pip", "install", "-q", "--no-deps"),
            *("--target", str(temporary), *wanted),
        ],
        f"cannot install {' '.join(wanted)}",
    )
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def _installed_as(pin: str) -> str:
    """Return the folder whose presence shows that this version is installed."""
    name, _, version = pin.partition("==")
    return f"{name.replace('-', '_')}-{version}.dist-info"


def _assemble(toolkit: Path, root: Path, packages: list[Path]) -> None:
    """Make a toolkit folder of links, atomically."""
    new = toolkit.with_name(toolkit.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    for part in ("bin", "include", "lib64", "nvvm"):
        (new / part).mkdir(parents=True)
    _link_into(new / "bin", root / "bin")
    _link_into(new / "nvvm", root / "nvvm")
    fetched = [p.parent for each in packages for p in each.glob("nvidia/*/include")]
    for source in [root, *fetched]:
        for headers in HEADERS:
            _link_into(new / "include", source / headers)
        for libraries in LIBRARIES:
            _link_into(new / "lib64", source / libraries)
    # The runtime packages lack the plain library names that a linker looks for.
    for library in sorted((new / "lib64").glob("lib*.so.*")):
        plain = library.with_name(library.name.partition(".so.")[0] + ".so")
        if not plain.exists():
            plain.symlink_to(library.name)
    shutil.rmtree(toolkit, ignore_errors=True)
    new.rename(toolkit)


def _link_into(target: Path, source: Path) -> None:
    if source.is_dir():
        for item in source.iterdir():
            link = target / item.name
            if not link.exists():
                link.symlink_to(item.resolve())


def compiler_flags(nvcc: Path) -> list[str]:
    """Return nvcc's flags for Caffe's sources.

    Caffe's test program launches template kernels of the library. From CUDA 13 on,
    these are local to their file and hidden in the library by default.
    """
    known = output_of([str(nvcc), "--help"])
    exports = ("static-global-template-stub", "device-entity-has-hidden-visibility")
    return ["-std=c++17", *(f"--{name}=false" for name in exports if name in known)]


def host_compiler(nvcc: Path) -> str | None:
    """Return the C++ compiler that nvcc has to use, or None if the default one does.

    nvcc refuses compilers that are newer than itself. An older GCC beside the default
    one then compiles the CUDA sources; the rest of Caffe keeps the default.

    Raises
    ------
    ToolError
        If nvcc accepts none of this machine's; says which one to install.
    """
    asked = os.environ.get("CUDAHOSTCXX")
    first = asked or os.environ.get("CC") or "cc"
    if not shutil.which(first):
        if not asked:
            # The compiler is not yet installed: Debian's, which is then looked at.
            return None
        raise ToolError(
            f"CUDAHOSTCXX is {asked}, which is no program: correct or unset CUDAHOSTCXX"
        )
    newest = _newest_supported(nvcc, first)
    if newest is None:
        return asked
    for version in range(newest, newest - 8, -1):
        other = shutil.which(f"g++-{version}")
        if other and _newest_supported(nvcc, other) is None:
            return other
    raise ToolError(
        f"{first} is too new for {nvcc}, which supports GCC up to {newest}: install "
        f"one beside it, for example with 'apt-get install g++-{newest}', and run this "
        "again (it finds g++-N by itself), or set CUDAHOSTCXX to one"
    )


def _newest_supported(nvcc: Path, compiler: str) -> int | None:
    """Return the newest GCC for nvcc if it finds this compiler too new, else None."""
    result = subprocess.run(
        [str(nvcc), "-ccbin", compiler, "-E", "-x", "cu", "/dev/null"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    found = re.search(r"unsupported .*version.* later than (\d+)", result.stderr)
    return int(found[1]) if result.returncode and found else None


def gpu_architectures(nvcc: Path) -> list[str]:
    """Return the architectures that a compiler supports ("75", ...), oldest first."""
    found = re.findall(r"compute_(\d+)\b", output_of([str(nvcc), "--list-gpu-arch"]))
    return [str(number) for number in sorted(set(map(int, found)))]


def choose_architectures(known: list[str], gpus: list[str]) -> list[str]:
    """Return the architectures to compile for if none is requested.

    Code for one architecture runs on every later one of the same major version. A GPU
    of this machine thus needs only one; without a GPU, the first of each major version
    covers all.

    Parameters
    ----------
    known : list of str
        Those the compiler supports, oldest first, as "75".
    gpus : list of str
        Architectures of the GPUs of this machine; empty without any.

    Raises
    ------
    ToolError
        If the compiler supports none that runs on a GPU of this machine.
    """
    if not gpus:
        first: dict[str, str] = {}
        for architecture in known:
            first.setdefault(architecture[:-1], architecture)
        return list(first.values())
    chosen = set()
    for gpu in gpus:
        # A GPU newer than the compiler runs the newest architecture's PTX.
        fitting = [a for a in known if int(a) <= int(gpu)]
        if not fitting:
            raise ToolError(
                f"this nvcc supports architecture {known[0]} and newer, but a GPU of "
                f"this machine has {gpu}: install an older CUDA toolkit, or build "
                "without --gpu"
            )
        chosen.add(fitting[-1])
    return sorted(chosen, key=int)


def gpus_here() -> list[str]:
    """Return the architectures ("90") of this machine's GPUs; none without a driver."""
    if not shutil.which("nvidia-smi"):
        return []
    text = output_of(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"])
    found = re.findall(r"^(\d+)\.(\d)$", text, re.MULTILINE)
    return sorted({major + minor for major, minor in found}, key=int)
