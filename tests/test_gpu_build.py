"""The checks of tests/gpu_build.py, and what its committed result says."""

import argparse
import json
import subprocess

import gpu_build
import pytest
from conftest import REPOSITORY

from caffe_tools import toolchain
from caffe_tools.errors import ToolError
from caffe_tools.planning import registered_types

RESULT = REPOSITORY / "results" / "gpu_build.json"
CALL = 'extern "C" void cublas(); void f() { cublas(); }'


def library(path, text, *words):
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_suffix(".cpp")
    source.write_text(text)
    command = ["g++", "-shared", "-fPIC", "-o", path, source, *words]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return path


@pytest.fixture
def built(tmp_path):
    """Products that load one library of CUDA."""
    fetched = tmp_path / "cuda"
    library(fetched / "lib" / "libcublas.so", 'extern "C" void cublas() {}')
    for place in gpu_build.PRODUCTS.values():
        library(
            *(
                tmp_path / "caffe" / place,
                'extern "C" void cublas(); void f() { cublas(); }',
            ),
            *(f"-L{fetched}/lib", "-lcublas", f"-Wl,-rpath,{fetched}/lib"),
        )
    options = argparse.Namespace(no_tests=False)
    return gpu_build.products(tmp_path / "caffe", options)


def test_libraries_are_those_of_the_packages(built, tmp_path):
    found = gpu_build.check_libraries(built, tmp_path / "cuda")
    assert found == {"libcublas.so": "lib/libcublas.so"}


def test_a_library_from_elsewhere_is_an_error(built, tmp_path):
    with pytest.raises(ToolError, match=r"loads libcublas.so from .*/cuda/"):
        gpu_build.check_libraries(built, tmp_path / "other")


def test_a_library_that_is_missing_is_an_error(built, tmp_path):
    (tmp_path / "cuda/lib/libcublas.so").unlink()
    with pytest.raises(ToolError, match="not found"):
        gpu_build.check_libraries(built, tmp_path / "cuda")


TYPES = ("CuDNNConvolutionLayer", "CuDNNDeconvolutionLayer", "NCCL")


def with_symbols(path, called, defined=TYPES, layers=()):
    calls = "".join(f"void {name}();\n" for name in called)
    classes = "".join(
        f"template <typename T> struct {name} {{ void Run(int); }};\n"
        f"template <typename T> void {name}<T>::Run(int) {{}}\n"
        f"template struct {name}<float>;\n"
        for name in defined
    ) + "".join(
        f"template <typename T> struct {name}Layer {{\n"
        "  void Forward_gpu(int); void Backward_gpu(int);\n};\n"
        f"template <typename T> void {name}Layer<T>::Forward_gpu(int) {{}}\n"
        f"template <typename T> void {name}Layer<T>::Backward_gpu(int) {{}}\n"
        f"template struct {name}Layer<float>;\n"
        for name in layers
    )
    uses = "".join(f"{name}(); " for name in called)
    text = (
        f'extern "C" {{\n{calls}}}\nvoid use() {{ {uses}}}\n'
        f"namespace caffe {{\n{classes}}}\n"
    )
    return library(path, text)


def test_a_library_with_all_symbols_names_our_layers(tmp_path):
    ours = registered_types()[:2]
    path = with_symbols(tmp_path / "a.so", gpu_build.NEEDED, layers=ours)
    assert gpu_build.check_symbols(path) == ours


@pytest.mark.parametrize("name", ["ncclAllReduce", gpu_build.NEEDED[0]])
def test_a_call_that_is_missing_is_named(tmp_path, name):
    called = [x for x in gpu_build.NEEDED if x != name]
    with pytest.raises(ToolError, match=name):
        gpu_build.check_symbols(with_symbols(tmp_path / "a.so", called))


def test_a_call_that_cudnn_9_has_not_is_an_error(tmp_path):
    called = [*gpu_build.NEEDED, "cudnnGetConvolutionForwardAlgorithm"]
    with pytest.raises(ToolError, match="calls one of"):
        gpu_build.check_symbols(with_symbols(tmp_path / "a.so", called))


def test_a_class_that_is_missing_is_named(tmp_path):
    path = with_symbols(tmp_path / "a.so", gpu_build.NEEDED, TYPES[:1])
    with pytest.raises(ToolError, match="has no CuDNNDeconvolutionLayer"):
        gpu_build.check_symbols(path)


def test_a_build_that_stopped_goes_on_and_its_time_is_added(tmp_path, monkeypatch):
    options = argparse.Namespace(
        folder=tmp_path, cuda_arch="90", jobs=1, no_tests=False
    )
    ends = iter([["false"], ["true"]])
    popen = subprocess.Popen
    monkeypatch.setattr(
        gpu_build.subprocess, "Popen", lambda command, env: popen(next(ends))
    )
    (tmp_path / "caffe").mkdir()
    (tmp_path / "gpu-build-times.json").write_text("[100, 50]")
    with pytest.raises(ToolError, match="the same command goes on"):
        gpu_build.build(options)
    times = gpu_build.build(options)
    assert 100 <= times["seconds"] < 110
    assert times["processor_seconds"] >= 50
    (tmp_path / "caffe").rmdir()
    monkeypatch.setattr(
        gpu_build.subprocess, "Popen", lambda command, env: popen(["true"])
    )
    assert gpu_build.build(options)["seconds"] < 100, "a new build begins at 0"


def test_the_result_is_of_the_packages_that_are_pinned():
    content = json.loads(RESULT.read_text())
    groups = ("gpu", "cudnn", "nccl", "nvcc")
    pins = dict(x.split("==") for x in toolchain.requirements(groups, own=False))
    found = {name: x["version"] for name, x in content["packages"].items()}
    assert found == pins
    assert content["cuda_hidden"]
    assert content["ran_on_a_gpu"] is False
    assert {"libcudnn.so.9", "libnccl.so.2"} <= set(content["libraries"])
