"""The patch tool on trees like those of forks, and on trees that users changed."""

import re

import pytest
from patched_tree import FIELD, PROTO, add_field, hashes, tool

from caffe_tools import patching
from caffe_tools.errors import ToolError
from caffe_tools.patching import State

FORKS = {
    "SSD": ("optional AnnotatedDataParameter annotated_data_param = 208;", "annotated"),
    "a private fork": (
        "optional float my_param = 208 [default = 1];",
        "'float my_param'",
    ),
    "reserved": ("reserved 200 to 210;", "the reserved or extension range"),
    "extensions": ("extensions 150 to max;", "the reserved or extension range"),
    "oneof": ("oneof kind { int32 a_param = 208; int32 b = 209; }", "'int32 a_param'"),
}


@pytest.mark.parametrize("fork", FORKS)
def test_a_taken_number_is_named_and_another_can_be_chosen(tree, fork):
    line, who = FORKS[fork]
    add_field(tree, line)
    before = hashes(tree)
    result = tool(tree)
    assert result.returncode == 2
    assert (
        f"number 208 of LayerParameter, which our field '{FIELD}' needs"
        in result.stderr
    )
    assert who in result.stderr
    assert "Nothing was written" in result.stderr
    assert hashes(tree) == before
    advice = re.findall(r"--number (\S+=\d+)", result.stderr)
    result = tool(tree, *(word for text in advice for word in ("--number", text)))
    assert result.returncode == 0, result.stderr
    for text in advice:
        assert text.replace("=", " = ") + ";" in (tree / PROTO).read_text()
    # The choice is remembered.
    assert tool(tree).returncode == 0
    assert tool(tree, "--check").returncode == 0


def test_a_second_name_that_a_fork_has_is_left_to_it(tree):
    fork = tree / "src/caffe/layers/dice_loss_layer.cpp"
    fork.write_text("REGISTER_LAYER_CLASS(DiceLoss);\n")
    before = hashes(tree)
    result = tool(tree)
    assert result.returncode == 0, result.stderr
    assert (
        f"dice_loss_name.cpp skipped: {fork} already registers DiceLoss"
        in result.stdout
    )
    assert not (tree / "src/caffe/layers/dice_loss_name.cpp").exists()
    assert (tree / "src/caffe/layers/soft_dice_loss_layer.cpp").exists()
    assert (tree / "src/caffe/layers/sigmoid_focal_loss_name.cpp").exists()
    assert tool(tree, "--check").returncode == 0
    patching.revert(tree)
    assert hashes(tree) == before


def test_other_forks_numbers_do_not_disturb(tree):
    add_field(
        tree,
        "optional PermuteParameter permute_param = 202; // SSD\n"
        "  map<string, int32> seen = 203;\n  repeated group Old = 204 { }",
    )
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED


def test_parameters_merged_by_hand_are_named(tree):
    add_field(tree, f"optional SigmoidRandomDropCELossParameter {FIELD} = 208;")
    with (tree / PROTO).open("a") as stream:
        stream.write("message SigmoidRandomDropCELossParameter { }\n")
    before = hashes(tree)
    with pytest.raises(
        ToolError, match="message SigmoidRandomDropCELossParameter in li"
    ):
        patching.apply(tree)
    assert hashes(tree) == before


def test_a_layer_type_registered_by_others_is_named(tree):
    other = tree / "src/caffe/layers/sigmoid_randomdrop_layer.cpp"
    other.write_text("REGISTER_LAYER_CLASS(SigmoidRandomDropCrossEntropyLoss);\n")
    before = hashes(tree)
    with pytest.raises(
        ToolError,
        match=r"sigmoid_randomdrop_layer\.cpp already registers the layer type Sigmoid",
    ):
        patching.apply(tree)
    assert hashes(tree) == before


def test_a_file_of_the_users_in_our_place_is_kept(tree):
    theirs = tree / "include/caffe/randrop/math/philox.hpp"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("// mine\n")
    before = hashes(tree)
    with pytest.raises(ToolError, match=r"philox\.hpp already exists and is not ours"):
        patching.apply(tree)
    assert hashes(tree) == before


def test_an_edit_after_the_patch_is_not_lost(tree):
    patching.apply(tree)
    with (tree / PROTO).open("a") as stream:
        stream.write("// my own line\n")
    assert patching.check(tree) is State.EDITED
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED
    assert "// my own line\n" in (tree / PROTO).read_text()


def test_a_patched_file_that_is_gone_is_named(tree):
    patching.apply(tree)
    (tree / "src/caffe/net.cpp").unlink()
    assert patching.check(tree) is State.EDITED
    with pytest.raises(ToolError, match=r"net\.cpp was deleted"):
        patching.revert(tree)
