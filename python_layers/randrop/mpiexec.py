"""What mpiexec or srun has started: this process's number among the ranks."""

import dataclasses
import os
import re
import socket

from randrop.errors import UserError

# Of Open MPI, of MPICH, Intel MPI and MVAPICH (Hydra), and of Slurm's srun: rank,
# number of ranks, how many of them are on this machine, and the number there.
NAMES = (
    (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
    ),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
    ("SLURM_PROCID", "SLURM_NTASKS", "", "SLURM_LOCALID"),
)

INSTALL = (
    "install it into build/venv ('build/venv/bin/pip install mpi4py mpich'; on a "
    "cluster mpi4py alone, which then uses the cluster's MPI)"
)


@dataclasses.dataclass(frozen=True)
class Started:
    """The place of this process.

    Attributes
    ----------
    rank, ranks : int
        As the environment tells them.
    local : int or None
        Ranks on this machine, if it tells.
    """

    rank: int
    ranks: int
    local: int | None = None

    @property
    def name(self) -> str:
        """Rank and machine, for messages."""
        return f"rank {self.rank} on {socket.gethostname()}"


def started() -> Started | None:
    """Return the place of this process, or None if no mpiexec started it."""
    for rank, ranks, local, _ in NAMES:
        try:
            found = Started(int(os.environ[rank]), int(os.environ[ranks]))
        except (KeyError, ValueError):
            continue
        # Every step of a Slurm job has these, with or without MPI.
        if rank == "SLURM_PROCID" and found.ranks == 1:
            continue
        here = os.environ.get(local, "")
        number = int(here) if here.isdecimal() else _of_slurm()
        return dataclasses.replace(found, local=number)
    return None


def _of_slurm() -> int | None:
    """Return the tasks of srun on this node: the list has, for example, 4(x2),1."""
    try:
        node = int(os.environ["SLURM_NODEID"])
        parts = os.environ["SLURM_STEP_TASKS_PER_NODE"].split(",")
    except (KeyError, ValueError):
        return None
    numbers = []
    for part in parts:
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not found:
            return None
        numbers += [int(found[1])] * int(found[2] or 1)
    return numbers[node] if node < len(numbers) else None


def check_alone(remedy: str) -> None:
    """Refuse to run as one of several processes.

    Raises
    ------
    UserError
        If mpiexec started them; ends with the remedy.
    """
    place = started()
    if place and place.ranks > 1 and "SLURM_PROCID" not in os.environ:
        raise UserError(
            f"mpiexec started {place.ranks} processes, which would all do the same: "
            f"{remedy}"
        )


def local_rank() -> int:
    """Return the number of this rank on its machine, from 0."""
    found = (os.environ[names[-1]] for names in NAMES if names[-1] in os.environ)
    return int(next(found, "0"))
