"""Our CUDA sources compile with the real compiler, if there is one."""

import subprocess

import pytest

from caffe_tools import building, cuda
from caffe_tools.errors import ToolError
from caffe_tools.planning import LAYERS
from randrop.pycaffe.build import build_dir, caffe_root

NVCC = cuda.find_nvcc(build_dir() / "cuda")
SOURCES = sorted(LAYERS.rglob("*.cu"))


@pytest.fixture(scope="module")
def toolkit(caffe):
    if NVCC is None:
        pytest.skip("no nvcc on this machine")
    try:
        python = build_dir() / "venv" / "bin" / "python"
        return cuda.cuda_toolkit(NVCC, build_dir() / "cuda", python, building.say)
    except ToolError as error:
        pytest.skip(f"no cuBLAS and cuRAND: {error}")


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_compiles_without_a_warning(toolkit, tmp_path, source):
    """For the oldest architecture that the compiler knows; --gpu-build has more."""
    oldest = cuda.gpu_architectures(NVCC)[0]
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
            *(NVCC, "-c", source, "-o", tmp_path / "object.o"),
            *cuda.compiler_flags(NVCC),
            f"-gencode=arch=compute_{oldest},code=sm_{oldest}",
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


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
def test_kernels_of_a_library_can_be_launched_from_outside(tmp_path):
    """Caffe's im2col tests do; otherwise they do not link."""
    kernel = "template <typename T> __global__ void twice(T* x)"
    (tmp_path / "library.cu").write_text(
        f"{kernel} {{ *x *= 2; }}\ntemplate __global__ void twice(float*);\n"
    )
    (tmp_path / "program.cu").write_text(
        f"{kernel};\nextern template __global__ void twice(float*);\n"
        "int main() { twice<float><<<1, 1>>>(nullptr); }\n"
    )
    library = tmp_path / "libtwice.so"
    flags = [*cuda.compiler_flags(NVCC), "-Xcompiler", "-fPIC"]
    for command in (
        [*flags, "-shared", "-o", library, tmp_path / "library.cu"],
        [*flags, "-o", tmp_path / "program", tmp_path / "program.cu", library],
    ):
        result = subprocess.run(
            [NVCC, *command], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


def test_a_toolkit_that_is_not_whole_is_put_together_again(toolkit, tmp_path):
    packages = build_dir() / "cuda" / "packages"
    if toolkit.parent != packages.parent:
        pytest.skip("this machine's own toolkit is whole")
    (tmp_path / "packages").symlink_to(packages)
    said = []
    python = build_dir() / "venv" / "bin" / "python"
    made = cuda.cuda_toolkit(NVCC, tmp_path, python, said.append)
    library = made / "lib64" / "libcublas.so"
    library.unlink()
    assert cuda.cuda_toolkit(NVCC, tmp_path, python, said.append) == made
    assert library.exists()
    assert said == [], "nothing is fetched twice"
    before = library.lstat().st_mtime_ns
    cuda.cuda_toolkit(NVCC, tmp_path, python, said.append)
    assert library.lstat().st_mtime_ns == before, "a whole one stays"
