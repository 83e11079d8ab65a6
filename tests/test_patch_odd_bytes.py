"""Trees whose names and lines are in no encoding, patched on terminals of any."""

import os
import subprocess
import sys

import forks
import pytest
from patched_tree import SCRIPT
from test_forks import state

NAMES = (
    b"latin.cpp",
    b"caf\xe9.cpp",
    "caf\u00e9 \u4e2d.cpp".encode(),
    b"new\nline.cpp",
)
CONTENT = (
    b"// caf\xe9\r\n#include <opencv2/highgui/highgui.hpp>\n"
    b"int a = CV_FILLED;  // \xff\nIplImage* b;  // \xc3\xa9 \xe9\n"
)


@pytest.fixture
def tree(bvlc, tmp_path):
    tree = forks.make("bvlc", tmp_path / "caffe", bvlc)
    for name in NAMES:
        (tree / "src/caffe/util" / os.fsdecode(name)).write_bytes(CONTENT)
    return tree


def run(encoding, tree, *action):
    return subprocess.run(
        [sys.executable, SCRIPT, tree, *action],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict", "latin-1"])
def test_every_terminal_shows_what_is_done(tree, encoding):
    before = state(tree)
    for action, status in (
        (("--dry-run",), 0),
        ((), 0),
        (("--check",), 0),
        (("--revert",), 0),
        (("--check",), 1),
    ):
        done = run(encoding, tree, *action)
        assert b"Traceback" not in done.stderr, done.stderr[-800:]
        assert done.returncode == status, done.stderr
        if not action:
            assert done.stdout.count(b"OpenCV 5 has no C interface") == len(NAMES)
            mended = tree / "src/caffe/util" / os.fsdecode(NAMES[1])
            assert b"int a = cv::FILLED;  // \xff\n" in mended.read_bytes()
            assert mended.read_bytes().startswith(b"// caf\xe9\r\n")
    assert state(tree) == before


def test_the_shown_diff_makes_the_patched_tree(tree):
    # A diff cannot have this name.
    (tree / "src/caffe/util" / os.fsdecode(NAMES[3])).unlink()
    shown = run("ascii:strict", tree, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert run("utf-8", tree).returncode == 0
    wanted = {k: v for k, v in state(tree).items() if not str(k).startswith(".randrop")}
    assert run("utf-8", tree, "--revert").returncode == 0
    subprocess.run(
        ["patch", "-s", "-p1", "--binary"], cwd=tree, input=shown.stdout, check=True
    )
    assert state(tree) == wanted
