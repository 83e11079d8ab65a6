"""--executor slurm on a real Slurm: the same result, whatever happens to the jobs."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_protocol
import small_training
from conftest import REPOSITORY
from slurm import ENDLESS, SMALL, run, started, words

from randrop.data.organ_set import write_organs


@pytest.fixture(scope="module")
def organs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "organs"
    write_organs(folder, 32, 2, 3, 0.1, train=4, validation=2)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with started(tmp_path_factory.mktemp("slurm")) as daemons:
        yield daemons


@pytest.fixture
def begin(cluster):
    """A function that starts a script; it and its jobs end with the test."""
    mine = []

    def start(command):
        mine.append(
            subprocess.Popen(
                list(map(str, command)),
                env=cluster.variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return mine[-1]

    yield start
    for process in mine:
        if process.poll() is None:
            process.kill()
        process.communicate()
    left = cluster.active()
    if left:
        cluster.tell("scancel", *left)
        wait_for(lambda: not cluster.active(), "the end of all jobs", 60)


def on_slurm(*more):
    return ("--executor", "slurm", "--slurm", "time=5", *more)


def weights(caffe, folder):
    """Of the weights alone: the file also names the folder of the run."""
    found = small_training.weights(caffe, folder / "run/final.caffemodel")
    return hashlib.sha256(found.tobytes()).hexdigest()


def wait_for(holds, what, seconds=120):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.1)


def iteration(folder):
    """Return the iteration of the newest snapshot with a digest, 0 without any."""
    found = folder.glob("run/snapshots/*.sha256")
    return max((int(path.stem.rpartition("_")[2]) for path in found), default=0)


def batch_process(number):
    """Return the process of a job that Slurm started."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"SLURM_JOB_ID={number}\0" not in path.read_text(errors="replace"):
                continue
            said = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if "submitit.core._submit" in said:
            return int(path.parent.name)
    raise AssertionError(f"job {number} has no process")


def caffe_process(folder):
    """Return the process of `caffe train` that works for a folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = path.read_text(errors="replace").split("\0")
        except OSError:
            continue
        if Path(said[0]).name.startswith("caffe") and str(folder) in " ".join(said):
            return int(path.parent.name)
    raise AssertionError(f"no caffe train works for {folder}")


def working(cluster, out):
    """Return whether any process works for a folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(out) in path.read_text(errors="replace"):
                return True
        except OSError:
            continue
    return False


@pytest.fixture(scope="module")
def local(caffe, organs, tmp_path_factory):
    """The same comparison on this machine."""
    out = tmp_path_factory.mktemp("local") / "out"
    result = run(words(organs, out, losses=("cross-entropy", "dice")))
    assert result.returncode == 0, result.stderr
    return out


def test_a_sweep_is_the_same_as_on_this_machine(
    cluster, caffe, organs, local, tmp_path
):
    out = tmp_path / "a folder" / "out"
    out.parent.mkdir()
    command = words(organs, out, *on_slurm(), losses=("cross-entropy", "dice"))
    result = run(command, cluster.variables)
    assert result.returncode == 0, result.stderr
    for name in ("cross-entropy-seed1", "dice-seed1"):
        assert weights(caffe, out / name) == weights(caffe, local / name)
    found, wanted = (
        json.loads((folder / "summary.json").read_text()) for folder in (out, local)
    )
    assert found["losses"] == wanted["losses"]
    assert len(list(out.glob("slurm/*_result.pkl"))) == 2
    assert not list(out.glob("slurm/.*"))
    # Again: what is done waits in no queue, and what is missing is made anew there.
    (out / "dice-seed1/evaluation/metrics.json").unlink()
    assert run(command, cluster.variables).returncode == 0
    assert len(list(out.glob("slurm/*_result.pkl"))) == 3
    assert (out / "dice-seed1/evaluation/metrics.json").exists()


def test_one_failure_does_not_end_the_others(cluster, organs, tmp_path):
    out = tmp_path / "out"
    (out / "dice-seed1").mkdir(parents=True)
    (out / "dice-seed1/run").write_text("mine")
    command = words(organs, out, *on_slurm(), losses=("dice", "cross-entropy"))
    result = run(command, cluster.variables)
    assert result.returncode == 1, result.stderr
    assert "error: dice, seed 1: train.py ended with 2" in result.stderr
    assert "Traceback" not in result.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert [one["loss"] for one in summary["runs"]] == ["cross-entropy"]
    assert [one["loss"] for one in summary["failed"]] == ["dice"]
    assert (out / "dice-seed1/run").read_text() == "mine"


