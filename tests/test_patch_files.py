"""The patches of caffe_patches/ on Caffe and on trees like those of its forks."""

import dataclasses
import hashlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from doc_blocks import blocks

from caffe_tools import patching, planning, series, unified
from caffe_tools.errors import ToolError
from caffe_tools.patching import State

DIGESTS = {
    "CMakeLists.txt": (
        "10fa22045bfd35d09854b50c",
        "3849627d17117d02b2a9a314",
    ),
    "Makefile": (
        "1267fd6cf7555a9675efe2a6",
        "abfd9ca7e0673d862c27345d",
    ),
    "Makefile.config.example": (
        "0fef6cc861633957300648f8",
        "8c5caf067e2a4bc5152e1650",
    ),
    "cmake/Cuda.cmake": (
        "39dad3e3ebca2c6d61502b6f",
        "73b31a6af24643444f30781e",
    ),
    "cmake/Dependencies.cmake": (
        "a81547a220aa091d71c427e6",
        "7a26a854a9fd260f6c9ebb83",
    ),
    "cmake/Modules/FindGlog.cmake": (
        "0e57dbfb5d3669fc99866401",
        "a2dfe50392ebeb8eca57d72e",
    ),
    "cmake/ProtoBuf.cmake": (
        "5a6466ad84e2213567e738a4",
        "1875ff54a9796726ab565b8a",
    ),
    "include/caffe/layer_factory.hpp": (
        "64f7e48b6fddc155de4b867e",
        "dd38b7c463a9a835538b319a",
    ),
    "include/caffe/syncedmem.hpp": (
        "e2ffe889aea6ac6a8af94dfa",
        "47e77b5e8e4a976a4f04a057",
    ),
    "include/caffe/util/cudnn.hpp": (
        "142a2425a752b6e9f826073b",
        "e8205ca31a8fdb31b7d0c20b",
    ),
    "python/CMakeLists.txt": (
        "e79deefa92c9625a858caf44",
        "018e8463f87f5eaf7da4f70b",
    ),
    "python/caffe/_caffe.cpp": (
        "be13be617028105b9241f212",
        "c37be1574f33e8172f5d0dd1",
    ),
    "python/caffe/io.py": (
        "dd923bdba14588d2654e6a2f",
        "3aa699ef853a6b59e28f6d6a",
    ),
    "src/caffe/common.cpp": (
        "1012579a0f788c6e73572da8",
        "0ab46890c13d642824ae26fb",
    ),
    "src/caffe/layers/cudnn_softmax_layer.cpp": (
        "d1fa5c0a08552643c6700ea1",
        "6651a48c95dc6afb86aedc3a",
    ),
    "src/caffe/layers/hdf5_data_layer.cpp": (
        "13468943b716f135151bd64b",
        "6f47adb0dd47b5cc6dbeae05",
    ),
    "src/caffe/layers/window_data_layer.cpp": (
        "7cb831cd406609a002842d37",
        "ed4ba2a933d2b9b4f539dc10",
    ),
    "src/caffe/net.cpp": (
        "99b989ba23ca51510bf4859c",
        "86d022a9130d2bbff6cd5ed8",
    ),
    "src/caffe/syncedmem.cpp": (
        "39b128e13afb765f20c67d6b",
        "50698c6e9cb0ff7362d0652c",
    ),
    "src/caffe/test/CMakeLists.txt": (
        "c3f3bce43e83ff127eeddb86",
        "80ac5cee7c073ac6c9e14440",
    ),
    "src/caffe/test/test_io.cpp": (
        "579b52173c83371af643c5a0",
        "8096b0298995d8cf41662d95",
    ),
    "src/caffe/test/test_platform.cpp": (
        "33474eee6102dccf9026fc15",
        "159f1c621d64852a93425fa0",
    ),
    "src/caffe/util/io.cpp": (
        "44455f0b3e0b3320a4d6c7fd",
        "a25b49840957814f657714f2",
    ),
    "src/caffe/util/math_functions.cu": (
        "d86a39dc1533e23a64826b19",
        "7f35080f685a7c20c44136a4",
    ),
}
"""Each of Caffe's own files before and after; update them only for a meant change."""

PATCHES = series.read(planning.PATCHES)
DIFFS = [diff for patch in PATCHES for diff in patch.diffs]
HUNKS = [(diff, hunk) for diff in DIFFS for hunk in diff.hunks]
each_diff = pytest.mark.parametrize("diff", DIFFS, ids=lambda diff: diff.path)
each_hunk = pytest.mark.parametrize(
    ("diff", "hunk"), HUNKS, ids=lambda value: getattr(value, "where", "")
)


def digest(content):
    return hashlib.sha256(content).hexdigest()[:24]


def changes_of_caffes_files(root):
    """Leave out our new files, and the proto with our parameters."""
    return [
        change
        for change in planning.plan(root, {})
        if change.path != planning.PROTO
        and not (planning.LAYERS / change.path).exists()
    ]


