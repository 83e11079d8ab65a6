"""The compatibility mends of the patch tool."""

import re
import subprocess

import pytest
from patched_tree import PROTO, hashes

from caffe_tools import patching
from caffe_tools.patching import State


def part(path, kind, name):
    """Return the text of a CMake function or macro."""
    pattern = rf"^{kind}\({name}.*?^end{kind}\(\)\n"
    return re.search(pattern, path.read_text(), re.MULTILINE | re.DOTALL)[0]


@pytest.mark.parametrize("version", ["8.0", "9.0", "13.0"])
def test_architectures_of_a_build_by_hand(tree, version):
    """CMake keeps the request, except what the compiler no longer supports."""
    patching.apply(tree, mends_only=True)
    script = tree / "select.cmake"
    script.write_text(
        part(tree / "cmake/Utils.cmake", "macro", "caffe_list_unique")
        + part(tree / "cmake/Cuda.cmake", "function", "caffe_select_nvcc_arch_flags")
        # It marks cache entries, and script mode has no cache.
        .replace("mark_as_advanced", "#")
        + 'caffe_select_nvcc_arch_flags(flags)\nmessage("${flags}")\n'
    )
    options = {
        "CUDA_VERSION": version,
        "CUDA_ARCH_NAME": "Manual",
        "CUDA_ARCH_BIN": "20 21(20) 75 120",
        "CUDA_ARCH_PTX": "120",
    }
    given = (f"-D{name}={value}" for name, value in options.items())
    told = subprocess.run(
        ["cmake", *given, "-P", script],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"arch=compute_(\d+),code=(\w+)", told.stderr)
    old = [("20", "sm_20"), ("20", "sm_21")] if version == "8.0" else []
    new = [("75", "sm_75"), ("120", "sm_120"), ("120", "compute_120")]
    assert found == old + new


def test_mends_alone(tree):
    before = hashes(tree)
    patching.apply(tree, mends_only=True)
    assert "SigmoidRandomDrop" not in (tree / PROTO).read_text()
    assert not (tree / "include/caffe/randrop/math/philox.hpp").exists()
    assert patching.check(tree) is State.PATCHED
    patching.revert(tree)
    assert hashes(tree) == before
