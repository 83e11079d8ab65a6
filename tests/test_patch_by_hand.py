"""The page that says how to patch by hand: it does what the tool does."""

import shutil
import subprocess

import pytest
from conftest import REPOSITORY
from doc_blocks import blocks, small
from patched_tree import PROTO, hashes

from caffe_tools import patching

PAGE = "docs/how-to/patch-by-hand.md"
FOUND = [block for block in blocks() if block.page == PAGE]
LAYERS = REPOSITORY / "caffe_layers"


def run(block, tree):
    lines = [small(command, tree=tree) for command in block.commands]
    subprocess.run(
        ["bash", "-euc", "\n".join(lines)], cwd=REPOSITORY, check=True,
        capture_output=True,
    )  # fmt: skip


@pytest.fixture
def by_tool(tree, tmp_path):
    """A tree that the tool patches."""
    shutil.copytree(tree, tmp_path / "by tool", symlinks=True)
    patching.apply(tmp_path / "by tool")
    return tmp_path / "by tool"


@pytest.fixture
def by_hand(tree, by_tool):
    """A tree that is patched by the page's commands and its diff."""
    for block in (b for b in FOUND if b.language == "sh"):
        run(block, tree)
    (diff,) = (b.text for b in FOUND if b.text.startswith("---"))
    subprocess.run(
        ["patch", "-d", tree, "-p1"], input=diff, check=True, text=True,
        capture_output=True,
    )  # fmt: skip
    return tree


def fields(tree):
    """Return caffe.proto as protoc understands it, the order of fields aside."""
    set_file = tree / "descriptors"
    command = ["protoc", f"--proto_path={tree}", "--descriptor_set_out", set_file]
    subprocess.run([*command, tree / PROTO], check=True, capture_output=True)
    from google.protobuf import descriptor_pb2

    (file,) = descriptor_pb2.FileDescriptorSet.FromString(set_file.read_bytes()).file
    set_file.unlink()
    return {
        message.name: (
            sorted(field.SerializeToString() for field in message.field),
            [enum.SerializeToString() for enum in message.enum_type],
        )
        for message in file.message_type
    }


@pytest.mark.skipif(shutil.which("protoc") is None, reason="no protoc here")
@pytest.mark.skipif(shutil.which("patch") is None, reason="no patch here")
def test_by_hand_and_the_mends_is_what_the_tool_does(by_tool, by_hand):
    """Byte for byte; in caffe.proto, which fields stand where does not matter."""
    patching.apply(by_hand, mends_only=True)
    assert fields(by_hand) == fields(by_tool)
    hand, tool = hashes(by_hand), hashes(by_tool)
    for found in (hand, tool):
        for name in [n for n in found if n == PROTO or n.startswith(".randrop/")]:
            del found[name]
    assert hand == tool


def test_without_the_engine_only_new_files_and_the_proto_change(tree):
    before = hashes(tree)
    layers = next(b for b in FOUND if b.language == "sh")
    run(layers, tree)
    after = hashes(tree)
    assert {n for n in before if after[n] != before[n]} == {PROTO}
    new = {p.relative_to(LAYERS).as_posix() for p in LAYERS.rglob("*") if p.is_file()}
    assert set(after) - set(before) == new
