"""The libraries of a CUDA toolkit: what they consist of, and where they come from."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

from caffe_tools.errors import ToolError
from caffe_tools.mends.cudnn import HEADER as CUDNN_HEADER
from caffe_tools.toolchain import requirements

LIBRARIES = ("lib64", "lib", "targets/x86_64-linux/lib")
HEADERS = ("include", "targets/x86_64-linux/include")
_CONVOLUTION_TYPE = r"cudnnSetConvolution2dDescriptor\([^;]*dataType<"
_SYSTEM = (Path("/usr"), Path("/usr/local"))


@dataclasses.dataclass(frozen=True)
class Part:
    """What a toolkit has besides compiler and runtime.

    Attributes
    ----------
    name, size : str
        What it is, and how much is downloaded.
    headers, libraries : tuple of str
        The files that Caffe includes and links.
    packages : tuple of str
        PyPI's packages, with {} where the CUDA version belongs, if anywhere.
    variable : str
        The environment variable that names its folder, as in Caffe's CMake files.
    cmake : tuple of str
        CMake's variables there for the folder of the headers and for the library.
    """

    name: str
    size: str
    headers: tuple[str, ...]
    libraries: tuple[str, ...]
    packages: tuple[str, ...]
    variable: str = ""
    cmake: tuple[str, ...] = ()

    def within(self, toolkit: Path) -> tuple[Path, Path]:
        """Return the folder of the headers and the library in a toolkit."""
        return _first(toolkit, HEADERS, self.headers[0]), (
            _first(toolkit, LIBRARIES, self.libraries[0]) / self.libraries[0]
        )


def _first(root: Path, folders: tuple[str, ...], name: str) -> Path:
    return next(root / f for f in folders if (root / f / name).exists())


MATHEMATICS = Part(
    "cuBLAS and cuRAND",
    "600 MB",
    ("cublas_v2.h", "curand.h", "cuda_runtime.h"),
    ("libcublas.so", "libcurand.so"),
    ("nvidia-cublas", "nvidia-curand"),
)
# cuDNN compiles some kernels when it needs them, by NVRTC, which it opens by name.
CUDNN = Part(
    "cuDNN",
    "500 MB",
    ("cudnn.h",),
    ("libcudnn.so",),
    ("nvidia-cudnn-cu{}", "nvidia-cuda-nvrtc"),
    "CUDNN_ROOT",
    ("CUDNN_INCLUDE", "CUDNN_LIBRARY"),
)
NCCL = Part(
    "NCCL",
    "200 MB",
    ("nccl.h",),
    ("libnccl.so",),
    ("nvidia-nccl-cu{}",),
    "NCCL_DIR",
    ("NCCL_INCLUDE_DIR", "NCCL_LIBRARIES"),
)


def has(root: Path, part: Part) -> bool:
    """Return whether a toolkit has what Caffe compiles and links against."""
    return all(
        any((root / folder / name).exists() for folder in folders)
        for names, folders in ((part.headers, HEADERS), (part.libraries, LIBRARIES))
        for name in names
    )


def pins_of(part: Part, version: str) -> list[str]:
    """Return the packages of a part, pinned where pyproject.toml pins them."""
    major = version.partition(".")[0]
    known = requirements(("gpu", "cudnn", "nccl"), own=False)
    names = [name.format(major) for name in part.packages]
    if int(major) < 13:
        # Only since CUDA 13 are there names without a version.
        names = [n if n.endswith(f"-cu{major}") else f"{n}-cu{major}" for n in names]
    return [
        next((pin for pin in known if re.split("[=;]", pin)[0] == name), name)
        for name in names
    ]


def check_tree(tree: Path, parts: Sequence[Part]) -> None:
    """Refuse parts that a Caffe tree is too old for.

    Raises
    ------
    ToolError
        Names the file of the tree that tells.
    """
    if CUDNN in parts:
        header = tree / CUDNN_HEADER
        text = header.read_text(errors="replace") if header.exists() else ""
        found = on_machine(CUDNN)
        old = found is not None and 0 < _major(found[0]) < 6
        if not text or not (old or re.search(_CONVOLUTION_TYPE, text)):
            raise ToolError(
                f"{header} is older than cuDNN 6 (its convolutions have no data type): "
                "build without --cudnn, or take BVLC's Caffe of 2017 or later"
            )
    if NCCL in parts and not (tree / "include/caffe/util/nccl.hpp").exists():
        raise ToolError(
            f"{tree} has no include/caffe/util/nccl.hpp, so it cannot use NCCL: build "
            "without --nccl, or take BVLC's Caffe of 2017 or later"
        )


def _major(include: Path) -> int:
    """Return the major version of an installed cuDNN; 0 if its headers do not say."""
    for name in ("cudnn_version.h", "cudnn.h"):
        text = (include / name).read_text() if (include / name).exists() else ""
        found = re.search(r"^#define CUDNN_MAJOR +(\d+)", text, re.MULTILINE)
        if found:
            return int(found[1])
    return 0


def on_machine(part: Part) -> tuple[Path, Path] | None:
    """Return the header's folder and the library of a part that is installed.

    Its own variable goes before the system's folders; a toolkit's is found by
    `cuda_toolkit`.

    Raises
    ------
    ToolError
        If the variable is set, but the part is not there.
    """
    named = os.environ.get(part.variable)
    for root in [Path(named)] if named else _SYSTEM:
        # The variable may also name the folder itself: Caffe's own files read it so.
        headers = [root / "include", *sorted(root.glob("include/*-linux-gnu")), root]
        libraries = [
            root / "lib64",
            root / "lib",
            *sorted(root.glob("lib/*-linux-gnu")),
        ]
        libraries.append(root)
        include = [p for p in headers if (p / part.headers[0]).exists()]
        library = [p / part.libraries[0] for p in libraries]
        library = [p for p in library if p.exists()]
        if include and library:
            return include[0], library[0]
    if named:
        raise ToolError(
            f"{part.variable} is {named}, but {part.headers[0]} or "
            f"{part.libraries[0]} is not there: correct or unset {part.variable}"
        )
    return None