@pytest.mark.parametrize(
    "option", ["partition=nosuch", "mem=900T", "nonsense=3", "cpus=3"]
)
def test_what_slurm_refuses_is_told_at_once(cluster, organs, tmp_path, option):
    given = ("--executor", "slurm", "--slurm", option)
    result = run(words(organs, tmp_path / "out", *given), cluster.variables)
    assert result.returncode == 2
    assert "Slurm refuses jobs with --time=" in result.stderr
    assert option in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_job_that_slurm_would_never_start(cluster, organs, tmp_path):
    """Slurm takes it, and lets it wait for ever."""
    given = ("--executor", "slurm", "--slurm", "time=5000")
    result = run(words(organs, tmp_path / "out", *given), cluster.variables)
    assert result.returncode == 1
    assert "would never start (PartitionTimeLimit), and was cancelled" in result.stderr
    assert not cluster.active()


def test_ctrl_c_cancels_and_a_kill_does_not(cluster, organs, tmp_path, begin):
    """And the same command finds the jobs that go on."""
    out = tmp_path / "out"
    more = on_slurm("cpus-per-task=1")
    losses = ("cross-entropy", "dice", "focal")
    command = words(organs, out, *more, training=ENDLESS, losses=losses)
    first = begin(command)
    folder = out / "cross-entropy-seed1"
    wait_for(lambda: iteration(folder) >= 500, "a snapshot")
    jobs = sorted(cluster.active())
    assert len(jobs) == 3
    first.kill()
    first.communicate()
    time.sleep(2)
    assert sorted(cluster.active()) == jobs

    # Other work in the same folder has to wait.
    other = words(organs, out, *more, losses=losses)
    result = run(other, cluster.variables)
    assert result.returncode == 2
    assert "with other arguments: repeat these, cancel it ('scancel" in result.stderr
    assert sorted(cluster.active()) == jobs

    second = begin(command)
    holder = f'"pid": {second.pid},'
    lock = out / ".randrop.lock"
    wait_for(lambda: holder in lock.read_text(), "the second one")
    time.sleep(5)
    assert sorted(cluster.active()) == jobs
    before = iteration(folder)
    second.send_signal(signal.SIGINT)
    _, said = second.communicate(timeout=120)
    assert second.returncode == 130, said
    assert "Cancelling 3 job(s) of Slurm" in said
    assert "Traceback" not in said
    assert not cluster.active()
    wait_for(lambda: not working(cluster, out), "the end of all processes", 15)
    last = iteration(folder)
    # A snapshot of its own, between two of every 500 iterations.
    assert last > before and last % 500, (before, last)


def test_plain_scancel_leaves_a_snapshot_and_is_told(cluster, organs, tmp_path, begin):
    out = tmp_path / "out"
    process = begin(words(organs, out, *on_slurm(), training=ENDLESS))
    folder = out / "cross-entropy-seed1"
    wait_for(lambda: iteration(folder) >= 500, "a snapshot")
    (job,) = cluster.active()
    cluster.tell("scancel", job)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert f"error: cross-entropy, seed 1: job {job} was cancelled" in said
    assert iteration(folder) % 500, "no snapshot at the end"
    assert not working(cluster, out)


# Caffe shuffles labelled images anew when it resumes; patches of photographs go on.
PATCHES = ("--patch", 32, "--test-iterations", 1)
LONG = ("--iterations", 10000, "--snapshot", 500, *SMALL, *PATCHES)


def whole(phantom, out, training):
    """Train on this machine; return the seconds and the digest of the weights."""
    began = time.monotonic()
    result = run(words(phantom, out, training=training))
    assert result.returncode == 0, result.stderr
    return time.monotonic() - began, sha256(out / "cross-entropy-seed1")


def sha256(folder):
    path = folder / "run/final.caffemodel"
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def long(caffe, phantom, tmp_path_factory):
    """The weights of a training of half a minute."""
    return whole(phantom, tmp_path_factory.mktemp("long") / "out", LONG)[1]


