#!/usr/bin/env python3
"""Fetch, patch and build a real Caffe on a machine of today."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from caffe_tools import building, source, toolchain
from caffe_tools.errors import ToolError
from caffe_tools.planning import REPOSITORY, check_tree

EPILOG = """\
It installs the Debian packages that are missing (as root or with sudo), takes Caffe's
source, makes build/venv with the Python packages of pyproject.toml, patches the tree
and builds library, program, pycaffe and tests in build/caffe/build. A second run does
what changed and nothing else.

The source is, in this order: the tree of --caffe-root (copied, unless --in-place), the
package in build/cache, Debian's signed source package of suite bullseye from the mirror
in this machine's own apt configuration (which is left as it is).

examples:
  python3 scripts/build_caffe.py
  python3 scripts/build_caffe.py --caffe-root ~/caffe-ssd
  python3 scripts/build_caffe.py --gpu
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--caffe-root", type=Path, metavar="DIR", help="a Caffe tree of yours")
    add("--in-place", action="store_true", help="patch and build that tree itself")
    add("--gpu", action="store_true", help="build with CUDA; needs nvcc")
    add("--cuda-arch", metavar="LIST", help="GPU architectures, for example '75 90'")
    add("--no-tests", action="store_true", help="leave Caffe's test program out")
    add("--unpatched", action="store_true", help="mends, but no layers of ours")
    add("--no-install", action="store_true", help="install no Debian packages")
    add("--python", metavar="PATH", help="interpreter for build/venv")
    add("--venv-only", action="store_true", help="make build/venv and stop")
    add("--jobs", type=int, default=os.cpu_count(), help="compilers at a time")
    add("--clean", action="store_true", help="throw the built tree away first")
    return parser.parse_args()


def find_compiler() -> Path:
    """Return nvcc.

    Raises
    ------
    ToolError
        When there is none.
    """
    nvcc = toolchain.find_nvcc()
    if nvcc is None:
        raise ToolError(
            "--gpu needs nvcc, NVIDIA's compiler, and there is none on PATH or in "
            "/usr/local/cuda: install the CUDA toolkit, or build without --gpu"
        )
    return nvcc


def cuda_flags(options: argparse.Namespace, root: Path, python: Path) -> list[str]:
    """Return CMake's flags for a CUDA build.

    Raises
    ------
    ToolError
        When there is no nvcc, or it does not know an architecture.
    """
    nvcc = find_compiler()
    toolkit = toolchain.cuda_toolkit(nvcc, root / "cuda", python, building.say)
    known = toolchain.gpu_architectures(nvcc)
    chosen = (options.cuda_arch or " ".join(known)).split()
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise ToolError(
            f"--cuda-arch {' '.join(unknown)}: this nvcc knows {' '.join(known)}"
        )
    return [
        "-DCPU_ONLY=OFF",
        "-DUSE_CUDNN=OFF",
        f"-DCUDA_TOOLKIT_ROOT_DIR={toolkit}",
        "-DCUDA_ARCH_NAME=Manual",
        f"-DCUDA_ARCH_BIN={' '.join(chosen)}",
        f"-DCUDA_ARCH_PTX={chosen[-1]}",
        "-DCUDA_NVCC_FLAGS=-std=c++17",
        "-DCMAKE_CXX_STANDARD=17",
    ]


def main() -> None:
    """Do all of it."""
    options = arguments()
    if options.in_place and not options.caffe_root:
        raise ToolError("--in-place goes with --caffe-root")
    if options.gpu:
        find_compiler()
    start = time.monotonic()
    root = Path(os.environ.get("RANDROP_BUILD", REPOSITORY / "build")).resolve()
    root.mkdir(parents=True, exist_ok=True)
    if options.caffe_root:
        check_tree(options.caffe_root.resolve())
    toolchain.install_packages(not options.no_install, building.say)
    python = toolchain.make_venv(root / "venv", options.python, building.say)
    if options.venv_only:
        return
    if options.in_place:
        tree = options.caffe_root.resolve()
    else:
        tree = root / ("caffe-unpatched" if options.unpatched else "caffe")
        if options.clean:
            shutil.rmtree(tree, ignore_errors=True)
        if not tree.exists():
            if options.caffe_root:
                origin = options.caffe_root.resolve()
            else:
                building.say("Getting Caffe's source (5 s)")
                origin = source.fetch(root / "cache" / "caffe")
            building.place_tree(origin, tree)
    gpu = cuda_flags(options, root, python) if options.gpu else ["-DCPU_ONLY=ON"]
    targets = ["caffe", "caffe.bin", "pycaffe"]
    if not options.no_tests:
        targets.append("test.testbin")
    logs = root / "logs" / tree.name
    building.build(tree, python, gpu, targets, options.jobs, logs, options.unpatched)
    building.say(f"Done in {time.monotonic() - start:.0f} s: {tree}/build/tools/caffe")


if __name__ == "__main__":
    try:
        main()
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
