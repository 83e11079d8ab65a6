"""The patch tool asked about a tree while another run of it changes the tree."""

import subprocess
import sys
import threading

import forks
import pytest
from patched_tree import SCRIPT, tool

from caffe_tools import patching, record
from caffe_tools.errors import ToolError
from caffe_tools.patching import State


@pytest.fixture
def tree(bvlc, tmp_path):
    return forks.make("bvlc", tmp_path / "caffe", bvlc)


def test_a_tree_is_not_judged_while_it_changes(tree, monkeypatch):
    monkeypatch.setattr(record, "PATIENCE", 0.2)
    for look in (patching.check, lambda root: patching.planned(root, State.PATCHED)):
        with record.alone(tree), pytest.raises(ToolError, match="at work in"):
            look(tree)
        look(tree)


def test_many_may_look_at_a_tree_at_once(tree, monkeypatch):
    monkeypatch.setattr(record, "PATIENCE", 0.2)
    with record.still(tree), record.still(tree):
        assert patching.check(tree) is State.NOT_PATCHED


def test_a_run_waits_for_one_that_ends(tree):
    for held, act in ((record.alone, patching.check), (record.still, patching.apply)):
        holds, free = threading.Event(), threading.Event()

        def hold(held=held, holds=holds, free=free):
            with held(tree):
                holds.set()
                free.wait(60)

        other = threading.Thread(target=hold)
        other.start()
        holds.wait(60)
        threading.Timer(0.3, free.set).start()
        act(tree)
        assert free.is_set()
        other.join()
    assert patching.check(tree) is State.PATCHED


def test_an_answer_beside_a_running_patch_is_one_of_before_or_after(tree):
    asked = "import sys, time; sys.argv = ['x', *sys.argv[1:]]; " + (
        "from caffe_tools import patching, record; from pathlib import Path\n"
        "record.PATIENCE = 120\n"
        "said = []\n"
        "while len(said) < 30: said.append(patching.check(Path(sys.argv[1])).name)\n"
        "print(*said)"
    )
    command = [sys.executable, "-c", asked, str(tree)]
    asking = subprocess.Popen(
        command, cwd=SCRIPT.parent, stdout=subprocess.PIPE, text=True
    )
    while asking.poll() is None:
        for action in ((), ("--revert",)):
            done = tool(tree, *action)
            busy = "at work in" in done.stderr
            assert done.returncode == 0 or busy, done.stderr
    said = asking.communicate()[0].split()
    assert asking.returncode == 0
    assert len(said) == 30
    assert set(said) <= {"PATCHED", "NOT_PATCHED"}
