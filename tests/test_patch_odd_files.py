"""Trees with things that are no files: links to nowhere, pipes, folders."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

import forks
import pytest
from conftest import REPOSITORY
from patched_tree import PROTO, SCRIPT
from test_forks import state

from caffe_tools import demands, mends, origin, patching, planning
from caffe_tools.errors import ToolError
from caffe_tools.hooks import THREADS


def lock_of_an_editor(path):
    path.symlink_to("me@host.123:456")


def loop(path):
    path.symlink_to(path.name)


def listening(path):
    """Make a socket; its name may be longer than the system allows in one."""
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def folder(path):
    path.mkdir()
    (path / "theirs.txt").write_text("theirs\n")


ODD = {
    "link": lock_of_an_editor,
    "loop": loop,
    "pipe": os.mkfifo,
    "socket": listening,
    "folder": folder,
}
# Each with the ending of a file that something reads.
PLACES = (
    *("src/caffe/layers/{}.cpp", "src/caffe/util/{}.cu", "include/caffe/{}.hpp"),
    *("cmake/{}.cmake", "python/{}.py", "Makefile.{}", "src/caffe/layers/.#{}.cpp"),
)


@contextlib.contextmanager
def seconds(count):
    """Fail if this takes longer, as reading a pipe does."""

    def late(*_):
        raise TimeoutError(f"still reading after {count} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(count)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(script, *arguments):
    command = [sys.executable, str(script), *map(str, arguments)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in result.stderr, result.stderr[-800:]
    return result


@pytest.fixture
def tree(bvlc, tmp_path):
    return forks.make("bvlc", tmp_path / "caffe", bvlc)


def test_nothing_but_files_is_read(tree):
    for place in PLACES:
        for kind, make in ODD.items():
            make(tree / place.format(f"odd-{kind}"))
    before = state(tree)
    with seconds(60):
        assert not any("odd-" in path for path in mends.paths(tree))
    assert run(SCRIPT, tree, "--dry-run").returncode == 0
    assert run(SCRIPT, tree, "--check").returncode == 1
    assert run(REPOSITORY / "scripts/doctor.py", tree).returncode in (0, 1)
    assert state(tree) == before
    result = run(SCRIPT, tree)
    assert result.returncode == 0, result.stderr
    assert run(SCRIPT, tree, "--check").returncode == 0
    assert run(SCRIPT, tree, "--revert").returncode == 0
    assert state(tree) == before


READ = (PROTO, THREADS.path, "Makefile", demands.LAYER, demands.FACTORY, demands.LOSS)


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_where_one_is_read_stays(tree, kind):
    for path in READ:
        file = tree / path
        content = file.read_bytes()
        file.unlink()
        ODD[kind](file)
        before = state(tree)
        with seconds(60):
            try:
                patching.apply(tree)
                patching.revert(tree)
            except ToolError as error:
                assert path in str(error)
        assert state(tree) == before
        subprocess.run(["rm", "-r", file], check=True)
        file.write_bytes(content)


@pytest.mark.parametrize("kind", ODD)
def test_what_is_in_the_place_of_our_file_stays_until_it_is_moved(tree, kind):
    ours = "src/caffe/layers/soft_dice_loss_layer.cpp"
    assert (planning.LAYERS / ours).is_file()
    for patched in (False, True):
        if patched:
            patching.apply(tree)
            (tree / ours).unlink()
        ODD[kind](tree / ours)
        before = state(tree)
        with seconds(60), pytest.raises(ToolError, match="Move it away") as refused:
            patching.apply(tree)
        assert state(tree) == before
        remedy = str(refused.value).split("'")[1]
        subprocess.run(["sh", "-c", remedy], check=True)
        patching.apply(tree)
        assert os.path.lexists(tree / f"{ours}.away")
        patching.revert(tree)
        subprocess.run(["rm", "-r", tree / f"{ours}.away"], check=True)


def test_a_tree_with_them_can_be_copied_and_built(tree, tmp_path):
    for kind, make in ODD.items():
        make(tree / f"src/caffe/odd-{kind}")
    with seconds(60):
        origin.place_tree(tree, tmp_path / "copy", print)
    copied = {path.name for path in (tmp_path / "copy/src/caffe").glob("odd-*")}
    assert copied == {"odd-link", "odd-loop", "odd-folder"}
