"""Where the built Caffe is, and how to import pycaffe from it quietly."""

import os
import sys
from pathlib import Path
from types import ModuleType

from randrop.errors import UserError

PACKAGES = Path(__file__).resolve().parents[2]
"""What PYTHONPATH must name for `import randrop`."""

INSTALLED = (PACKAGES / "randrop" / "scripts").is_dir()
"""An installed package has the repository's other folders in itself."""

REPOSITORY = PACKAGES / "randrop" if INSTALLED else PACKAGES.parent


def build_dir() -> Path:
    """Return the folder for all outputs: `$RANDROP_BUILD` or `build/`.

    `build/` lies in the repository or, for an installed package, in the current folder.
    """
    default = "build" if INSTALLED else REPOSITORY / "build"
    return Path(os.environ.get("RANDROP_BUILD") or default).resolve()


def caffe_root() -> Path:
    """Return the Caffe tree in use: `$CAFFE_ROOT` or `build/caffe`."""
    return Path(os.environ.get("CAFFE_ROOT") or build_dir() / "caffe").resolve()


def caffe_binary() -> Path:
    """Return the `caffe` program.

    Raises
    ------
    UserError
        If it is not built.
    """
    for relative in ("build/tools/caffe", "build/tools/caffe.bin"):
        path = caffe_root() / relative
        if path.exists():
            return path
    raise UserError(
        f"found no program caffe in {caffe_root()}/build/tools: build it with "
        "'python3 scripts/build_caffe.py', or set CAFFE_ROOT to your own built tree"
    )


PATIENCE = {"GOMP_SPINCOUNT": "10000"}
"""How long OpenMP threads busy-wait before they sleep: 10000 turns are a quarter of a
millisecond (246 us where it was measured), the default of 300000 some seven. Where
programs compete for the processors, busy-waiting threads starve the threads that they
wait for. Our own loops do not wait so (caffe/randrop/loops/parallel.hpp); this is for
oneDNN's convolutions. Without it, the engine lets their threads sleep at once
(caffe/randrop/engine/cpu_engine.cpp), which is a few percent slower on a quiet machine.
OpenMP reads it when it is loaded, so a program must be started with it."""


def environment() -> dict[str, str]:
    """Return an environment in which `caffe` finds our Python layers and pycaffe.

    The program embeds Python and does not know the virtual environment, so PYTHONPATH
    names the packages of the running interpreter.
    """
    paths = [PACKAGES, caffe_root() / "python"]
    paths += [Path(p) for p in sys.path if p.endswith("-packages")]
    # An empty entry, such as from a trailing colon, would mean the current folder.
    known = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    # The same holds for the loader's path, where cv2 leaves a trailing colon.
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    return {
        **PATIENCE,
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PYTHONPATH": os.pathsep.join([*map(str, paths), *known]),
        "RANDROP_PYTHON": sys.executable,
    }


def import_caffe() -> ModuleType:
    """Import and return pycaffe from `caffe_root()`, with Caffe's log silenced.

    Raises
    ------
    UserError
        If pycaffe cannot be imported.
    """
    for name, value in {"GLOG_minloglevel": "2", **PATIENCE}.items():
        os.environ.setdefault(name, value)
    folder = str(caffe_root() / "python")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        import caffe
    except ImportError as error:
        if sys.flags.optimize > 1:
            raise UserError(
                "cannot import pycaffe without docstrings, which scikit-image needs "
                f"({error}): start Python without -OO, and without PYTHONOPTIMIZE=2 in "
                "the environment"
            ) from error
        raise UserError(
            f"cannot import pycaffe from {folder} ({error}): build it with 'python3 "
            "scripts/build_caffe.py', or set CAFFE_ROOT to a tree built with Python"
        ) from error
    return caffe
