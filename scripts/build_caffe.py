#!/usr/bin/env python3
"""Fetch, patch and build Caffe on a current system."""

WANTED: str = "Python 3.10 or newer"

import argparse
import re
import shutil
import time
from pathlib import Path

import _wanted

_wanted.check()
_wanted.keep_description()

from caffe_tools import (
    building,
    command,
    cuda,
    cuda_parts,
    folders,
    foresight,
    origin,
    parameters,
    place,
    source,
    toolchain,
)
from caffe_tools.errors import ToolError
from caffe_tools.planning import check_tree, engine_left_out, told

PARTS = {"cudnn": cuda_parts.CUDNN, "nccl": cuda_parts.NCCL}
EPILOG = """\
It installs missing Debian packages (as root or with sudo), fetches Caffe's source,
creates build/venv with the Python packages of pyproject.toml, patches the tree, and
builds library, program, pycaffe and tests in build/caffe/build. A second run rebuilds
only what changed.

The source is the first of: the tree of --caffe-root, the package of --source-package,
the previous source of build/caffe, the package in build/cache, Debian's signed source
package of suite bullseye from the mirror in this machine's apt configuration (which is
not changed), and BVLC's tree from PyPI (brocolli-caffe 3.0.0, checked by its SHA-256).

A tree of --caffe-root is copied to build/caffe, without its builds, history, databases
and weights, and is never written to. After changes there, pass it again to renew the
copy. With --in-place, the tree itself is patched and built, in its folder build/;
scripts/patch_caffe.py --revert removes the patch.

examples:
  python3 scripts/build_caffe.py
  python3 scripts/build_caffe.py --caffe-root ~/caffe-ssd
  python3 scripts/build_caffe.py --source-package ~/caffe_1.0.0.dsc
  python3 scripts/build_caffe.py --gpu --cuda-arch '80 90'
  python3 scripts/build_caffe.py --gpu --fetch-nvcc --cudnn --nccl
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--caffe-root", type=Path, metavar="DIR", help="your own Caffe tree")
    add(
        "--source-package",
        type=Path,
        metavar="FILE",
        help="a .dsc file with its archives beside it",
    )
    add(
        "--in-place",
        action="store_true",
        help="patch and build the tree of --caffe-root in place",
    )
    add("--gpu", action="store_true", help="build with CUDA; needs nvcc")
    add(
        "--cuda-arch",
        metavar="LIST",
        help="GPU architectures, for example '75 90'; default: those of this machine's "
        "GPUs, or without a GPU the first of each generation that nvcc knows",
    )
    add(
        "--fetch-nvcc",
        action="store_true",
        help="without nvcc, download it from PyPI (300 MB)",
    )
    add(
        "--cudnn",
        action="store_true",
        help="with --gpu: Caffe's layers through cuDNN (5 to 9), the machine's or "
        "PyPI's (1.2 GB); compiled, but not yet run on a GPU",
    )
    add(
        "--nccl",
        action="store_true",
        help="with --gpu: training on several GPUs through NCCL, the machine's or "
        "PyPI's (360 MB); compiled, but not yet run on a GPU",
    )
    add(
        "--number",
        action="append",
        metavar="FIELD=N",
        help="number of one of our fields in LayerParameter, if the tree already uses "
        "our number",
    )
    add("--no-tests", action="store_true", help="do not build Caffe's test program")
    add(
        "--unpatched",
        action="store_true",
        help="apply the compatibility patches, but not our layers",
    )
    add(
        "--sanitize",
        action="store_true",
        help="build with AddressSanitizer and UBSan, in build/caffe-sanitized",
    )
    add("--no-install", action="store_true", help="install no Debian packages")
    add("--python", metavar="PATH", help="Python for build/venv")
    add("--venv-only", action="store_true", help="make build/venv and stop")
    add(
        "--judges",
        action="store_true",
        help="download PyTorch, MONAI, nnU-Net and PyMIC for the tests, and stop",
    )
    add("--jobs", type=int, metavar="N", help="parallel compiler processes")
    add("--clean", action="store_true", help="delete the built tree first")
    return parser.parse_args()


def find_compiler(root: Path) -> Path:
    """Return nvcc.

    Raises
    ------
    ToolError
        If there is none.
    """
    nvcc = cuda.find_nvcc(root / "cuda")
    if nvcc is None:
        raise ToolError(
            "--gpu needs nvcc, NVIDIA's CUDA compiler, which is neither on PATH nor "
            "in /usr/local/cuda: install NVIDIA's CUDA toolkit, download the compiler "
            "from PyPI with --fetch-nvcc, or build without --gpu"
        )
    return nvcc


def choose_architectures(nvcc: Path, asked: str | None) -> list[str]:
    """Return the GPU architectures to compile for.

    Raises
    ------
    ToolError
        If the compiler does not support a requested one.
    """
    known = cuda.gpu_architectures(nvcc)
    if not known:
        raise ToolError(
            f"{nvcc} --list-gpu-arch lists no architecture: use NVIDIA's CUDA compiler"
        )
    if not asked:
        return cuda.choose_architectures(known, cuda.gpus_here())
    chosen = set(re.split(r"[\s,;]+", asked.strip()))
    unknown = sorted(chosen - set(known))
    if unknown:
        raise ToolError(
            f"--cuda-arch {' '.join(unknown)}: choose from what this nvcc supports, "
            f"{' '.join(known)}"
        )
    return sorted(chosen, key=int)


def asked_parts(options: argparse.Namespace) -> list[cuda_parts.Part]:
    """Return what the toolkit must have besides cuBLAS and cuRAND."""
    return [part for name, part in PARTS.items() if getattr(options, name)]


def cuda_flags(options: argparse.Namespace, root: Path, python: Path) -> list[str]:
    """Return CMake's flags for a CUDA build."""
    if options.fetch_nvcc and cuda.find_nvcc(root / "cuda") is None:
        cuda.fetch_nvcc(root / "cuda", python, building.say)
    nvcc = find_compiler(root)
    chosen = choose_architectures(nvcc, options.cuda_arch)
    host = cuda.host_compiler(nvcc)
    parts = asked_parts(options)
    here = {part: cuda_parts.on_machine(part) for part in parts}
    fetched = [part for part in parts if here[part] is None]
    toolkit = cuda.cuda_toolkit(nvcc, root / "cuda", python, building.say, fetched)
    building.say(f"Compiling for GPU architecture {', '.join(chosen)}")
    flags = [
        "-DCPU_ONLY=OFF",
        f"-DUSE_CUDNN={'ON' if options.cudnn else 'OFF'}",
        f"-DUSE_NCCL={'ON' if options.nccl else 'OFF'}",
        f"-DCUDA_TOOLKIT_ROOT_DIR={toolkit}",
        "-DCUDA_ARCH_NAME=Manual",
        f"-DCUDA_ARCH_BIN={' '.join(chosen)}",
        f"-DCUDA_ARCH_PTX={chosen[-1]}",
        f"-DCUDA_NVCC_FLAGS={';'.join(cuda.compiler_flags(nvcc))}",
        "-DCMAKE_CXX_STANDARD=17",
    ]
    if host:
        building.say(f"nvcc compiles with {host}")
        flags.append(f"-DCUDA_HOST_COMPILER={host}")
    for part in parts:
        include, library = here[part] or part.within(toolkit)
        building.say(f"{part.name}: {library}")
        flags += [f"-D{part.cmake[0]}={include}", f"-D{part.cmake[1]}={library}"]
    return flags


