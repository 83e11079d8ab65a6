"""A real Slurm of one node, with its own folder, keys and ports, for the tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY
from slurm_programs import SBIN, missing

from randrop.pycaffe import processes

# Nothing of the system's own Slurm: no accounting, no control groups, no other's files.
CONFIGURATION = """\
ClusterName=randrop-test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={node}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
JobRequeue=1
OverTimeLimit=0
KillWait=10
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=600 State=UP
"""


def give_up(reason):
    """Skip the test, or fail where the tests of Slurm alone were asked for."""
    (pytest.fail if os.environ.get("RANDROP_TEST_SLURM") else pytest.skip)(reason)


def free_ports(number):
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(number):
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.append(one.getsockname()[1])
        return found


class Daemons:
    """munged, slurmctld and slurmd; `end` ends them and their jobs."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []
        host = socket.gethostname().partition(".")[0]
        controller, node = free_ports(2)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(
            CONFIGURATION.format(
                **{"host": host, "folder": folder, "user": "root"},
                **{"controller": controller, "node": node},
                cpus=max(2, len(os.sched_getaffinity(0))),
            )
        )
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self.variables = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SLURM_")},
            "SLURM_CONF": str(self.configuration),
            "PATH": os.pathsep.join([os.environ["PATH"], *SBIN]),
        }

    def start(self):
        folder = self.folder
        self.launch(
            *("munged", "--foreground", "--force", f"--key-file={folder}/munge.key"),
            *(f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid"),
            *(f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"),
        )
        self.wait((folder / "munge.socket").exists, "munged")
        self.launch("slurmctld", "-D", "-f", str(self.configuration))
        self.launch("slurmd", "-D", "-f", str(self.configuration))
        self.wait(lambda: "idle" in self.tell("sinfo", "-h", "-o", "%T"), "the node")

    def launch(self, *command):
        with (self.folder / f"{command[0]}.out").open("w") as out:
            child = subprocess.Popen(
                # They end with the tests, however these end.
                processes.bound(command),
                env=self.variables,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.running.append((command[0], child))

    def wait(self, holds, what):
        until = time.monotonic() + 30
        while not holds():
            ended = [name for name, x in self.running if x.poll() is not None]
            if ended or time.monotonic() > until:
                said = "; ".join(
                    path.read_text(errors="replace").strip()[-300:]
                    for path in sorted(self.folder.glob("*.out"))
                )
                give_up(f"Slurm does not start here: {what}, {ended}: {said}")
            time.sleep(0.2)

    def tell(self, *command):
        """Return what a program of Slurm says."""
        found = subprocess.run(
            command, env=self.variables, capture_output=True, text=True, check=False
        )
        return found.stdout + found.stderr

    def jobs(self):
        """Return the state of each job, by number."""
        words = ("squeue", "--states=all", "--noheader", "--format=%i %T")
        found = subprocess.run(
            words, env=self.variables, capture_output=True, text=True, check=False
        )
        if found.returncode:
            raise OSError(f"squeue fails: {found.stderr.strip()}")
        return dict(line.split() for line in found.stdout.splitlines())

    def active(self):
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        return [number for number, state in self.jobs().items() if state not in ended]

    def details(self, number):
        return self.tell("scontrol", "show", "job", number)

    def hasten(self):
        """Let requeued jobs begin now: Slurm keeps them for two minutes."""
        told = self.tell("squeue", "--states=PENDING", "--noheader", "--format=%i %r")
        for line in told.splitlines():
            number, reason = line.split(maxsplit=1)
            if reason == "BeginTime":
                self.tell("scontrol", "update", f"JobId={number}", "StartTime=now")

    def end(self):
        """End jobs, daemons, and what a slurmd that was killed would leave."""
        with contextlib.suppress(OSError):
            left = self.active()
            if left:
                self.tell("scancel", *left)
                until = time.monotonic() + 20
                while self.active() and time.monotonic() < until:
                    time.sleep(0.5)
        for _, child in reversed(self.running):
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextlib.contextmanager
def started(folder: Path):
    """Start a Slurm, or skip the test and say why."""
    reason = missing()
    if reason:
        give_up(reason)
    daemons = Daemons(folder)
    try:
        daemons.start()
        yield daemons
    finally:
        daemons.end()


# --- Sweeps of seconds

SMALL = ("--base-channels", 2, "--depth", 2, "--test-interval", 1000000)
SHORT = ("--iterations", 20, "--snapshot", 10, *SMALL)
ENDLESS = ("--iterations", 10000000, "--snapshot", 500, *SMALL)


def words(organs, out, *more, training=SHORT, losses=("cross-entropy",)):
    return [
        *(sys.executable, REPOSITORY / "scripts/compare.py", "--data", organs),
        *("--losses", *losses, "--out", out, *more, "--", *training),
    ]


def run(command, variables=None):
    return subprocess.run(
        list(map(str, command)),
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
