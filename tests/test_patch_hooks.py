"""The lines of Caffe's own files that the oneDNN layers need to change."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

from caffe_tools import patching, planning
from caffe_tools.hooks import HOOKS


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_each_finds_its_place_in_caffe(caffe_source, hook):
    text = (caffe_source / hook.path).read_text()
    assert hook.fits(text)
    assert hook.apply(text) != text


def test_a_tree_without_one_place_gets_none(tree):
    path = tree / "include/caffe/syncedmem.hpp"
    path.write_text(path.read_text().replace("size_t size() const", "size_t bytes()"))
    assert planning.engine_left_out(tree) == ["include/caffe/syncedmem.hpp"]
    factory = (tree / "include/caffe/layer_factory.hpp").read_text()
    result = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/patch_caffe.py", tree],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "syncedmem.hpp differs from BVLC's Caffe" in result.stdout
    assert (tree / "include/caffe/layer_factory.hpp").read_text() == factory
    # Patching does not change the answer: it depends on the original tree.
    assert planning.engine_left_out(tree) == ["include/caffe/syncedmem.hpp"]
    assert patching.apply(tree) == []


def test_a_whole_tree_has_the_engine(tree):
    patching.apply(tree)
    assert planning.engine_left_out(tree) == []
    assert "NewCpuEngineLayer" in (tree / "include/caffe/layer_factory.hpp").read_text()
    assert (
        "find_library(DNNL_LIBRARY dnnl)"
        in (tree / "cmake/Dependencies.cmake").read_text()
    )