def test_caffes_own_files_have_the_recorded_digests(caffe_source):
    found = {
        change.path: (digest(change.before), digest(change.after))
        for change in changes_of_caffes_files(caffe_source)
    }
    assert found == DIGESTS


def test_windows_line_ends_change_nothing_else(tree):
    plain = {c.path: c.after for c in changes_of_caffes_files(tree)}
    for path in plain:
        file = tree / path
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    found = {c.path: c.after for c in changes_of_caffes_files(tree)}
    assert found == {p: c.replace(b"\n", b"\r\n") for p, c in plain.items()}


def read(root, path):
    return (root / path).read_bytes().decode()


def write(root, path, text):
    (root / path).write_bytes(text.encode())


def old_lines(hunk):
    """Return the hunk's lines before the patch."""
    return [line[1:] for line in hunk.lines if line[0] in " -"]


def change_line(text, hunk, index):
    """Change one of a hunk's old lines at its place in the text."""
    old = "".join(f"{line}\n" for line in old_lines(hunk))
    assert text.count(old) == 1
    lines = old_lines(hunk)
    lines[index] += " // another"
    return text.replace(old, "".join(f"{line}\n" for line in lines))


def test_the_series_lists_every_patch():
    files = {path.stem for path in planning.PATCHES.glob("*.patch")}
    assert {patch.name for patch in PATCHES} == files


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_header_says_what_why_and_what_upstream_knows(patch):
    assert patch.what.endswith(".")
    assert len(patch.why) > 80
    assert "report" in patch.upstream or "https://" in patch.upstream


@each_diff
def test_each_patch_applies_to_caffe_and_is_recognised_there(caffe_source, diff):
    text = read(caffe_source, diff.path)
    assert diff.misfits(text) == []
    assert not diff.applied(text)
    patched = diff.apply(text)
    assert patched != text
    assert diff.applied(patched)
    assert diff.fits(patched)
    assert diff.apply(patched) == patched


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_the_program_patch_makes_the_same_of_it(tree, patch):
    meant = {d.path: d.apply(read(tree, d.path)) for d in patch.diffs}
    with (planning.PATCHES / f"{patch.name}.patch").open() as file:
        said = subprocess.run(
            ["patch", "-p1", "--fuzz=0"],
            **{"cwd": tree, "stdin": file, "check": True},
            **{"capture_output": True, "text": True},
        )
    assert "offset" not in said.stdout
    assert {path: read(tree, path) for path in meant} == meant


def test_a_patch_is_renewed_as_the_readme_says(tree):
    compare, run = blocks([planning.PATCHES / "README.md"])
    patching.apply(tree)
    (command,) = re.sub(r" *\\\n *", " ", compare.text).splitlines()
    words = shlex.split(command.replace("/path/to/caffe", str(tree)))
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    assert made.returncode == 1
    _, (diff,) = unified.parse(made.stdout, "README.md")
    original = tree / planning.STATE / "originals" / diff.path
    assert diff.apply(original.read_bytes().decode()) == read(tree, diff.path)
    # The other one runs this file.
    assert (REPOSITORY / run.text.split()[-1]).samefile(__file__)


@each_diff
def test_lines_above_are_an_offset(caffe_source, diff):
    text = read(caffe_source, diff.path)
    above = "// one more\n" * 50
    assert diff.apply(above + text) == above + diff.apply(text)


@each_hunk
@pytest.mark.parametrize("index", [0, 1, -2, -1])
def test_the_outer_context_may_differ(caffe_source, diff, hunk, index):
    text = change_line(read(caffe_source, diff.path), hunk, index)
    patched = diff.apply(text)
    assert patched.count(" // another\n") == 1
    assert patched.replace(" // another\n", "\n") == diff.apply(
        read(caffe_source, diff.path)
    )


@each_hunk
def test_all_else_must_be_as_it_was(caffe_source, diff, hunk):
    text = read(caffe_source, diff.path)
    count = len(old_lines(hunk))
    assert count > 2 * unified.FUZZ
    for index in range(unified.FUZZ, count - unified.FUZZ):
        changed = change_line(text, hunk, index)
        (misfit,) = diff.misfits(changed)
        assert misfit.startswith(f"the hunk at {hunk.where}, is not found: ")
        with pytest.raises(ToolError, match=r"\.patch, line \d+, is not found"):
            diff.apply(changed)


@each_hunk
def test_two_places_are_none(caffe_source, diff, hunk):
    """A fork with a second setter: to patch one of the two would be wrong."""
    text = read(caffe_source, diff.path)
    text += "".join(f"{line}\n" for line in old_lines(hunk))
    assert diff.misfits(text) == [f"the hunk at {hunk.where}, occurs 2 times"]