def say_source(options: argparse.Namespace, root: Path) -> None:
    """Say where Caffe will come from, if it must be fetched, before the long steps."""
    given = options.caffe_root or options.source_package
    kept = foresight.tree_to_build(options, root).exists() and not options.clean
    if not given and not kept:
        cache = root / "cache" / "caffe"
        building.say(f"Caffe's source: {source.first_source(cache)}")


def place_source(options: argparse.Namespace, root: Path, python: Path) -> Path:
    """Return the tree to build in, with the source that the options request."""
    if options.in_place:
        place.take_build(options.caffe_root)
        return options.caffe_root
    tree = foresight.tree_to_build(options, root)
    if options.clean:
        shutil.rmtree(tree, ignore_errors=True)
    cache = root / "cache" / "caffe"
    if options.caffe_root:
        origin.place_tree(options.caffe_root, tree, building.say)
    elif options.source_package:
        package = source.take_package(options.source_package, cache)
        origin.place_tree(package, tree, building.say)
    elif not tree.exists():
        building.say("Getting Caffe's source (5 s)")
        fetched = source.fetch(cache, python=str(python), say=building.say)
        origin.place_tree(fetched, tree, building.say)
    return tree


def check_options(options: argparse.Namespace, root: Path) -> None:
    """Refuse incompatible options before anything is done.

    Raises
    ------
    ToolError
        Names the options.
    """
    if options.in_place and not options.caffe_root:
        raise ToolError("--in-place needs --caffe-root")
    if options.in_place and options.clean:
        raise ToolError(
            "--clean is only for the copy in build/caffe: with --in-place, delete "
            f"{options.caffe_root / 'build'} yourself"
        )
    if options.sanitize and (options.gpu or options.in_place):
        raise ToolError("--sanitize builds for the CPU, in a folder of its own")
    if options.caffe_root and options.source_package:
        raise ToolError(
            "--caffe-root and --source-package exclude each other: give one of them"
        )
    if options.jobs is not None and options.jobs < 1:
        raise ToolError(f"--jobs is {options.jobs}: give at least 1")
    for option in ("cuda_arch", "fetch_nvcc", *PARTS):
        if getattr(options, option) and not options.gpu:
            raise ToolError(f"--{option.replace('_', '-')} needs --gpu")
    if options.caffe_root:
        options.caffe_root = folders.resolved(options.caffe_root)
        check_tree(options.caffe_root)
        cuda_parts.check_tree(options.caffe_root, asked_parts(options))
    parameters.numbers(options.number)
    if options.number and options.unpatched:
        raise ToolError("--number is of our layers, which --unpatched leaves out")
    if options.source_package and not options.source_package.is_file():
        raise ToolError(
            f"--source-package {options.source_package}: the file does not exist"
        )
    if options.source_package:
        options.source_package = folders.resolved(options.source_package)
        source.check_package(options.source_package)
    if options.gpu and not (
        options.fetch_nvcc and cuda.find_nvcc(root / "cuda") is None
    ):
        nvcc = find_compiler(root)
        choose_architectures(nvcc, options.cuda_arch)
        cuda.host_compiler(nvcc)
    for part in asked_parts(options):
        cuda_parts.on_machine(part)


