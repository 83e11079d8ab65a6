"""Our CUDA sources, through the real compiler, where there is one."""

import subprocess

import pytest

from caffe_tools import building, toolchain
from caffe_tools.errors import ToolError
from caffe_tools.planning import LAYERS
from randrop.caffe_build import build_dir, caffe_root

NVCC = toolchain.find_nvcc()
SOURCES = sorted(LAYERS.rglob("*.cu"))


@pytest.fixture(scope="module")
def toolkit(caffe):
    try:
        python = build_dir() / "venv" / "bin" / "python"
        return toolchain.cuda_toolkit(NVCC, build_dir() / "cuda", python, building.say)
    except ToolError as error:
        pytest.skip(f"no cuBLAS and cuRAND: {error}")


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("end", [0, -1], ids=["oldest", "newest"])
def test_compiles_without_a_warning(toolkit, tmp_path, source, end):
    architecture = toolchain.gpu_architectures(NVCC)[end]
    root = caffe_root()
    system = [
        root / "include",
        root / "build" / "include",
        root / "build",
        toolkit / "include",
        "/usr/include/opencv4",
    ]
    result = subprocess.run(
        [
            *(NVCC, "-c", source, "-o", tmp_path / "object.o", "-std=c++17"),
            f"-arch=sm_{architecture}",
            *("-Werror", "all-warnings"),
            *("-Xcompiler", "-Wall,-Werror,-fPIC"),
            *("-I", LAYERS / "include"),
            *(word for folder in system for word in ("-isystem", folder)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "object.o").stat().st_size > 1000
