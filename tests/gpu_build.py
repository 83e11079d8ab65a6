#!/usr/bin/env python3
"""Build Caffe for a GPU from PyPI's packages alone, and check what it is made of.

With compiler, runtime, cuBLAS, cuRAND, cuDNN and NCCL of PyPI, on a machine without a
GPU or CUDA. Where there is CUDA, --hide-cuda hides it (as root, in a mount namespace
of its own). A build that was stopped goes on, and its time is added up. Nothing is run
on a GPU: that needs tests/on_gpu.py.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in ("python_layers", "scripts"):
    sys.path.insert(0, str(REPOSITORY / folder))

from caffe_tools import cuda  # noqa: E402
from caffe_tools.errors import ToolError  # noqa: E402
from caffe_tools.planning import registered_types  # noqa: E402
from randrop.files import write_json  # noqa: E402
from randrop.pycaffe.build import build_dir  # noqa: E402

PRODUCTS = {
    "libcaffe.so": "build/lib/libcaffe.so",
    "caffe": "build/tools/caffe",
    "pycaffe": "build/lib/_caffe.so",
    "test program": "build/test/test.testbin",
}
OURS = r"lib(cu(dart|blas|blasLt|rand|dnn\w*)|nccl|nvrtc)\.so"
NEEDED = (
    *("cudnnGetConvolutionForwardAlgorithm_v7", "cudnnConvolutionForward"),
    *("cudnnGetConvolutionBackwardFilterAlgorithm_v7", "cudnnSetConvolutionMathType"),
    *("cudnnGetConvolutionBackwardDataAlgorithm_v7", "ncclAllReduce", "curandGenerate"),
    *("cublasSgemm_v2", "cudnnGetErrorString"),
)
GONE = ("Forward", "BackwardFilter", "BackwardData")
# Settings that would name a CUDA of this machine.
SETTINGS = ("CUDA_HOME", "CUDA_PATH", "CUDNN_ROOT", "NCCL_DIR", "CUDAHOSTCXX")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--folder",
        type=Path,
        default=build_dir() / "gpu-build",
        help="the build folder; default: build/gpu-build",
    )
    add("--cuda-arch", default="90", metavar="LIST", help="as build_caffe.py; 90")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time")
    add("--no-tests", action="store_true", help="leave out the test program")
    add("--hide-cuda", action="store_true", help="hide CUDA and nvcc of this machine")
    add("--out", type=Path, help="write sizes, times and checks to this JSON file")
    return parser.parse_args()


def hide_cuda() -> None:
    """Start this program again, where CUDA's folder is empty and PATH has no nvcc.

    Raises
    ------
    ToolError
        If it cannot be hidden.
    """
    if os.environ.get("RANDROP_CUDA_IS_HIDDEN"):
        return
    if os.geteuid():
        raise ToolError("--hide-cuda mounts: run it as root, or leave it out")
    words = os.environ["PATH"].split(os.pathsep)
    with_nvcc = {word for word in words if shutil.which("nvcc", path=word)}
    system = with_nvcc & {"/usr/bin", "/bin"}
    if system:
        raise ToolError(f"nvcc is in {min(system)}: remove the package that it is of")
    found = {p.resolve() for p in Path("/usr/local").glob("cuda*") if p.is_dir()}
    mounts = "".join(f"mount -t tmpfs none '{folder}' && " for folder in sorted(found))
    command = [sys.executable, *sys.argv]
    environment = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    environment["PATH"] = os.pathsep.join(w for w in words if w not in with_nvcc)
    environment["RANDROP_CUDA_IS_HIDDEN"] = "1"
    os.execvpe(
        "unshare",
        ["unshare", "-m", "sh", "-c", mounts + 'exec "$@"', "sh", *command],
        environment,
    )


def build(options: argparse.Namespace) -> dict[str, float]:
    """Build what is not yet built; return the time of all tries so far.

    Raises
    ------
    ToolError
        If it cannot be built.
    """
    times = options.folder / "gpu-build-times.json"
    if not (options.folder / "caffe").exists():
        times.unlink(missing_ok=True)
    spent = json.loads(times.read_text()) if times.exists() else [0.0, 0.0]
    command = [
        *(sys.executable, str(REPOSITORY / "scripts" / "build_caffe.py")),
        *("--gpu", "--fetch-nvcc", "--cudnn", "--nccl"),
        *("--cuda-arch", options.cuda_arch, "--jobs", str(options.jobs)),
    ]
    if options.no_tests:
        command.append("--no-tests")
    start = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, "RANDROP_BUILD": str(options.folder)}
    )
    try:
        status = process.wait()
    except KeyboardInterrupt:
        status = process.wait()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent[0] += time.monotonic() - start
    spent[1] += usage.ru_utime + usage.ru_stime
    if options.folder.exists():
        times.write_text(json.dumps(spent))
    if status:
        raise ToolError("the build has not ended; the same command goes on with it")
    return {"seconds": round(spent[0]), "processor_seconds": round(spent[1])}


def text_of(*command: str | Path) -> str:
    """Return what a command prints."""
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout


def products(tree: Path, options: argparse.Namespace) -> dict[str, Path]:
    """Return what was asked for, and where it was built."""
    left_out = {"test program"} if options.no_tests else set()
    return {k: tree / v for k, v in PRODUCTS.items() if k not in left_out}


def check_libraries(built: dict[str, Path], fetched: Path) -> dict[str, str]:
    """Return CUDA's libraries that the products load, and where from.

    Raises
    ------
    ToolError
        If one is missing, or is not of the fetched packages.
    """
    found: dict[str, str] = {}
    for product, path in built.items():
        told = text_of("ldd", path)
        if "not found" in told:
            raise ToolError(f"{product}: {told}")
        for name, place in re.findall(r"^\s*(\S+) => (\S+)", told, re.MULTILINE):
            if re.match(OURS, name):
                real = Path(place).resolve()
                if not real.is_relative_to(fetched):
                    raise ToolError(f"{product} loads {name} from {place}")
                found[name] = real.relative_to(fetched).as_posix()
    return dict(sorted(found.items()))


def check_symbols(library: Path) -> list[str]:
    """Return our layer types that the library has for the GPU.

    Raises
    ------
    ToolError
        If it lacks one, or does not use cuDNN and NCCL as it should.
    """
    wanted = set(text_of("nm", "-D", "--undefined-only", "-j", library).split())
    wanted = {name.partition("@")[0] for name in wanted}
    missing = [name for name in NEEDED if name not in wanted]
    gone = [f"cudnnGetConvolution{x}Algorithm" for x in GONE]
    if missing or wanted.intersection(gone):
        raise ToolError(f"{library} does not call {missing}, or calls one of {gone}")
    defined = text_of("nm", "-DC", "--defined-only", library)
    types = registered_types()
    with_gpu = [
        name
        for name in types
        # Some share Backward_gpu, and second names share the whole layer.
        if f"caffe::{name}Layer<float>::Forward_gpu(" in defined
    ]
    for name in ("CuDNNConvolutionLayer", "CuDNNDeconvolutionLayer", "NCCL"):
        if f"caffe::{name}<float>::" not in defined:
            raise ToolError(f"{library} has no {name}")
    return with_gpu


def size(path: Path) -> int:
    """Return the bytes of a file or of a folder's files."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(p.stat().st_size for p in files if p.is_file() and not p.is_symlink())


