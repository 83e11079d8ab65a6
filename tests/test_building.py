"""Folders that are built beside the one that they replace."""

import logging
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from randrop.errors import UserError
from randrop.files.writing import building

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from randrop.files.writing import building
with building(Path(sys.argv[2]), "test") as folder:
    (folder / "much").write_bytes(bytes(1000))
    print("at work", flush=True)
    sys.stdin.read()
"""


def build(folder):
    with building(folder, "test") as temporary:
        (temporary / "file").write_text("new")


def test_what_a_killed_run_left_is_named(tmp_path, caplog):
    """But not the folder of a run that is still at work."""
    folder = tmp_path / "a [set]"
    words = [sys.executable, "-c", CHILD, str(REPOSITORY / "python_layers"), folder]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"at work\n"
    (left,) = tmp_path.glob(".a*")
    (tmp_path / ".a [set].mine").mkdir()
    with caplog.at_level(logging.WARNING, "randrop"):
        build(folder)
        assert not caplog.records
        child.kill()
        child.communicate()
        build(folder)
    assert f"{left} was left by a run that was killed" in caplog.text
    assert len(caplog.records) == 1
    assert (left / "set" / "much").exists()
    assert (folder / "file").read_text() == "new"


def test_an_error_of_the_system_in_the_block_is_told(tmp_path):
    told = pytest.raises(UserError, match=r"cannot write .*No partial output was left")
    with told, building(tmp_path / "set", "test"):
        raise OSError(28, "No space left on device")
    assert not [*tmp_path.iterdir()]
