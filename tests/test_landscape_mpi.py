"""Ranks of mpiexec deal out the jobs, and the first one has all results."""

import os
import subprocess
import sys

import mpi
from conftest import REPOSITORY

_CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from randrop.errors import UserError
from randrop.surface.landscape import points
from randrop.surface.landscape.ranks import Ranks

def prepare():
    import os
    def evaluate(job):
        if sys.argv[2] == "fail" and job == 7:
            raise UserError("job 7 is refused")
        return {"losses": [job * 2.0], "average_precision": float(os.getppid())}
    return evaluate

ranks = Ranks()
with ranks.together():
    jobs = ranks.shared(list(range(20)) if ranks.number == 0 else None)
    own = points.computed(ranks.share(jobs), 2, prepare)
    if ranks.number:
        ranks.send(own)
    else:
        found = dict(ranks.gathered(own))
        assert sorted(found) == list(range(20)), found
        assert all(r["losses"] == [job * 2.0] for job, r in found.items())
        print("ranks", len({r["average_precision"] for r in found.values()}))
"""


def mpiexec(number, word):
    mpi.need()
    folder = str(REPOSITORY / "python_layers")
    return mpi.mpiexec(number, [sys.executable, "-c", _CHILD, folder, word])


def test_all_ranks_take_part_and_nothing_is_lost():
    result = mpiexec(3, "all")
    assert result.returncode == 0, result.stderr
    assert "ranks 3" in result.stdout


def test_a_rank_that_fails_ends_them_all():
    result = mpiexec(3, "fail")
    assert result.returncode != 0
    assert "job 7 is refused" in result.stderr


def test_mpiexec_without_mpi4py_is_named():
    code = "import sys; sys.modules['mpi4py'] = None\n" + _CHILD
    child = subprocess.run(
        [sys.executable, "-c", code, str(REPOSITORY / "python_layers"), "all"],
        capture_output=True,
        text=True,
        env={**os.environ, "PMI_RANK": "0", "PMI_SIZE": "2"},
        check=False,
    )
    assert child.returncode == 1
    assert "mpiexec needs mpi4py" in child.stderr