def packages(fetched: Path) -> dict[str, dict[str, Any]]:
    """Return the installed packages of PyPI, their versions and sizes in MB."""
    found = {}
    for info in sorted(fetched.glob("*/*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
        lines = (info / "RECORD").read_text().splitlines()
        parts = [info.parent / line.rsplit(",", 2)[0] for line in lines]
        total = sum(part.stat().st_size for part in parts if part.is_file())
        found[name.replace("_", "-")] = {
            "version": version,
            "megabytes": round(total / 1e6, 1),
        }
    return found


def check(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the build is made of."""
    tree, fetched = options.folder / "caffe", (options.folder / "cuda").resolve()
    nvcc = cuda.find_nvcc(options.folder / "cuda")
    built = products(tree, options)
    return {
        "cuda_hidden": bool(os.environ.get("RANDROP_CUDA_IS_HIDDEN")),
        "nvcc": cuda.cuda_version(nvcc) if nvcc else None,
        "compiler": text_of("c++", "-dumpfullversion").strip(),
        "architectures": options.cuda_arch.split(),
        "packages": packages(fetched),
        "libraries": check_libraries(built, fetched),
        "layers_with_gpu_code": check_symbols(built["libcaffe.so"]),
        "megabytes": {
            name: round(size(path.resolve()) / 1e6, 1) for name, path in built.items()
        },
    }


def main() -> int:
    """Build and check."""
    options = arguments()
    options.folder = options.folder.resolve()
    if options.hide_cuda:
        hide_cuda()
    times = build(options)
    result = {**check(options), **times, "ran_on_a_gpu": False}
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
