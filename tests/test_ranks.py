"""Training on several ranks that mpiexec starts: as one process, or a clear refusal."""

import json
import os
import signal
import subprocess
import time

import mpi
import pytest
import small_training
from mpi import beside, command, train

from randrop import mpiexec
from randrop.errors import UserError
from randrop.training.ranks import averaging
from randrop.training.snapshots import states


@pytest.fixture(scope="module", autouse=True)
def need_mpi():
    mpi.need()


def ranks_of(run):
    """Return the processes of all ranks of a run."""
    found = subprocess.run(
        ["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True
    )
    lines = [line.strip() for line in found.stdout.splitlines() if str(run) in line]
    return {int(line.split()[0]): line for line in lines if "mpiexec" not in line}


def wait(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def running(phantom, tmp_path):
    """A training on two ranks that goes on for long, with its first snapshot."""
    run = tmp_path / "run"
    more = ("--snapshot", 20, "--mpi-patience", 5)
    (tmp_path / "tmp").mkdir()
    child = subprocess.Popen(
        command(2, phantom, run, *more, iterations=100_000, interval=50_000),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
    )
    wait(lambda: states(run) or child.poll() is not None)
    yield child, run
    child.kill()
    child.communicate()


def test_ctrl_c_leaves_a_snapshot_and_fewer_ranks_go_on(running, phantom):
    child, run = running
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert "--resume to continue from iteration" in said
    wait(lambda: not ranks_of(run), 20)
    at = max(int(path.stem.split("_")[-1]) for path in states(run))
    done = subprocess.Popen(
        command(
            *(1, phantom, run, "--snapshot", 20, "--resume"),
            iterations=100_000,
            interval=50_000,
        ),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait(lambda: len(states(run)) > at // 20 + 1 or done.poll() is not None)
    done.send_signal(signal.SIGINT)
    _, said = done.communicate(timeout=60)
    assert "--resume to continue from iteration" in said
    record = json.loads((run / "run.json").read_text())
    assert record["ranks"] == 1


@pytest.mark.parametrize("which", ["first", "other"])
def test_a_killed_rank_ends_them_all(which, running):
    child, run = running
    found = ranks_of(run)
    speaking = sorted(pid for pid, line in found.items() if "ranks.rank" in line)
    assert len(speaking) >= 2, found
    own = {pid: "train_val" in line or '"start"' in line for pid, line in found.items()}
    victim = next(pid for pid in speaking if own[pid] == (which == "first"))
    os.kill(victim, signal.SIGKILL)
    child.communicate(timeout=60)
    assert child.returncode != 0
    wait(lambda: not ranks_of(run), 20)
    assert states(run)
    assert not list((run.parent / "tmp").glob("randrop-*"))


def test_a_rank_that_hangs_ends_the_others(running):
    child, run = running
    found = ranks_of(run)
    victim = next(p for p, line in found.items() if "ranks.rank" in line)
    os.kill(victim, signal.SIGSTOP)
    _, said = child.communicate(timeout=90)
    assert child.returncode != 0
    assert "has waited 5 s for the others in iteration" in said
    wait(lambda: not ranks_of(run), 20)


def test_a_second_training_in_the_folder_is_refused(running, phantom):
    _, run = running
    second = train(2, phantom, run, "--force")
    assert second.returncode == 2
    assert "is writing into" in second.stderr


def test_other_settings_on_a_rank_are_named(phantom, tmp_path):
    run = tmp_path / "run"
    other = small_training.command(phantom, run, "--mpi", "--lr", "0.01")
    done = beside(small_training.command(phantom, run, "--mpi"), other)
    assert done.returncode == 2
    assert "rank 1 on" in done.stderr
    assert "another value of --lr than rank 0 (0.001 -> 0.01)" in done.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--mpi", "--nonsense"), "unrecognized arguments: --nonsense"),
        ((), "add --mpi, and each takes its share"),
    ],
)
def test_a_rank_with_a_wrong_command_ends_all(more, message, phantom, tmp_path):
    """And does not leave them waiting in the start of MPI."""
    run = tmp_path / "run"
    other = small_training.command(phantom, run, *more)
    begin = time.monotonic()
    done = beside(small_training.command(phantom, run, "--mpi"), other)
    assert done.returncode != 0
    assert message in done.stderr
    assert time.monotonic() - begin < 300
    assert not ranks_of(run)


@pytest.mark.parametrize("seconds", [0.3, 1, 2, 3])
def test_ctrl_c_at_the_start_leaves_nothing_running(seconds, phantom, tmp_path):
    run = tmp_path / "run"
    child = subprocess.Popen(
        command(2, phantom, run, "--mpi-patience", 20, iterations=100_000),
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=100)
    assert child.returncode != 0
    # Before it says this, Python may still be reading what it imports.
    assert "Training in" not in said or "Traceback" not in said
    wait(lambda: not ranks_of(run), 20)


def test_a_users_file_with_the_name_of_a_log_stays(phantom, tmp_path):
    run = tmp_path / "run"
    for ranks, more in ((2, ()), (1, ("--force",))):
        done = train(ranks, phantom, run, *more, iterations=4)
        assert done.returncode == 0, done.stderr
        assert (run / "rank1.txt").exists() == (ranks == 2)
    (run / "rank1.txt").write_text("my notes")
    done = train(2, phantom, run, "--force", iterations=4)
    assert done.returncode == 2
    assert "rank1.txt" in done.stderr
    assert (run / "rank1.txt").read_text() == "my notes"


def test_a_rank_without_the_data_is_named(phantom, tmp_path):
    run = tmp_path / "run"
    other = small_training.command(tmp_path / "nothing", run, "--mpi")
    done = beside(small_training.command(phantom, run, "--mpi"), other)
    assert done.returncode == 2
    assert "rank 1 on" in done.stderr
    assert "nothing" in done.stderr


def test_weights_that_differ_are_named():
    averaging.check_digests(["a", "a", "a"], 100)
    with pytest.raises(UserError, match="rank 2 differ from those of rank 0 at it"):
        averaging.check_digests(["a", "a", "b"], 100)


@pytest.mark.parametrize(
    ("ranks", "more", "message"),
    [
        (2, ["--batch", "3"], "--batch 3 cannot be divided among 2 ranks"),
        (2, ["--loss", "random-drop:LOG,balance=BATCH"], "use balance=PER_IMAGE"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(ranks, more, message, phantom, tmp_path):
    done = train(ranks, phantom, tmp_path / "run", *more)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "run.json").exists()


def test_mpi_without_mpiexec_is_refused(phantom, tmp_path):
    done = small_training.run(phantom, tmp_path / "run", "--mpi")
    assert done.returncode == 2
    assert "--mpi: no mpiexec started this" in done.stderr


def test_mpiexec_without_mpi_is_refused(phantom, tmp_path):
    words = small_training.command(phantom, tmp_path / "run")
    done = mpi.mpiexec(2, words)
    assert done.returncode == 2
    assert "mpiexec started 2 processes" in done.stderr


def test_a_finished_training_ends_all_ranks(phantom, tmp_path):
    for _ in range(2):
        done = train(2, phantom, tmp_path / "run", iterations=4)
        assert done.returncode == 0, done.stderr
    assert "is already trained" in done.stderr


SRUN = {
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "9",
    "SLURM_STEP_TASKS_PER_NODE": "2(x4),1",
}


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, None),
        ({"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "2"}, (1, 4, 2)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, (0, 2, None)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, (3, 8, None)),
        (SRUN | {"SLURM_NODEID": "1"}, (3, 9, 2)),
        (SRUN | {"SLURM_NODEID": "4"}, (3, 9, 1)),
        (SRUN | {"SLURM_NODEID": "5"}, (3, 9, None)),
        (SRUN | {"PMI_RANK": "4", "PMI_SIZE": "9", "SLURM_NODEID": "4"}, (4, 9, 1)),
    ],
)
def test_who_started_this(variables, place, monkeypatch):
    for names in mpiexec.NAMES:
        for name in filter(None, (*names, "SLURM_NODEID")):
            monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = mpiexec.started()
    assert (found and (found.rank, found.ranks, found.local)) == place


def test_a_full_disk_ends_all_ranks_with_a_snapshot(phantom, small_disk):
    """The weights and their digests need some 100 kB; the log grows."""
    run = small_disk(300_000) / "run"
    more = ("--snapshot", 20, "--mpi-patience", 30)
    done = train(2, phantom, run, *more, iterations=100_000, interval=50_000)
    assert done.returncode == 2, done.stderr[-500:]
    assert "error:" in done.stderr
    assert "space" in done.stderr or "disk" in done.stderr
    assert states(run)
    wait(lambda: not ranks_of(run), 20)
