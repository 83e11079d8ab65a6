"""Edits of a patched tree that no patch may mind: line ends, numbers, a lost copy."""

import difflib
import random
import re
import shutil
import subprocess

import forks
import pytest
from patched_tree import FIELD, PROTO, add_field, tool
from test_forks import state

from caffe_tools import patching, planning, proto, recovery
from caffe_tools.errors import ToolError
from caffe_tools.patching import State

NET = "src/caffe/net.cpp"
PYCAFFE = "python/caffe/_caffe.cpp"
OURS = "src/caffe/layers/soft_dice_loss_layer.cpp"


@pytest.fixture
def tree(tree):
    """Few files: the tool reads them many times."""
    shutil.rmtree(tree / "src/gtest", ignore_errors=True)
    for path in (tree / "src/caffe/test").glob("*.cpp"):
        path.unlink()
    return tree


def convert(path, newline):
    content = path.read_bytes().replace(b"\r\n", b"\n")
    path.write_bytes(content.replace(b"\n", newline))


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"], ids=["to windows", "to unix"])
def test_line_ends_that_were_converted_since_stay_converted(tree, newline):
    paths = [tree / path for path in (PROTO, NET, "CMakeLists.txt")]
    was = b"\n" if newline == b"\r\n" else b"\r\n"
    for path in paths:
        convert(path, was)
    before = state(tree)
    patching.apply(tree)
    for path in (*paths, tree / OURS):
        convert(path, newline)
    shutil.copytree(tree, tree.with_name("again"), symlinks=True)
    patching.revert(tree)
    for path in paths:
        assert convert_count(path) == (newline == b"\r\n")
        convert(path, was)
    assert state(tree) == before
    again = tree.with_name("again")
    patching.apply(again)
    assert patching.check(again) is State.PATCHED
    patching.revert(again)
    for path in paths:
        convert(again / path.relative_to(tree), was)
    assert state(again) == before


def convert_count(path):
    """Return the share of the file's lines with Windows line ends."""
    content = path.read_bytes()
    return content.count(b"\r\n") / content.count(b"\n")


def test_an_edit_is_kept_without_the_copy_of_what_the_patch_made(tree):
    before = state(tree)
    patching.apply(tree)
    shutil.rmtree(tree / ".randrop/patched")
    for path in (NET, "CMakeLists.txt"):
        with (tree / path).open("a") as stream:
            stream.write("\n")
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED
    patching.revert(tree)
    for path in (NET, "CMakeLists.txt"):
        text = (tree / path).read_text()
        assert text.endswith("\n\n")
        (tree / path).write_text(text[:-1])
    assert state(tree) == before


def test_an_edit_beside_what_is_ours_never_hides_it(tree):
    """A line more, anywhere: the rest is as before the patch, or it is refused."""
    mine = "// mine\n"
    refused = 0
    draw = random.Random(1)
    for change in planning.plan(tree, {}):
        if change.before is None:
            continue
        before, after = (
            text.decode("latin-1").splitlines(True)
            for text in (change.before, change.after)
        )
        places = set(draw.sample(range(len(after) + 1), min(5, len(after))))
        matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
        for tag, _, _, begin, end in matcher.get_opcodes():
            if tag != "equal":
                near = range(max(0, begin - 1), min(end + 1, len(after)) + 1)
                places |= set(draw.sample(near, min(6, len(near)))) | {begin, end}
        for place in places:
            content = "".join([*after[:place], mine, *after[place:]])
            texts = ("".join(after), content, "".join(before))
            left = recovery._without_patch(change.path, *texts)
            refused += left is None
            if left is not None:
                assert left.count(mine) == 1, (change.path, place)
                assert left.replace(mine, "") == texts[2], (change.path, place)
    assert refused


def test_an_import_of_numpy_stays_when_the_other_one_goes(tree):
    module = tree / PYCAFFE
    before = module.read_text()
    patching.apply(tree)
    last = before.rindex("  import_array1();\n")
    gone = len(before) - last
    text = module.read_text()
    module.write_text(text[:-gone] + text[-gone:].replace("  import_array1();\n", ""))
    patching.apply(tree)
    assert module.read_text().count("import_array1();") == 1
    assert patching.check(tree) is State.PATCHED
    patching.revert(tree)
    assert module.read_text() == before[:last] + before[last:].replace(
        "  import_array1();\n", ""
    )


def test_what_is_ours_is_known_with_other_blanks(tree):
    patching.apply(tree)
    module = tree / PYCAFFE
    module.write_text(module.read_text().replace("\n  ", "\n\t"))
    before = state(tree)
    with pytest.raises(ToolError, match=re.escape(PYCAFFE)):
        patching.revert(tree)
    assert state(tree) == before


