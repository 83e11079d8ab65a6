"""What --executor slurm checks and decides, without a Slurm."""

import json
import os
import pickle
import re
import subprocess
import sys

import pytest
from slurm import run, words

from randrop.cluster import node, options, queue, slurm
from randrop.cluster.work import Work
from randrop.data.organ_set import write_organs
from randrop.errors import UserError
from randrop.training import running


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["time=abc"], "time=abc: give the time limit in whole minutes"),
        (["time=1:00:00"], "whole minutes"),
        (["time=0"], "whole minutes"),
        (["mem=1G", "mem=2G"], "mem is given twice"),
        (["signal=USR1@5"], "signal is set by us"),
        (["output=x"], "output is set by us"),
        (["chdir=/tmp"], "chdir is set by us"),
        (["chd=/tmp"], "chdir is set by us"),
        (["mem="], "mem= has no value"),
        (["=4"], "give KEY=VALUE"),
        (["a b=4"], "give KEY=VALUE"),
    ],
)
def test_options_of_slurm_that_cannot_be(words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        options.parsed(words)


def test_options_of_slurm():
    found = options.parsed(["time=90", "--mem=8G", "cpus_per_task=2", "exclusive"])
    assert found.minutes == 90
    assert found.options == {"mem": "8G", "cpus-per-task": "2", "exclusive": True}
    # A short job must not be stopped before it began.
    assert queue.Settings(1).notice < 60
    assert queue.Settings(240).notice == 120


def test_a_job_has_the_name_of_its_folder_and_its_work(tmp_path):
    def name(folder, *arguments):
        return slurm.name_of(Work("", folder, json.dumps, arguments, len))

    first = name(tmp_path / "dice one", 1)
    assert re.fullmatch(r"dice-one\.[0-9a-f]{12}\.[0-9a-f]{12}", first)
    assert name(tmp_path / "dice one", 1) == first
    place, _, work = first.rpartition(".")
    assert name(tmp_path / "dice one", 2).rpartition(".")[0] == place
    assert name(tmp_path / "x" / "dice one", 1).rpartition(".")[2] == work
    assert name(tmp_path / "dice one", 2) != first != name(tmp_path / "x", 1)


def test_what_gets_nowhere_is_not_requeued_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(node.signal, "signal", lambda *_: None)
    monkeypatch.setattr(node, "_now", [])
    attempt = node.Attempt(Work("", tmp_path, json.dumps, (tmp_path,), count))
    for made in (False, False, True, False, False):
        attempt.before = count(tmp_path)
        if made:
            (tmp_path / "result").write_text("")
        assert attempt.checkpoint().function is attempt
    attempt.before = count(tmp_path)
    assert attempt.checkpoint() is None


def count(folder):
    return len(list(folder.iterdir()))


@pytest.mark.parametrize(
    ("state", "result", "key", "message"),
    [
        (queue.State("RUNNING"), None, None, ""),
        (queue.State("PENDING", reason="Priority"), None, None, ""),
        (queue.State("CANCELLED"), None, "failed", "job 7 was cancelled"),
        (queue.State("OUT_OF_MEMORY"), None, "failed", "more memory with --slurm mem"),
        (queue.State("TIMEOUT"), None, "again", "job 7 ended as TIMEOUT"),
        (queue.State("GONE"), None, "again", "job 7 ended as GONE"),
        # A result counts more than what squeue says.
        (queue.State("GONE"), ("success", {"done": "x"}), "done", "x"),
        (
            queue.State("FAILED"),
            ("error", "Trace\nE: requeued because: checkpoint function returned None."),
            *("failed", "give more minutes with --slurm time=MINUTES"),
        ),
    ],
    ids=str,
)
def test_what_became_of_a_job(tmp_path, monkeypatch, state, result, key, message):
    monkeypatch.setattr(queue, "LATE", 0)
    if result:
        (tmp_path / "7_0_result.pkl").write_bytes(pickle.dumps(result))
    found = slurm._outcome(tmp_path, slurm._Job("7", None), state)
    assert list(found) == ([key] if key else [])
    assert message in found.get(key, "")


@pytest.fixture(scope="module")
def organs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "organs"
    write_organs(folder, 32, 2, 3, 0.1, train=4, validation=2)
    return folder


def test_a_machine_without_slurm_is_told_at_once(organs, tmp_path):
    variables = {**os.environ, "PATH": str(tmp_path)}
    command = words(organs, tmp_path / "out", "--executor", "slurm")
    result = run(command, variables)
    assert result.returncode == 2
    assert "needs sbatch, which is not in PATH" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_python_without_submitit_is_told_at_once(organs, tmp_path):
    code = (
        "import runpy, sys; sys.modules['submitit'] = None; sys.argv[:] = sys.argv[1:]"
        "; sys.path.insert(0, sys.argv[0].rpartition('/')[0])"
        "; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = words(organs, tmp_path / "out", "--executor", "slurm")
    result = run([sys.executable, "-c", code, *command[1:]])
    assert result.returncode == 2
    assert "needs submitit, which cannot be imported" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--slurm", "mem=1G"), "--slurm mem=1G needs --executor slurm"),
        (("--executor", "slurm", "--costs"), "--costs times iterations on this"),
        (("--executor", "slurm", "--slurm", "time=x"), "time=x: give the time limit"),
        (("--executor", "slurm", "--jobs", 0), "--jobs must be at least 1"),
    ],
)
def test_options_that_contradict_each_other(organs, tmp_path, more, message):
    result = run(words(organs, tmp_path / "out", *more))
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("word", ["--mpi", "--mp", "--m"])
def test_a_training_of_a_sweep_is_one_process(word):
    with pytest.raises(UserError, match=f"{word} after -- is not possible.*omit it"):
        running.check_training(["--iterations", "4", word], ())


def test_a_sweep_is_not_started_by_mpiexec(monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(UserError, match=r"mpiexec started 2 processes.*without it"):
        running.check_training([], ())


def test_who_cancels_does_not_wait_for_a_silent_slurm(monkeypatch):
    asked = []

    def silent(*command):
        asked.append(command[0])
        return subprocess.CompletedProcess(command, 1, "", "cannot contact it")

    monkeypatch.setattr(queue, "told", silent)
    monkeypatch.setattr(queue.time, "sleep", lambda s: s and asked.append(s))
    with pytest.raises(UserError, match=r"jobs are not cancelled: .*cannot contact it"):
        queue.cancel(["some"])
    assert asked == ["squeue"]
