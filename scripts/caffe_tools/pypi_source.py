"""BVLC's own tree of Caffe from PyPI, for machines that have no Debian archive.

The package brocolli-caffe 3.0.0 has BVLC's last master, with changes: two source files
differ, examples/ is left out, and the Makefile is for its author's build. Here the two
files get BVLC's text back, and the additions go. A test compares the result with the
archive that Debian signed, file by file.
"""

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path

from caffe_tools.errors import ToolError
from caffe_tools.toolchain import output_of, run_quietly

NAME = "brocolli-caffe 3.0.0"
ARCHIVE = "brocolli-caffe-3.0.0.tar.gz"
SHA256 = "ad7ba487552f4343df25044a9fa14812a96add48ea2ff993b53bf2dafe8248e2"
_PIN = f"brocolli-caffe==3.0.0 --hash=sha256:{SHA256}\n"

# Packaging, and the settings and products of its author's build. The Makefile has
# BVLC's name, but builds with those settings alone.
_ADDED = (
    *(".git", "MANIFEST.in", "Makefile", "Makefile.config", "PKG-INFO", "README.md"),
    *("setup.cfg", "setup.py", "python/brocolli_caffe.egg-info"),
    *("python/caffe/__pycache__", "python/caffe/proto"),
)
_RESTORED = {
    "src/caffe/net.cpp": (
        "const string& trained_filename) {\n"
        "  CopyTrainedLayersFromBinaryProto(trained_filename);\n}\n",
        "const string& trained_filename) {\n"
        "  if (H5Fis_hdf5(trained_filename.c_str())) {\n"
        "    CopyTrainedLayersFromHDF5(trained_filename);\n"
        "  } else {\n"
        "    CopyTrainedLayersFromBinaryProto(trained_filename);\n"
        "  }\n}\n",
    ),
    "src/caffe/util/io.cpp": (
        "SetTotalBytesLimit(536870912);",
        "SetTotalBytesLimit(kProtoReadBytesLimit, 536870912);",
    ),
}
_EXAMPLES = "# PyPI's package has no examples; Caffe's CMakeLists.txt asks for them.\n"


def download(cache: Path, python: str) -> Path:
    """Fetch the archive by pip; return it. pip checks its hash before anything else.

    Parameters
    ----------
    cache : Path
        Folder that keeps it.
    python : str
        A Python with pip.

    Raises
    ------
    ToolError
        If pip is missing or cannot fetch it; the cache stays unchanged.
    """
    pip = [python, "-I", "-m", "pip"]
    if not output_of([*pip, "--version"]).startswith("pip "):
        raise ToolError(f"{python} has no pip: install the package python3-pip")
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        pin = Path(folder, "pin.txt")
        pin.write_text(_PIN)
        run_quietly(
            [
                *(*pip, "download", "-q", "--disable-pip-version-check", "--no-deps"),
                *("--no-binary", ":all:", "--require-hashes", "-r", str(pin)),
                *("-d", folder),
            ],
            f"cannot fetch {NAME} from PyPI",
        )
        return Path(folder, ARCHIVE).replace(cache / ARCHIVE)


def unpack(archive: Path, tree: Path) -> None:
    """Unpack the archive, with BVLC's text in the two files, as a folder.

    Raises
    ------
    ToolError
        If the archive is not the one that we know.
    """
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise ToolError(
            f"{archive} is damaged (another SHA-256 than {NAME} has): delete it, and "
            "run this again"
        )
    with tempfile.TemporaryDirectory(dir=tree.parent) as folder:
        with tarfile.open(archive) as stream:
            # Newer Pythons warn without a filter; early 3.10 does not know it.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            stream.extractall(folder, **safe)
        unpacked = Path(folder, ARCHIVE.removesuffix(".tar.gz"))
        for name in _ADDED:
            path = unpacked / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, (changed, original) in _RESTORED.items():
            text = (unpacked / name).read_text()
            (unpacked / name).write_text(text.replace(changed, original))
        (unpacked / "examples").mkdir()
        (unpacked / "examples" / "CMakeLists.txt").write_text(_EXAMPLES)
        unpacked.rename(tree)
