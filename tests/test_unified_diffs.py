"""Reading unified diffs and applying them to text."""

import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_tools import series, unified
from caffe_tools.errors import ToolError

PATCH = """\
--- a/file
+++ b/file
@@ -1,3 +1,4 @@
 one
 two
+between
 three
"""


def test_a_header_without_a_field_is_named(tmp_path):
    (tmp_path / "series").write_text("# order\n\none.patch\n")
    (tmp_path / "one.patch").write_text(f"What: it.\nUpstream: none.\n{PATCH}")
    with pytest.raises(ToolError, match="has no field 'Why: "):
        series.read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("--- a/file", "--- /dev/null", "line 1: expected '--- a/PATH'"),
        ("+++ b/file", "+++ b/other", "line 1: expected '--- a/PATH'"),
        ("a/file", "a/../file", "line 1: expected '--- a/PATH'"),
        ("a/file\n+++ b/file", "a//file\n+++ b//file", "line 1: expected"),
        ("@@ -1,3 +1,4 @@", "@@ -1,x +1,4 @@", "line 3: expected '@@ -LINE"),
        ("@@ -1,3 +1,4 @@\n", "", "line 3: expected '@@ -'"),
        (
            "-1,3 +1,4",
            "-1,4 +1,5",
            "line 3: the hunk does not match the line counts of its '@@' line",
        ),
        ("-1,3 +1,4", "-1,2 +1,3", "line 7: .* a hunk has more lines"),
        (
            "-1,3 +1,4",
            "-1,2 +1,4",
            "line 3: the hunk does not match the line counts of its '@@' line",
        ),
        (
            "-1,3 +1,4",
            "-1,3 +1,3",
            "line 3: the hunk does not match the line counts of its '@@' line",
        ),
        (
            "+between\n",
            "between\n",
            "line 3: the hunk does not match the line counts of its '@@' line",
        ),
        (
            "+between\n",
            " between\n",
            "line 3: the hunk does not match the line counts of its '@@' line",
        ),
        ("three\n", "three\n\\ No newline at end of file\n", "line 8: expected"),
        ("--- a/file\n", "", "not a unified diff"),
    ],
)
def test_a_malformed_patch_is_refused(old, new, message):
    assert old in PATCH
    with pytest.raises(ToolError, match=message):
        unified.parse(PATCH.replace(old, new, 1), "x.patch")


def test_a_hunk_without_a_change_is_refused():
    text = PATCH.replace("+between\n", "").replace("+1,4", "+1,3")
    with pytest.raises(
        ToolError, match="line 3: the hunk does not match the line counts"
    ):
        unified.parse(text, "x.patch")


def test_a_hunk_without_context_is_refused():
    text = "--- a/file\n+++ b/file\n@@ -0,0 +1 @@\n+new\n"
    with pytest.raises(ToolError, match="the hunk has no context lines"):
        unified.parse(text, "x.patch")


def test_words_between_the_files_and_stripped_blanks_are_read():
    text = "a header\n" + PATCH.replace(" two", "") + "diff --git a/x b/x\nindex 1..2\n"
    header, diffs = unified.parse(text + PATCH.replace("file", "x"), "x.patch")
    assert header == "a header\n"
    assert [diff.path for diff in diffs] == ["file", "x"]
    assert diffs[0].apply("one\n\nthree\n") == "one\n\nbetween\nthree\n"


@pytest.mark.parametrize(
    ("text", "patched"),
    [
        ("one\ntwo\nthree", "one\ntwo\nbetween\nthree"),
        ("one\r\ntwo\r\nthree", "one\r\ntwo\r\nbetween\r\nthree"),
        ("\tone\n\ttwo \n three\n", "\tone\n\ttwo \nbetween\n three\n"),
        ("a\r\none\ntwo\nthree\n", "a\r\none\ntwo\nbetween\nthree\n"),
        ("a\none\ntwo\r\nthree\r\nb", "a\none\ntwo\r\nbetween\r\nthree\r\nb"),
        ("\x0c\x85\none\ntwo\nthree\n", "\x0c\x85\none\ntwo\nbetween\nthree\n"),
    ],
)
def test_the_ends_of_lines_stay(text, patched):
    _, (diff,) = unified.parse(PATCH, "x.patch")
    assert diff.apply(text) == patched


def test_a_last_line_without_an_end_can_be_followed():
    text = "--- a/file\n+++ b/file\n@@ -1,2 +1,3 @@\n one\n two\n+three\n"
    _, (diff,) = unified.parse(text, "x.patch")
    assert diff.apply("one\ntwo\n") == "one\ntwo\nthree\n"
    assert diff.apply("one\ntwo") == "one\ntwo\nthree"
    assert diff.apply("one\r\ntwo") == "one\r\ntwo\r\nthree"


def test_a_hunk_without_context_on_one_side_belongs_at_that_end():
    start = "--- a/file\n+++ b/file\n@@ -1,2 +1,3 @@\n+zero\n one\n two\n"
    end = "--- a/file\n+++ b/file\n@@ -1,2 +1,3 @@\n one\n two\n+three\n"
    for text, beside in ((start, "their\none\ntwo\n"), (end, "one\ntwo\ntheir\n")):
        _, (diff,) = unified.parse(text, "x.patch")
        assert diff.fits("one\ntwo\n")
        assert not diff.fits(beside)


def test_hunks_keep_their_order():
    first, second = "one\ntwo\nthree\n", "five\nsix\nseven\n"
    text = PATCH + "@@ -9,3 +10,2 @@\n five\n-six\n seven\n"
    _, (diff,) = unified.parse(text, "x.patch")
    assert diff.apply(first + second) == "one\ntwo\nbetween\nthree\nfive\nseven\n"
    assert diff.misfits(second + first) == [
        "the hunk at x.patch, line 8, is out of order"
    ]


KINDS = ("keep", "keep", "keep", "keep", "keep", "drop", "add")


@settings(deadline=None)
@given(st.data())
def test_any_difference_is_applied_as_it_was_made(data):
    """Also if somebody has inserted lines away from the changes."""
    old = [f"line {index}\n" for index in range(data.draw(st.integers(8, 60)))]
    new = []
    for line in old:
        kind = data.draw(st.sampled_from(KINDS))
        new += {"keep": [line], "drop": [], "add": [line, f"after {line}"]}[kind]
    text = "".join(difflib.unified_diff(old, new, "a/file", "b/file"))
    if not text:
        return
    _, (diff,) = unified.parse(text, "x.patch")
    assert diff.apply("".join(old)) == "".join(new)
    assert diff.applied("".join(new))
    cores = {line[1:] for hunk in diff.hunks for line in hunk.core()}
    free = [line for line in old if line in new and line[:-1] not in cores]
    if free:
        at = data.draw(st.sampled_from(free))
        theirs = [f"their {index}\n" for index in range(5)]
        for lines in (old, new):
            place = lines.index(at)
            # Insert beside the line: even next to a core, this is outside of the core.
            lines[place:place] = theirs
        if diff.fits("".join(old)):
            assert diff.apply("".join(old)) == "".join(new)