@each_diff
def test_blanks_at_the_ends_of_lines_do_not_matter(caffe_source, diff):
    text = read(caffe_source, diff.path)
    tabs = text.replace("\n  ", "\n\t").replace(";\n", "; \n")
    patched = diff.apply(tabs)
    assert patched.replace("\n\t", "\n  ").replace("; \n", ";\n") == diff.apply(text)


@each_diff
def test_half_a_patch_does_not_fit(caffe_source, diff):
    text = read(caffe_source, diff.path)
    for hunk in diff.hunks[1:]:
        half = dataclasses.replace(diff, hunks=(hunk,)).apply(text)
        assert not diff.applied(half)
        assert diff.misfits(half)


@each_diff
def test_one_patch_that_does_not_fit_keeps_all_out(tree, diff):
    for hunk in diff.hunks:
        original = read(tree, diff.path)
        write(tree, diff.path, change_line(original, hunk, unified.FUZZ))
        assert list(planning.engine_left_out(tree)) == [diff.path]
        changed = {c.path: c.after.decode() for c in planning.plan(tree, {})}
        for path in {diff.path for diff in DIFFS} & set(changed):
            # Only the mends apply to this file.
            assert "oneDNN" not in changed[path]
            assert "OtherLayout" not in changed[path]
        write(tree, diff.path, original)
    assert planning.engine_left_out(tree) == {}


def test_a_file_that_is_missing_is_named_like_one_that_differs(tree):
    (tree / "src/caffe/test/CMakeLists.txt").unlink()
    said = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/patch_caffe.py", tree],
        **{"capture_output": True, "text": True, "check": True},
    )
    assert "  src/caffe/test/CMakeLists.txt: is missing\n" in said.stdout


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_fork_is_patched_and_given_back_byte_for_byte(tree, ends):
    """Lines above, other context and Windows line ends, all at once."""
    before = {}
    for path in {diff.path for diff in DIFFS}:
        text = read(tree, path)
        for hunk in (hunk for diff, hunk in HUNKS if diff.path == path):
            text = change_line(text, hunk, 0)
        write(tree, path, ("// theirs\n" + text).replace("\n", ends))
        before[path] = (tree / path).read_bytes()
    assert planning.engine_left_out(tree) == {}
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED
    for diff in DIFFS:
        content = (tree / diff.path).read_bytes()
        assert diff.applied(content.decode())
        assert content.count(b"\n") == content.count(ends.encode())
        assert content.startswith(b"// theirs")
    patching.revert(tree)
    assert {path: (tree / path).read_bytes() for path in before} == before


def test_patches_applied_by_hand_are_not_applied_again(tree):
    whole = {c.path: c.after for c in changes_of_caffes_files(tree)}
    for diff in DIFFS:
        write(tree, diff.path, diff.apply(read(tree, diff.path)))
    by_hand = {diff.path: (tree / diff.path).read_bytes() for diff in DIFFS}
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED
    assert {path: (tree / path).read_bytes() for path in whole} == whole
    patching.revert(tree)
    assert {path: (tree / path).read_bytes() for path in by_hand} == by_hand


def test_a_patch_may_change_what_an_earlier_one_made(tree, tmp_path, monkeypatch):
    folder = tmp_path / "patches"
    shutil.copytree(planning.PATCHES, folder)
    with (folder / "series").open("a") as file:
        file.write("second.patch\n")
    (folder / "second.patch").write_text(
        "What: another name.\nWhy: a test.\nUpstream: none.\n"
        "--- a/include/caffe/syncedmem.hpp\n+++ b/include/caffe/syncedmem.hpp\n"
        "@@ -1,3 +1,3 @@\n   bool plain_wanted_, plain_held_;\n"
        "-  void own_layout();\n+  void our_layout();\n   int device_;\n"
    )
    monkeypatch.setattr(planning, "PATCHES", folder)
    assert planning.engine_left_out(tree) == {}
    patching.apply(tree)
    assert "  void our_layout();\n" in read(tree, "include/caffe/syncedmem.hpp")
    patching.revert(tree)
    (folder / "series").write_text("second.patch\ncpu-engine-memory.patch\n")
    assert list(planning.engine_left_out(tree)) == ["include/caffe/syncedmem.hpp"]


def test_a_missing_folder_is_named(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "PATCHES", tmp_path / "patches")
    with pytest.raises(ToolError, match="series is missing: copy the complete folder"):
        patching.apply(tree)
    shutil.copytree(REPOSITORY / "caffe_patches", tmp_path / "patches")
    (tmp_path / "patches/cpu-engine-memory.patch").unlink()
    with pytest.raises(ToolError, match=r"memory\.patch is missing"):
        patching.apply(tree)
    assert patching.check(tree) is State.NOT_PATCHED


def test_a_checkout_with_windows_line_ends_reads_the_same(tmp_path):
    shutil.copytree(planning.PATCHES, tmp_path / "patches")
    for file in (tmp_path / "patches").iterdir():
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert series.read(tmp_path / "patches") == PATCHES
