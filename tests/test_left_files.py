"""Temporary files of runs that were killed: the next run removes them, and no others.

A kill before a file gets its name leaves its temporary file. The tests kill before
each name in turn, so that every kind of file of a set has been left once.
"""

import fcntl
import json
import signal
import subprocess
from pathlib import Path

import pytest
from left_child import prepared
from test_prepare import folder, run

from randrop.errors import UserError
from randrop.files import replacing, write_text
from randrop.files.writing import output
from randrop.pycaffe import processes


def killed(source, out, count, width):
    """Prepare in a child that is killed before its `count`-th file gets its name."""
    code = "import sys, left_child; left_child.main(*sys.argv[1:])"
    words = processes.python(code, *map(str, (source, out, count, width)))
    done = subprocess.run(words, start_new_session=True, capture_output=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


def names(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("in"), 2)


def test_a_killed_prepare_leaves_nothing_in_the_set_of_the_next(source, tmp_path):
    wanted = {}
    for width in (100, 120):
        prepared(source, tmp_path / f"whole{width}", width)
        wanted[width] = names(tmp_path / f"whole{width}")
    count, left = 1, set()
    while killed(source, tmp_path / f"set{count}" / "out", count, 100):
        place = tmp_path / f"set{count}"
        left |= {
            path.suffix
            for path in place.rglob(".*.*.*")
            if path.is_file() and not path.name.startswith(".randrop")
        }
        # The same settings continue, others begin anew.
        width = (100, 120)[count % 2]
        prepared(source, place / "out", width)
        assert names(place / "out") == wanted[width]
        assert not [*place.glob(".out.*")]
        count += 1
    assert count > 15
    assert left >= {".png", ".json", ".npy"}


def test_a_finished_set_that_grows_is_killed(source, tmp_path):
    out = tmp_path / "out"
    grown = folder(tmp_path / "in", 2)
    prepared(grown, out, 100)
    folder(tmp_path / "in", 3)
    assert killed(grown, out, 3, 100)
    prepared(grown, out, 100)
    prepared(folder(tmp_path / "other", 3), tmp_path / "whole", 100)
    assert names(out) == names(tmp_path / "whole")


@pytest.mark.parametrize("name", [".eye1.12345678.png", ".eye1.randrop-1234.png", "n"])
def test_files_of_others_are_kept(source, tmp_path, name):
    out = tmp_path / "out"
    assert killed(source, out, 6, 100)
    half = tmp_path / ".out.unfinished"
    (half / "images" / name).write_text("somebody's")
    with pytest.raises(UserError, match="contains other files"):
        prepared(source, out, 120)
    assert (half / "images" / name).read_text() == "somebody's"
    prepared(source, out, 100)
    assert (out / "images" / name).read_text() == "somebody's"


def dead(path):
    """Leave the temporary file of a process that was killed while it wrote `path`."""
    code = (
        "import os, signal, sys; from randrop.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('part'); print(temporary, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    words = processes.python(code, str(path))
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    return path.parent / Path(done.stdout.strip()).name


def test_an_output_folder_loses_what_a_killed_run_left(tmp_path):
    left = [dead(tmp_path / "table.json"), dead(tmp_path / "overlays" / "eye.jpg")]
    assert all(path.exists() for path in left)
    with output(tmp_path, "evaluate", ["table.json", "overlays/eye.jpg"]):
        assert not any(path.exists() for path in left)


def test_what_is_being_written_is_kept(tmp_path):
    with replacing(tmp_path / "table.json") as temporary:
        temporary.write_text("{}")
        with output(tmp_path, "evaluate", ["other.json"]):
            assert temporary.exists()
    assert (tmp_path / "table.json").read_text() == "{}"


def test_links_are_kept(tmp_path):
    left = dead(tmp_path / "table.json")
    target = tmp_path / "mine.txt"
    target.write_text("mine")
    left.unlink()
    left.symlink_to(target)
    with output(tmp_path, "evaluate", ["table.json"]):
        assert left.is_symlink() and target.read_text() == "mine"


def test_names_of_any_length_and_alphabet(tmp_path):
    for name in ("a" * 250 + ".json", "ü" * 120 + ".json", ".json", "x.tar.gz", "a b"):
        write_text(tmp_path / name, "{}")
        assert (tmp_path / name).read_text() == "{}"
        left = dead(tmp_path / name)
        assert left.exists()
        with output(tmp_path, "evaluate", [name]):
            assert not left.exists()
    assert len([*tmp_path.iterdir()]) == 5 + 2


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    left = dead(tmp_path / "table.json")

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with output(tmp_path, "evaluate", ["table.json"]):
        write_text(tmp_path / "table.json", "{}")
    assert left.exists()


def test_the_command_goes_on_after_a_kill(source, tmp_path):
    out = tmp_path / "out"
    assert killed(source, out, 5, 100)
    done = run("folder", source, out, "--width", "120", "--no-arrays")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["width"] == 120
    assert not [p for p in names(out) if ".randrop-" in p]
