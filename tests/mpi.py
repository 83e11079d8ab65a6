"""mpiexec for the tests: the one beside Python (mpich of PyPI), or the system's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_training

# For Open MPI: tests may run as root, and with more ranks than cores.
VARIABLES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
}


def program():
    """Return the path of mpiexec, or None."""
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def mpiexec(ranks, words, **options):
    """Run a command on ranks of this machine, and return what it printed."""
    variables = {**os.environ, **VARIABLES, **options.pop("env", {})}
    return subprocess.run(
        [program(), "-n", str(ranks), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=variables,
        **{"timeout": 600, **options},
    )


def need():
    """Skip a test where several processes cannot speak MPI."""
    if program() is None:
        pytest.skip("no mpiexec: pip install mpich")
    pytest.importorskip("mpi4py", reason="no mpi4py: pip install mpi4py")
    code = "from mpi4py import MPI; assert MPI.COMM_WORLD.size == 2"
    done = mpiexec(2, [sys.executable, "-c", code])
    if done.returncode:
        pytest.skip(f"mpiexec cannot start two ranks here: {done.stderr[-300:]}")


def command(ranks, data, run, *more, **options):
    words = small_training.command(data, run, *more, "--mpi", **options)
    return [program() or "", "-n", str(ranks), *words]


def train(ranks, data, run, *more, **options):
    words = small_training.command(data, run, *more, "--mpi", **options)
    return mpiexec(ranks, words)


def beside(first, other):
    """Run two commands as ranks 0 and 1."""
    return mpiexec(1, [*first, ":", "-n", "1", *other])
