"""Runs of the patch tool that meet others, a full disk, or a user without rights."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import forks
import pytest
from patched_tree import PROTO, SCRIPT, tool
from test_forks import state

from caffe_tools import mends, patching, planning, record, recovery
from caffe_tools.errors import ToolError
from caffe_tools.patching import State

NET = "src/caffe/net.cpp"
VIDEO = "src/caffe/util/video.cpp"


@pytest.fixture
def tree(bvlc, tmp_path):
    return forks.make("bvlc", tmp_path / "caffe", bvlc)


def test_two_runs_at_once_never_mix(tree):
    """One of them works, and the others either wait their turn or say why not."""
    before = state(tree)
    for action in ((), ("--revert",)):
        command = [sys.executable, SCRIPT, tree, *action]
        runs = [
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        said = [run.communicate()[1] for run in runs]
        ended = [run.returncode for run in runs]
        assert 0 in ended
        for code, words in zip(ended, said, strict=True):
            busy = "is at work in" in words and "Wait" in words
            assert code == 0 or busy or "nothing to revert" in words, words
        wanted = State.NOT_PATCHED if action else State.PATCHED
        assert patching.check(tree) is wanted
    assert state(tree) == before


@pytest.mark.parametrize("action", [patching.apply, patching.revert])
def test_a_tree_where_another_run_works_is_left_alone(tree, action, monkeypatch):
    monkeypatch.setattr(record, "PATIENCE", 0.2)
    patching.apply(tree)
    before = state(tree)
    with record.alone(tree), pytest.raises(ToolError, match="at work in"):
        action(tree)
    assert state(tree) == before
    action(tree)


@pytest.mark.parametrize("how", ["committed", "cleaned and edited"])
def test_a_mend_that_stays_keeps_the_header_that_it_includes(bvlc, tmp_path, how):
    tree = forks.make("bvlc", tmp_path / "caffe", bvlc)
    (tree / VIDEO).write_text(
        "#include <opencv2/highgui/highgui.hpp>\nint e = CV_CAP_PROP_FPS;\n"
    )
    forks.committed(tree)
    patching.apply(tree)
    if how == "committed":
        forks.git(tree, "add", "-A", "-f", ".")
        forks.git(tree, "reset", "-q", ".randrop")
        forks.git(tree, "commit", "-q", "-m", "patched")
    else:
        # In the mended line: beside it, the edit could be made to what is committed.
        forks.edit(tree, VIDEO, "int e =", "long e =")
    shutil.rmtree(tree / ".randrop")
    patching.revert(tree)
    assert mends.NAMES in (tree / VIDEO).read_text()
    assert (tree / "include" / mends.NAMES).is_file()
    assert not (tree / "include/caffe/randrop/math").exists()
    assert patching.check(tree) is State.NOT_PATCHED
    left = state(tree)
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED
    patching.revert(tree)
    assert state(tree) == left


def test_a_record_that_is_no_folder_is_named_with_the_way_out(tree):
    patching.apply(tree)
    shutil.rmtree(tree / ".randrop")
    (tree / ".randrop").write_text("theirs\n")
    for action in ((), ("--revert",), ("--check",), ("--dry-run",)):
        result = tool(tree, *action)
        assert result.returncode == 2
        assert "is no folder" in result.stderr
    subprocess.run(["sh", "-c", result.stderr.split("'")[1]], check=True)
    assert tool(tree).returncode == 0
    assert (tree / ".randrop-away").read_text() == "theirs\n"


def test_deleted_messages_come_back_by_the_command_that_is_named(tree):
    patching.apply(tree)
    (tree / PROTO).unlink()
    for action in (patching.apply, patching.revert, patching.check):
        with pytest.raises(ToolError, match="was deleted after") as told:
            action(tree)
    subprocess.run(["sh", "-c", str(told.value).split("'")[1]], check=True)
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED


def test_all_edited_files_are_named_at_once(tree, monkeypatch):
    patching.apply(tree)
    # As after a change of version: what the patch made cannot be made again.
    monkeypatch.setattr(recovery, "_made_again", lambda *_: None)
    shutil.rmtree(tree / ".randrop/patched")
    for path in ("CMakeLists.txt", NET):
        with (tree / path).open("a") as stream:
            stream.write("\n")
    with pytest.raises(ToolError) as told:
        patching.apply(tree)
    assert "CMakeLists.txt was edited" in str(told.value)
    assert f"{NET} was edited" in str(told.value)
    assert "in lines that" not in str(told.value)


def test_a_revert_on_a_full_disk_says_so_and_can_be_run_again(bvlc, small_disk):
    disk = small_disk(40 << 20)
    tree = forks.make("bvlc", disk / "caffe", bvlc)
    before = state(tree)
    patching.apply(tree)
    with (disk / "full").open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
    result = tool(tree, "--revert")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "Free some disk space" in result.stderr
    (disk / "full").unlink()
    patching.revert(tree)
    assert state(tree) == before


@pytest.mark.parametrize("action", [(), ("--revert",)])
def test_an_interruption_is_one_line(tree, action):
    patching.apply(tree)
    if not action:
        patching.revert(tree)
    # Before the tool imports anything of its own, and while it works.
    code = (
        "import os, pathlib, runpy, signal, sys\n"
        # A background job of a shell starts with it ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "replace = pathlib.Path.replace\n"
        "def interrupted(*words):\n"
        f"    os.kill(os.getpid(), {int(signal.SIGINT)})\n"
        "    return replace(*words)\n"
        "pathlib.Path.replace = interrupted\n"
        f"sys.argv = {[str(SCRIPT), str(tree), *action]!r}\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 130, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert tool(tree, *action).returncode in (0, 2)


@pytest.mark.parametrize(
    "end", ["last = 1;", "feed\f = 1;\nlast\v = 2;\n", "x\x85;\r\n"]
)
def test_a_dry_run_can_be_given_to_patch_whatever_ends_the_lines(tree, tmp_path, end):
    for path in (NET, "src/caffe/util/io.cpp", "CMakeLists.txt"):
        with (tree / path).open("ab") as stream:
            stream.write(f"# {end}".encode())
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    result = subprocess.run(
        [sys.executable, SCRIPT, tree, "--dry-run"], capture_output=True, check=True
    )
    command = ["patch", "-p1", "-s", "--binary"]
    subprocess.run(command, cwd=tmp_path / "copy", input=result.stdout, check=True)
    patching.apply(tree)
    shutil.rmtree(tree / planning.STATE)
    assert state(tmp_path / "copy") == state(tree)


def test_a_source_that_cannot_be_read_is_named(tree, monkeypatch):
    read = Path.read_bytes

    def refuse(path):
        if path.name == "im2col.cpp":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    for action in (patching.apply, planning.told):
        with pytest.raises(ToolError, match=r"im2col\.cpp cannot be read.*chmod u\+r"):
            action(tree)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_a_users_tree_his(tree):
    def owners():
        return {p: (p.lstat().st_uid, p.lstat().st_gid) for p in tree.rglob("*")}

    subprocess.run(["chown", "-R", "12345:12346", tree], check=True)
    patching.apply(tree)
    assert set(owners().values()) == {(12345, 12346)}
    assert (tree / ".randrop/manifest.json").is_file()
    patching.revert(tree)
    assert set(owners().values()) == {(12345, 12346)}


def test_what_is_anothers_is_to_be_made_ones_own(tree, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ToolError, match="chmod -R u"):
        patching.apply(tree)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ToolError, match=r"another user's.*sudo chown -R"):
        patching.apply(tree)
