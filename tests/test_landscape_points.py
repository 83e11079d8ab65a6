"""Points in parallel: all of them once, through failures, kills and restarts."""

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY

from randrop.errors import UserError
from randrop.surface.landscape import points

PLAN = {"points": [3, 3], "weights": "abc"}


def square(job):
    return {"losses": [float(job**2)], "average_precision": None}


def prepare():
    return square


def prepare_dying():
    def evaluate(job):
        if job in (3, 8):
            os._exit(1)
        time.sleep(0.01)
        return square(job)

    return evaluate


def prepare_refusing():
    def evaluate(job):
        raise UserError(f"job {job} is refused")

    return evaluate


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_done_once(workers):
    found = list(points.computed(range(20), workers, prepare))
    assert sorted(job for job, _ in found) == list(range(20))
    assert all(result == square(job) for job, result in found)


def test_a_job_that_ends_its_process_is_left_out_alone():
    found = dict(points.computed(range(12), 2, prepare_dying))
    assert sorted(found) == list(range(12))
    assert [job for job, result in sorted(found.items()) if not result] == [3, 8]


def test_what_a_job_raises_arrives():
    with pytest.raises(UserError, match="is refused"):
        list(points.computed(range(5), 2, prepare_refusing))


def test_no_jobs_are_no_processes():
    assert list(points.computed([], 2, prepare)) == []


def journal(tmp_path, plan=PLAN):
    return points.Journal(tmp_path / "a.h5", plan)


def test_results_are_read_again(tmp_path):
    first = journal(tmp_path)
    first.add(4, square(4))
    first.add(5, {})
    first.close()
    second = journal(tmp_path)
    assert second.done == {4: square(4), 5: {}}
    second.close()


def test_a_line_that_was_cut_short_is_dropped(tmp_path):
    first = journal(tmp_path)
    first.add(4, square(4))
    first.close()
    whole = first.path.read_bytes()
    first.path.write_bytes(whole + b'{"job": 5, "resu')
    second = journal(tmp_path)
    assert second.done == {4: square(4)}
    second.add(6, square(6))
    second.close()
    lines = first.path.read_text().splitlines()
    assert [json.loads(line).get("job") for line in lines] == [None, 4, 6]


def test_even_the_first_line_may_be_cut_short(tmp_path):
    first = journal(tmp_path)
    first.close()
    first.path.write_bytes(first.path.read_bytes()[:-9])
    second = journal(tmp_path)
    assert second.done == {}
    second.close()


def test_another_plan_is_refused(tmp_path):
    journal(tmp_path).close()
    with pytest.raises(UserError, match=r'weights "abc" -> "xyz"'):
        journal(tmp_path, PLAN | {"weights": "xyz"})


def test_a_damaged_journal_is_named(tmp_path):
    first = journal(tmp_path)
    first.close()
    first.path.write_bytes(first.path.read_bytes() + b"garbage\n")
    with pytest.raises(UserError, match="is damaged"):
        journal(tmp_path)


def test_a_file_of_somebody_else_stays(tmp_path):
    (tmp_path / "a.h5.points").write_text("mine")
    with pytest.raises(UserError, match="did not write the existing file"):
        journal(tmp_path)
    assert (tmp_path / "a.h5.points").read_text() == "mine"


def test_two_programs_do_not_write_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(points, "_DYING", 0.2)
    first = journal(tmp_path)
    with pytest.raises(UserError, match="another surface"):
        journal(tmp_path)
    first.close()
    journal(tmp_path).close()


_ADDS = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from randrop.surface.landscape import points
journal = points.Journal(Path(sys.argv[2]), {"points": 1})
for job in range(10 ** 6):
    if job not in journal.done:
        journal.add(job, {"losses": [job / 7], "average_precision": None})
"""


def test_a_kill_at_any_time_loses_nothing_that_was_written(tmp_path):
    out = tmp_path / "a.h5"
    folder = str(REPOSITORY / "python_layers")
    seen = -1
    for wait in (0.0, 0.003, 0.011):
        child = subprocess.Popen([sys.executable, "-c", _ADDS, folder, str(out)])
        path = points.path_of(out)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            lines = path.read_bytes().count(b"\n") if path.exists() else 0
            if lines > seen + 5:
                break
            time.sleep(0.005)
        time.sleep(wait)
        child.kill()
        child.wait()
        found = points.Journal(out, {"points": 1})
        assert sorted(found.done) == list(range(len(found.done)))
        assert len(found.done) > seen
        assert all(r["losses"] == [job / 7] for job, r in found.done.items())
        seen = len(found.done)
        found.close()


def test_a_full_disk_is_named_with_its_remedy(small_disk):
    disk = small_disk(16384)
    # The list of the folder is there; nothing else has room.
    points.Journal(disk / "first.h5", PLAN).close()
    with (disk / "rest").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    with pytest.raises(UserError, match=r"cannot write .*l\.h5\.points: .* Free some"):
        points.Journal(disk / "l.h5", PLAN)