def test_a_folder_by_two_names_is_patched_once(tree):
    (tree / "examples").symlink_to("python")
    before = state(tree)
    patching.apply(tree)
    patching.revert(tree)
    assert state(tree) == before


def test_an_edit_where_the_patch_took_lines_out_is_no_revert():
    base, original = "a\nb\n", "a\nmoved\nb\n"
    edited = "a\nmine\nb\n"
    assert recovery._without_patch("CMakeLists.txt", base, edited, original) is None


def test_earlier_numbers_stay_when_another_is_chosen(tree):
    add_field(tree, "optional float theirs = 208;")
    assert tool(tree, "--number", f"{FIELD}=1300").returncode == 0
    for action in (("--dry-run",), ()):
        result = tool(tree, *action, "--number", "randrop_topk_param=1400")
        assert result.returncode == 0, result.stderr
    text = (tree / PROTO).read_text()
    assert f"{FIELD} = 1300;" in text
    assert "randrop_topk_param = 1400;" in text
    # And one can be taken back.
    patching.apply(tree, {"randrop_topk_param": 209})
    assert "randrop_topk_param = 209;" in (tree / PROTO).read_text()
    assert patching.check(tree) is State.PATCHED


def test_a_number_that_would_be_ignored_is_refused(tree):
    before = state(tree)
    for action in ("--check", "--revert"):
        result = tool(tree, action, "--number", f"{FIELD}=1300")
        assert result.returncode == 2
        assert "--number is for patching" in result.stderr
    result = tool(tree, "--number", f"{FIELD}=1300", "--number", f"{FIELD}=1301")
    assert result.returncode == 2
    assert "give each field once" in result.stderr
    assert state(tree) == before


def test_a_renamed_file_gets_its_name_again_as_the_message_says(tree):
    patching.apply(tree)
    (tree / NET).rename(tree / "src/caffe/net2.cpp")
    forks.edit(
        tree, "src/caffe/net2.cpp", "namespace caffe {", "// hers\nnamespace caffe {"
    )
    with pytest.raises(ToolError, match="if you renamed it, give it its name again"):
        patching.revert(tree)
    (tree / "src/caffe/net2.cpp").rename(tree / NET)
    patching.revert(tree)
    assert "// hers\n" in (tree / NET).read_text()


@pytest.fixture
def odd(tree):
    """The tree in a folder whose name a shell must be told apart."""
    return tree.rename(tree.with_name("it's a tree"))


def told_command(text):
    """Return the command that a message gives, in quotes."""
    return re.search(r"'((?:cp|chmod) .*?)'(?:, |\.| *$)", text, re.MULTILINE)[1]


def test_an_edit_of_the_patchs_own_lines_is_told_with_what_helps(odd):
    """By --check, by the patch and by --revert; the remedy works in this path."""
    before = state(odd)
    assert tool(odd).returncode == 0
    forks.edit(odd, "src/caffe/util/io.cpp", "cv::IMREAD_COLOR", "cv::IMREAD_ANYCOLOR")
    told = tool(odd, "--check")
    assert told.returncode == 5
    results = [told, tool(odd), tool(odd, "--revert")]
    for result in results:
        said = result.stdout + result.stderr
        assert "in lines that the patch writes" in said
    subprocess.run(["bash", "-c", told_command(told.stdout)], check=True)
    assert tool(odd).returncode == 0
    assert tool(odd, "--revert").returncode == 0
    assert state(odd) == before


def test_a_folder_that_is_a_link_is_replaced_as_the_message_says(odd):
    outside = odd.with_name("outside")
    (odd / "cmake").rename(outside)
    (odd / "cmake").symlink_to(outside)
    told = tool(odd)
    assert told.returncode == 2
    subprocess.run(["bash", "-c", told_command(told.stderr)], check=True)
    assert tool(odd).returncode == 0
    assert not (odd / "cmake").is_symlink()


@pytest.mark.parametrize(
    ("number", "value"), [("010", 8), ("0", 0), ("0x1F", 31), ("0321", 209)]
)
def test_numbers_are_read_as_protoc_reads_them(number, value):
    text = f"message M {{ optional int32 q = {number}; reserved {number} to 0777; }}\n"
    message = proto.parse(text, "caffe.proto").messages["M"]
    assert message.fields[0].number == value
    assert message.ranges[0][:2] == (value, 511)


@pytest.mark.parametrize("number", ["08", "1.5", "1e3"])
def test_numbers_that_protoc_refuses_are_refused(number):
    with pytest.raises(ToolError, match=f"line 1: {number} is no whole number"):
        proto.parse(f"message M {{ optional int32 q = {number}; }}\n", "caffe.proto")
