"""The patch tool on trees of every kind, and on those too old or too different."""

import re
import subprocess

import forks
import pytest
from conftest import REPOSITORY
from patched_tree import PROTO, tool
from test_forks import state

from caffe_tools import demands, patching, planning
from caffe_tools.patching import State

REFUSED = {
    "nvidia-template": r"Layer<Ftype, Btype>, as NVIDIA's Caffe has",
    "opencl-template": r"Layer<Dtype, MItype, MOtype>, as the OpenCL branch has",
    "four-axes": r"from before March 2015, when a blob had four axes",
    "merged-by-hand": r"already has our names: message SigmoidRandomDropCELossParamet",
    "numbers-taken": r"number 208 of LayerParameter",
    "extensions": r"number 208 of LayerParameter",
    "reserved": r"number 208 of LayerParameter",
}
"""Why a kind is not patched without more ado."""
TOO_OLD = ("nvidia-template", "opencl-template", "four-axes")


@pytest.mark.parametrize("kind", REFUSED)
def test_a_tree_that_cannot_take_the_layers_stays_and_hears_why(bvlc, tmp_path, kind):
    tree = forks.make(kind, tmp_path / "caffe", bvlc)
    before = state(tree)
    result = tool(tree)
    assert result.returncode == 2
    assert re.search(REFUSED[kind], result.stderr), result.stderr
    assert "Nothing was written" in result.stderr
    assert state(tree) == before
    assert tool(tree, "--dry-run").returncode == 2
    assert tool(tree, "--check").returncode == 1


@pytest.mark.parametrize("kind", TOO_OLD)
def test_the_twins_are_the_remedy_where_there_are_python_layers(bvlc, tmp_path, kind):
    tree = forks.make(kind, tmp_path / "caffe", bvlc)
    said = tool(tree).stderr
    page = re.search(r"Python twins.*: (docs/\S+\.md)", said)[1]
    assert (REPOSITORY / page).is_file()
    for path in (tree / "include").rglob("python_layer.hpp"):
        path.unlink()
    said = tool(tree).stderr
    assert "a newer Caffe" in said
    assert "Python twins" not in said


@pytest.mark.parametrize("kind", sorted(set(forks.KINDS) - set(REFUSED)))
def test_each_kind_is_patched_and_restored(bvlc, tmp_path, kind):
    tree = forks.make(kind, tmp_path / "caffe", bvlc)
    before = state(tree)
    result = tool(tree)
    assert result.returncode == 0, result.stderr
    assert patching.check(tree) is State.PATCHED
    assert "already patched" in tool(tree).stdout
    assert tool(tree, "--revert").returncode == 0
    assert state(tree) == before


@pytest.mark.parametrize("kind", ["old-headers", "segnet"])
def test_the_old_layout_gets_the_header_that_it_lacks(bvlc, tmp_path, kind):
    tree = forks.make(kind, tmp_path / "caffe", bvlc)
    assert not (tree / demands.LOSS).exists()
    patching.apply(tree)
    assert '#include "caffe/loss_layers.hpp"' in (tree / demands.LOSS).read_text()
    # The engine's layers are children of layers whose headers are not there.
    assert planning.engine_left_out(tree)
    assert b"cpu_engine.hpp" not in (tree / demands.FACTORY).read_bytes()


def test_a_split_tree_keeps_its_own_header(bvlc, tmp_path):
    tree = forks.make("bvlc", tmp_path / "caffe", bvlc)
    before = (tree / demands.LOSS).read_bytes()
    patching.apply(tree)
    assert (tree / demands.LOSS).read_bytes() == before


def test_normalization_takes_a_number_that_is_free(bvlc, tmp_path):
    tree = forks.make("segnet", tmp_path / "caffe", bvlc)
    patching.apply(tree)
    text = (tree / PROTO).read_text()
    assert "weight_by_label_freqs = 3" in text
    assert "NormalizationMode normalization = 4 [default = VALID];" in text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segnet"])
def test_all_our_sources_compile_in_the_old_layout(bvlc, tmp_path, kind):
    tree = forks.make(kind, tmp_path / "caffe", bvlc)
    patching.apply(tree)
    messages = tmp_path / "messages/caffe/proto"
    messages.mkdir(parents=True)
    proto = tree / PROTO
    command = ["protoc", f"-I{proto.parent}", f"--cpp_out={messages}", proto]
    subprocess.run(command, check=True)
    folders = (tmp_path / "messages", tree / "include", tree / "src")
    flags = [f"-I{folder}" for folder in (*folders, "/usr/include/hdf5/serial")]
    # What most files begin with is parsed once.
    common = tmp_path / "common.hpp"
    common.write_text('#include "caffe/layer.hpp"\n')
    compiler = ["g++", "-w", "-DCPU_ONLY", *flags]
    subprocess.run([*compiler, "-x", "c++-header", common], check=True)
    files = sorted(planning.LAYERS.rglob("*.cpp"))
    assert len(files) > 40
    failed = {}
    for file in files:
        path = tree / file.relative_to(planning.LAYERS)
        command = [*compiler, "-fsyntax-only", "-include", common, path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            failed[path.name] = done.stderr[:500]
    assert not failed
