"""Every C++ file that a mend changes compiles with the libraries of this machine."""

import shutil
import subprocess
import sysconfig

import forks
import numpy as np
import pytest
from conftest import REPOSITORY
from test_mends import decoded

from caffe_tools import mends

KINDS = ("bvlc", "ssd", "rfcn", "intel", "shuffles")
OPTIONS = [
    *("g++", "-std=c++17", "-fsyntax-only", "-w", "-DCPU_ONLY", "-DUSE_OPENCV"),
    *("-DUSE_LMDB", "-DUSE_HDF5", "-I/usr/include/opencv4"),
    *("-I/usr/include/hdf5/serial", f"-I{REPOSITORY / 'caffe_layers/include'}"),
    *(f"-I{sysconfig.get_paths()['include']}", f"-I{np.get_include()}"),
]


def mended_in_place(tree, already):
    """Mend a tree; return the C++ files that changed and differ from those before."""
    changed = []
    for path in mends.paths(tree):
        before = decoded(tree / path)
        after, _ = mends.apply(path, before)
        if after != before:
            (tree / path).write_bytes(after.encode("utf-8", "surrogateescape"))
            if path.endswith(".cpp") and already.get(path) != after:
                already[path] = after
                changed.append(path)
    return changed


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("protoc") is None, reason="no protoc here")
def test_every_mended_file_compiles(bvlc, tmp_path):
    seen = {}
    for kind in KINDS:
        tree = forks.make(kind, tmp_path / kind, bvlc)
        files = mended_in_place(tree, seen)
        assert files, kind
        made = tree / "include/caffe/proto"
        made.mkdir()
        proto = tree / "src/caffe/proto"
        subprocess.run(
            ["protoc", f"--proto_path={proto}", f"--cpp_out={made}", "caffe.proto"],
            check=True,
            cwd=proto,
        )
        for path in files:
            result = subprocess.run(
                [*OPTIONS, "-Iinclude", "-Isrc", path],
                cwd=tree,
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, f"{kind}: {path}: {result.stderr[:800]}"