@pytest.mark.cluster
@pytest.mark.parametrize("how", ["kill -9", "requeue"])
def test_a_job_that_is_killed_continues(cluster, phantom, tmp_path, begin, long, how):
    """By somebody's kill -9; or by Slurm itself, as for preemption and lost nodes."""
    out = tmp_path / "out"
    process = begin(words(phantom, out, *on_slurm(), training=LONG))
    folder = out / "cross-entropy-seed1"
    wait_for(lambda: iteration(folder) >= 1000, "a snapshot")
    (job,) = cluster.active()
    if how == "requeue":
        cluster.tell("scontrol", "requeue", job)
        wait_for(lambda: "BeginTime" in cluster.details(job), "the requeue", 60)
        cluster.hasten()
    else:
        os.kill(batch_process(job), signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    resumed = re.search(r"Resuming .*_iter_(\d+)", (folder / "run/log.txt").read_text())
    assert sha256(folder) == long
    if how == "kill -9":
        assert int(resumed[1]) % 500 == 0
        assert f"job {job} ended as FAILED" in said
        assert len(list(out.glob("slurm/*_submitted.pkl"))) == 2
    else:
        assert int(resumed[1]) % 500, "no snapshot at the end"
        assert "Restarts=1" in cluster.details(job)


@pytest.mark.cluster
def test_a_run_that_reaches_its_time_limit(cluster, phantom, tmp_path, begin, long):
    """Is requeued, and ends with the same weights, bit for bit."""
    out = tmp_path / "out"
    given = ("--executor", "slurm", "--slurm", "time=1")
    process = begin(words(phantom, out, *given, training=LONG))
    folder = out / "cross-entropy-seed1"
    wait_for(lambda: iteration(folder) >= 500, "a snapshot")
    (job,) = cluster.active()
    # A minute is Slurm's shortest limit: Caffe rests, so that no machine is too fast.
    caffe = caffe_process(folder)
    os.kill(caffe, signal.SIGSTOP)
    log = out / f"slurm/{job}_0_log.out"
    wait_for(lambda: "this job is timed-out" in log.read_text(), "the time limit")
    os.kill(caffe, signal.SIGCONT)
    while process.poll() is None:
        # Slurm lets a job rest for two minutes before it begins again.
        cluster.hasten()
        time.sleep(1)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert int(re.search(r"Restarts=(\d+)", cluster.details(job))[1]) >= 1
    assert "Resuming from" in (folder / "run/log.txt").read_text()
    assert sha256(folder) == long


@pytest.mark.cluster
def test_a_protocol_has_the_same_records(cluster, caffe, phantom, tmp_path):
    data = small_protocol.prepare(phantom, tmp_path / "data")
    path = small_protocol.write(data, tmp_path / "protocol.json")
    found = []
    for place, more in (("here", ()), ("there", on_slurm())):
        command = [sys.executable, REPOSITORY / "scripts/run_protocol.py", path]
        command += ["--data", data, "--out", tmp_path / place]
        command += ["--records", tmp_path / f"records-{place}", *more]
        result = run(command, cluster.variables)
        assert result.returncode == 0, result.stderr
        records = {}
        for file in sorted((tmp_path / f"records-{place}").glob("*.json")):
            records[file.name] = json.loads(file.read_text())
            assert records[file.name].pop("seconds") > 0
        found.append(records)
    assert len(found[0]) == 5
    assert found[0] == found[1]


def test_large_sets(cluster, phantom, surface_run, tmp_path):
    """The same files as on this machine."""
    sets = {
        "predict": ("--model", "idrid-small", "--list", "--data", phantom),
        "evaluate": ("--data", phantom, "--probabilities", tmp_path / "here-predict"),
        "surface landscape": (
            *("--run", surface_run, "--images", 2, "--points", 3, "--workers", 1),
        ),
    }
    for script, given in sets.items():
        name, *command = script.split()
        subset = () if command else ("--subset", "all")
        own = [sys.executable, REPOSITORY / f"scripts/{name}.py", *command, *given]
        outs = [tmp_path / f"{where}-{name}" for where in ("here", "there")]
        if command:
            outs = [out.with_suffix(".h5") for out in outs]
        number = () if name == "evaluate" else ("--jobs", 2)
        queued = ("--executor", "slurm", "--slurm", "time=5", *number)
        for out, more in zip(outs, ((), queued), strict=True):
            result = run([*own, *subset, "--out", out, *more], cluster.variables)
            assert result.returncode == 0, result.stderr
        here, there = (
            {p.relative_to(out): p.read_bytes() for p in out.rglob("*.png")}
            if out.is_dir()
            else out.read_bytes()
            for out in outs
        )
        assert here == there
        assert here
    assert not (tmp_path / "there-predict/shares").exists()
