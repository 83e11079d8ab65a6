"""What a real Slurm of one node needs; as a program, says what is missing."""

import os
import shutil
import sys

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "srun")
REMEDY = "apt-get install slurmctld slurmd slurm-client munge"
SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")


def missing():
    """Return why there can be no Slurm here, or None."""
    if os.geteuid() != 0:
        return "starting Slurm's daemons takes root: use sudo"
    path = os.pathsep.join([os.environ.get("PATH", ""), *SBIN])
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"no {' and no '.join(absent)}: {REMEDY}" if absent else None


if __name__ == "__main__":
    reason = missing()
    sys.exit(f"error: {reason}" if reason else 0)
