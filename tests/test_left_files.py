"""Temporary files of runs that were killed: the next run removes them, and no others.

A kill before a file gets its name leaves its temporary file. The tests kill before
each name in turn, so that every kind of file of a set has been left once.
"""

import fcntl
import importlib
import json
import os
import shutil
import signal
import subprocess
import traceback
from pathlib import Path

import left_child
import pytest
from left_child import prepared
from test_prepare import folder, run, settings

from randrop.data.layouts import read_groups
from randrop.data.prepare import prepare
from randrop.errors import UserError
from randrop.files import ownership, replacing, write_text
from randrop.files.writing import output
from randrop.pycaffe import processes


def killed(source, out, count, width, order=""):
    """Prepare in a child that is killed before its `count`-th file gets its name.

    With an order of folders, it is killed before its `count`-th removal.
    """
    # Forked: to start Python some fifty times would take a minute.
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            if order:
                left_child.removing(source, out, count, width, order)
            else:
                left_child.main(source, out, count, width)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


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


def contents(root):
    """Return every file but those that name times."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith((".randrop", "arrays."))
        if path.parent.name != "arrays"
    }


@pytest.mark.parametrize("order", ["sorted", "reversed"])
def test_killed_while_it_clears_a_set_of_other_settings(source, tmp_path, order):
    """In whatever order: neither a set of two widths nor one that no run completes."""
    for width in (100, 120):
        prepared(source, tmp_path / f"whole{width}", width)
    partial = tmp_path / "partial"
    assert killed(source, partial / "out", 8, 100)
    count = {"sorted": 1, "reversed": 2}[order]
    while True:
        place = shutil.copytree(partial, tmp_path / f"set{count}")
        if not killed(source, place / "out", count, 120, order):
            break
        width = (100, 120)[count % 2]
        prepared(source, place / "out", width)
        assert contents(place / "out") == contents(tmp_path / f"whole{width}")
        count += 3
    assert count > 10


def test_without_arrays_none_stay_of_a_killed_run(source, tmp_path):
    assert killed(source, tmp_path / "out", 12, 100)
    own = settings(width=100)
    groups = read_groups(source, own.layout)
    prepare(groups, tmp_path / "out", own, workers=1, arrays=False)
    assert not [*(tmp_path / "out").glob("arrays*")]


def test_a_killed_worker_is_named(source, tmp_path, monkeypatch):
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    module = importlib.import_module("randrop.data.prepare")
    monkeypatch.setattr(module, "prepare_case", die)
    with pytest.raises(UserError, match=r"worker process was killed.*same command"):
        prepared(source, tmp_path / "out", 100)
    monkeypatch.undo()
    prepared(source, tmp_path / "out", 100)


def test_what_another_script_wrote_into_a_set_is_kept(source, tmp_path):
    """A training in a folder of ours has its own list, and is not ours to remove."""
    out = tmp_path / "out"
    assert killed(source, out, 6, 100)
    run = tmp_path / ".out.unfinished" / "run"
    with output(run, "train", ["run.json"]):
        write_text(run / "run.json", "{}")
    with pytest.raises(UserError, match=r"train \(run\)"):
        prepared(source, out, 120)
    with output(tmp_path / "maps", "predict", ["x.json"]):
        write_text(tmp_path / "maps" / "x.json", "{}")
    inside = tmp_path / "maps" / "deeper" / "run"
    with output(inside, "train", ["run.json"]):
        write_text(inside / "run.json", "{}")
    with pytest.raises(UserError, match=r"train \(deeper/run\)"):
        ownership.check_replaceable(tmp_path / "maps", "predict")


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
