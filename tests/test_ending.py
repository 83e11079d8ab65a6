"""However a script ends, its children end with it; and only one writes at a time."""

import errno
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY
from small_training import command

from randrop.data.organ_set import write_organs
from randrop.errors import UserError
from randrop.files import locks
from randrop.pycaffe import processes

ENDLESS = {"iterations": 100000, "interval": 100000}
SOON = 15.0
"""Seconds within which nothing may be left, on a busy machine."""


def descendants(pid):
    """Return the descendants of a process as {pid: start time}."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = (int(fields[1]), fields[19])
    found, new = {}, {pid}
    while new:
        new = {p for p, (parent, _) in parents.items() if parent in new}
        found |= {p: parents[p][1] for p in new}
    return found


def alive(known):
    left = {}
    for pid, began in known.items():
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        if fields[19] == began and fields[0] not in "ZX":
            left[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return left


def assert_all_end(known):
    until = time.monotonic() + SOON
    while alive(known) and time.monotonic() < until:
        time.sleep(0.05)
    left = alive(known)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def wait_for(holds, what):
    for _ in range(900):
        if holds():
            return
        time.sleep(0.1)
    pytest.fail(f"waited in vain for {what}")


def begin(words):
    return subprocess.Popen(
        list(map(str, words)), stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def says(path, word):
    return path.exists() and word in path.read_text(errors="replace")


@pytest.fixture
def started():
    """A function that starts a script; whatever remains is killed afterwards."""
    mine = []

    def start(words):
        mine.append(begin(words))
        return mine[-1]

    yield start
    for process in mine:
        if process.poll() is None:
            for pid in alive(descendants(process.pid)):
                os.kill(pid, signal.SIGKILL)
            process.kill()
        process.communicate()


def training(started, phantom, out, *more):
    process = started(command(phantom, out, "--workers", 2, *more, **ENDLESS))
    wait_for(lambda: says(out / "log.txt", "Iteration 10 "), "iteration 10")
    return process


def test_a_training_that_is_killed_takes_caffe_along(caffe, phantom, tmp_path, started):
    process = training(started, phantom, tmp_path)
    known = descendants(process.pid)
    # Caffe, and two workers that cut patches.
    assert len(known) == 3
    process.kill()
    process.wait()
    assert_all_end(known)


@pytest.mark.parametrize("seed", range(3))
def test_a_training_that_is_killed_at_any_time(caffe, phantom, tmp_path, started, seed):
    """Also while it starts caffe, or while caffe starts its workers."""
    process = started(command(phantom, tmp_path, "--workers", 2, **ENDLESS))
    wait_for((tmp_path / "log.txt").exists, "log.txt")
    until = time.monotonic() + random.Random(seed).uniform(0, 1.5)
    known = {}
    while time.monotonic() < until:
        known |= descendants(process.pid)
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    known |= descendants(process.pid)
    process.kill()
    process.wait()
    assert_all_end(known)


def test_workers_end_with_caffe_while_they_cut(caffe, phantom, tmp_path, started):
    process = training(started, phantom, tmp_path, "--patch", 128, "--batch", 8)
    known = descendants(process.pid)
    (caffe_itself,) = (p for p, words in alive(known).items() if "-solver" in words)
    os.kill(caffe_itself, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert "status -9" in said
    assert_all_end(known)


@pytest.fixture(scope="module")
def organs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "organs"
    write_organs(folder, 32, 2, 3, 0.1, train=4, validation=2)
    return folder


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_comparison_takes_its_trainings_along(caffe, organs, tmp_path, started, how):
    out = tmp_path / "out"
    words = (
        *(sys.executable, REPOSITORY / "scripts/compare.py", "--data", organs),
        *("--losses", "cross-entropy", "dice", "--out", out, "--jobs", 2),
        *("--", "--iterations", 100000, "--base-channels", 2, "--depth", 2),
    )
    process = started(words)
    runs = [out / f"{loss}-seed1/run" for loss in ("cross-entropy", "dice")]
    for run in runs:
        wait_for(lambda run=run: says(run / "log.txt", "Iteration 10 "), "iteration 10")
    known = descendants(process.pid)
    assert len(known) >= 4
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert_all_end(known)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130), said
    assert "Traceback" not in said
    if how != signal.SIGKILL:
        for run in runs:
            assert list(run.glob("snapshots/*.solverstate"))


def test_processes_of_a_pool_end_with_it(tmp_path, started):
    code = (
        "import time\n"
        "from randrop.pycaffe import processes\n"
        "with processes.pool(2) as pool:\n"
        "    list(pool.map(time.sleep, [60, 60]))\n"
    )
    process = started(processes.python(code))
    wait_for(lambda: len(descendants(process.pid)) == 2, "two processes")
    known = descendants(process.pid)
    process.kill()
    process.wait()
    assert_all_end(known)


def test_a_program_is_not_found(tmp_path):
    result = processes.run([tmp_path / "none"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "cannot run" in result.stderr
    assert "Traceback" not in result.stderr


def test_one_training_at_a_time(caffe, phantom, tmp_path, started):
    first = training(started, phantom, tmp_path)
    again = command(phantom, tmp_path, "--workers", 2, **ENDLESS)
    for more in ((), ("--force",), ("--resume",)):
        result = subprocess.run([*again, *more], capture_output=True, text=True)
        assert result.returncode == 2
        assert f"train.py (process {first.pid} on {socket.gethostname()}" in (
            result.stderr
        )
    assert first.poll() is None
    # A dead holder does not count, nor do processes that outlive it for a moment.
    first.kill()
    first.wait()
    second = started([*again, "--force"])
    wait_for(lambda: says(tmp_path / "log.txt", "Iteration 10 "), "iteration 10")
    assert second.poll() is None


def test_a_folder_is_locked_as_long_as_its_holder_lives(tmp_path):
    assert not locks.is_locked(tmp_path)
    with locks.locked(tmp_path):
        assert locks.is_locked(tmp_path)
    assert not locks.is_locked(tmp_path)
    # Looking does not take the lock.
    with locks.locked(tmp_path):
        pass


@pytest.mark.parametrize("name", ["compare", "predict", "evaluate", "prepare"])
def test_every_script_looks_whether_another_writes(phantom, organs, tmp_path, name):
    out = tmp_path / "out"
    words = {
        "compare": ("--data", organs, "--losses", "dice", "--out", out),
        "predict": ("--data", phantom, "--out", out),
        "evaluate": (
            *("--data", phantom, "--lesions", "MA", "--out", out),
            *("--probabilities", tmp_path),
        ),
        "prepare": ("folder", phantom, out),
    }[name]
    held = tmp_path / ".out.unfinished" if name == "prepare" else out
    with locks.locked(held):
        result = subprocess.run(
            [sys.executable, f"{REPOSITORY}/scripts/{name}.py", *map(str, words)],
            capture_output=True,
            text=True,
        )
    assert result.returncode == 2
    assert f"(process {os.getpid()} on" in result.stderr
    assert "wait until it ends" in result.stderr


def test_a_lock_leaves_no_folder_behind_that_is_of_no_use(tmp_path):
    folder = tmp_path / "a" / "b"
    with pytest.raises(UserError, match="no"), locks.locked(folder):
        raise UserError("no")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="no"), locks.locked(folder):
        (folder / "mine").write_text("")
        raise UserError("no")
    assert (folder / "mine").exists()


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog, error):
    def flock(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locks.locked(tmp_path):
        assert "this file system does not support locks" in caplog.text


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot create the folder"),
        locks.locked(tmp_path / "file" / "out"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
