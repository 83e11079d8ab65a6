"""The lines of Caffe's own files that the oneDNN layers need to change."""

import subprocess
import sys

import forks
import pytest
from conftest import REPOSITORY
from patched_tree import tool

from caffe_tools import patching, planning
from caffe_tools.hooks import ENGINE, THREADS


@pytest.mark.parametrize("hook", ENGINE, ids=lambda hook: hook.name)
def test_each_finds_its_place_in_caffe(caffe_source, hook):
    text = (caffe_source / hook.path).read_text()
    assert hook.misfits(text) == []
    patched = hook.apply(text)
    assert patched != text
    assert hook.apply(patched) == patched
    assert hook.undo(patched) == text


def test_a_tree_without_one_place_gets_none(tree):
    path = tree / "include/caffe/syncedmem.hpp"
    line = "void* mutable_gpu_data();"
    path.write_text(path.read_text().replace(line, line.replace("_gpu", "_device")))
    why = (
        "the hunk at cpu-engine-memory.patch, line 20, is not found: the file has no "
        f"line '{line}'"
    )
    assert planning.engine_left_out(tree) == {"include/caffe/syncedmem.hpp": why}
    factory = (tree / "include/caffe/layer_factory.hpp").read_text()
    result = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/patch_caffe.py", tree],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "keeps Caffe's own layers, without oneDNN" in result.stdout
    assert f"  include/caffe/syncedmem.hpp: {why}\n" in result.stdout
    assert (tree / "include/caffe/layer_factory.hpp").read_text() == factory
    # Patching does not change the answer: it depends on the original tree.
    assert planning.engine_left_out(tree) == {"include/caffe/syncedmem.hpp": why}
    assert patching.apply(tree) == []


def test_a_whole_tree_has_the_engine(tree):
    patching.apply(tree)
    assert planning.engine_left_out(tree) == {}
    assert "NewCpuEngineLayer" in (tree / "include/caffe/layer_factory.hpp").read_text()
    assert (
        "find_library(DNNL_LIBRARY dnnl)"
        in (tree / "cmake/Dependencies.cmake").read_text()
    )


@pytest.mark.parametrize("kind", ["bvlc", "bvlc-1-0", "committed", "crlf", "tabs"])
def test_the_engine_goes_into_each_of_these(bvlc, tmp_path, kind):
    tree = forks.make(kind, tmp_path / "caffe", bvlc)
    assert planning.engine_left_out(tree) == {}
    assert planning.told(tree) == []


def test_the_engine_needs_the_headers_of_the_layers_that_it_derives_from(tree):
    (tree / "include/caffe/layers/scale_layer.hpp").unlink()
    assert planning.engine_left_out(tree) == {
        "include/caffe/layers/scale_layer.hpp": (
            "is missing: a layer of the engine derives from it"
        )
    }


def _cmake(tree, build, *flags):
    command = ["cmake", "-S", tree, "-B", build, "-DCPU_ONLY=ON", *flags]
    command += ["-DBLAS=Open", "-DUSE_LEVELDB=OFF", "-DBUILD_python=OFF"]
    command += ["-DCMAKE_POLICY_VERSION_MINIMUM=3.5", "-DBUILD_docs=OFF"]
    subprocess.run(command, check=True, capture_output=True)
    return (build / "src/caffe/CMakeFiles/caffe.dir/flags.make").read_text()


def test_losses_run_on_threads_where_cmake_has_no_option_for_it(bvlc, tmp_path):
    tree = forks.make("no-openmp", tmp_path / "caffe", bvlc)
    assert "-fopenmp" not in _cmake(tree, tmp_path / "before")
    patching.apply(tree)
    text = (tree / THREADS.path).read_text()
    assert THREADS.apply(text) == text
    assert "-fopenmp" in _cmake(tree, tmp_path / "patched")
    assert "-fopenmp" not in _cmake(tree, tmp_path / "off", "-DUSE_OPENMP=OFF")


def test_a_tree_with_an_option_for_openmp_keeps_it(bvlc):
    text = (bvlc / THREADS.path).read_text()
    assert "USE_OPENMP" in text
    assert THREADS.apply(text) == text


def test_it_is_told_where_openmp_has_no_place(bvlc, tmp_path):
    tree = forks.make("no-openmp", tmp_path / "caffe", bvlc)
    forks.edit(tree, THREADS.path, "include(cmake/Dependencies.cmake)", "# none")
    assert any("our losses use one thread" in line for line in planning.told(tree))
    assert "our losses use one thread" in tool(tree).stdout