def main() -> None:
    """Run all steps."""
    options = arguments()
    start = time.monotonic()
    root = folders.build_folder()
    check_options(options, root)
    foresight.check_steps(options, root, asked_parts(options))
    with place.take(root):
        _build(options, root, start)


def _build(options: argparse.Namespace, root: Path, start: float) -> None:
    """Run all steps in a build folder that nobody else uses."""
    alone = options.venv_only or options.judges
    if not alone:
        say_source(options, root)
    needed = toolchain.VENV_PACKAGES if alone else toolchain.PACKAGES
    if options.caffe_root and not alone:
        needed += toolchain.boost_packages(options.caffe_root)
    toolchain.install_packages(needed, not options.no_install, building.say)
    python = toolchain.make_venv(root / "venv", options.python, building.say)
    if options.judges:
        toolchain.install_judges(root / "judges", python, building.say)
    if alone:
        return
    tree = place_source(options, root, python)
    cuda_parts.check_tree(tree, asked_parts(options))
    gpu = cuda_flags(options, root, python) if options.gpu else ["-DCPU_ONLY=ON"]
    if options.sanitize:
        gpu += building.SANITIZE
    targets = ["caffe", "caffe.bin", "pycaffe"]
    if not options.no_tests:
        targets.append("test.testbin")
        if not (options.unpatched or engine_left_out(tree)):
            targets.append("test_engine.testbin")
    for line in told(tree, options.unpatched):
        building.say(line)
    jobs = options.jobs or toolchain.default_jobs()
    logs = root / "logs" / tree.name
    try:
        building.build(
            *(tree, python, gpu, targets, jobs, logs, options.unpatched),
            parameters.numbers(options.number),
        )
    except ToolError as error:
        raise ToolError(
            f"{error}{origin.where_to_edit(tree, options.caffe_root)}"
        ) from error
    building.say(f"Done in {time.monotonic() - start:.0f} s: {tree}/build/tools/caffe")


if __name__ == "__main__":
    command.run(main)
