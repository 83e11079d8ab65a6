"""One rank of a training: the process that speaks MPI, in the place of `caffe train`.

All ranks first tell each other what they are about to do. Where they differ, or one of
them cannot take part, all of them end before the first iteration.
"""

import hashlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from randrop.errors import UserError
from randrop.files import write_json
from randrop.pycaffe.build import PACKAGES, import_caffe
from randrop.training import prototxts, shares
from randrop.training.ranks.averaging import (
    Averaging,
    SharedError,
    StopTraining,
    Watch,
    signals,
)
from randrop.training.shares import Rule, Share

OWN = ("data", "split", "false_alarms", "weights", "out")
"""Settings that may differ between machines: where things are."""

OTHER_LIBRARY = (
    "use the mpiexec of that one, or name the library of this mpiexec, as in 'export "
    "MPI4PY_LIBMPI=/usr/lib/x86_64-linux-gnu/libmpi.so.40'"
)

_SCREEN = os.dup(2)
"""Where the user looks, also when the log is a file."""


def main() -> None:
    """Train as one rank; the argument is the plan of this one as JSON."""
    plan = json.loads(sys.argv[1])
    MPI = _mpi(plan.get("patience", 600.0))
    try:
        status = _main(plan, MPI.COMM_WORLD)
    except BaseException as error:
        _fail(error, MPI)
    MPI.Finalize()
    sys.exit(status)


def _mpi(patience: float) -> Any:
    """Return mpi4py.MPI, started, unless it does not belong to this mpiexec.

    Parameters
    ----------
    patience : float
        Seconds after which SIGALRM ends the process if another rank has not come.
    """
    import mpi4py

    mpi4py.rc.initialize = False
    from mpi4py import MPI

    library = MPI.Get_library_version().split("\n")[0].strip(" \0")
    theirs = "Open MPI" if "OMPI_COMM_WORLD_RANK" in os.environ else ""
    if "PMI_FD" in os.environ:
        theirs = "MPICH or one of its kind"
    if theirs and (theirs == "Open MPI") != ("Open MPI" in library):
        print(
            f"UserError: this mpiexec is of {theirs}, but mpi4py uses {library}: "
            f"{OTHER_LIBRARY}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(2)
    # It waits for all ranks and holds Python's lock, so only the system can end it.
    signal.setitimer(signal.ITIMER_REAL, patience)
    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return MPI


def _fail(error: BaseException, MPI: Any) -> None:
    """End without waiting for the others, which ends them, too."""
    known = isinstance(error, UserError | SystemExit)
    if not known:
        traceback.print_exception(error)
    if MPI.COMM_WORLD.rank == 0:
        # train.py, which reads this, shows it.
        if known:
            print(f"UserError: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)
    if not isinstance(error, SharedError):
        say(f"rank {MPI.COMM_WORLD.rank} on {socket.gethostname()}: {error}")
    # mpiexec then kills the others: the first rank may have more to say.
    time.sleep(2)
    MPI.COMM_WORLD.Abort(2)


def say(text: str) -> None:
    """Write a line where the user sees it, and into the log."""
    for handle in {_SCREEN, 2}:
        os.write(handle, f"error: {text}\n".encode())


def facts_of(plan: dict[str, Any]) -> dict[str, Any]:
    """Return what the ranks compare: code, libraries, settings and data."""
    caffe = import_caffe()
    import cv2

    code = hashlib.sha256()
    for path in sorted((PACKAGES / "randrop").rglob("*.py")):
        code.update(path.read_bytes())
    settings = plan.get("settings") or {}
    return {
        "host": socket.gethostname(),
        "status": plan.get("status"),
        "error": plan.get("error", ""),
        "same": {
            "code of randrop": code.hexdigest()[:12],
            "version of Caffe": caffe.__version__,
            "version of NumPy": np.__version__,
            "version of OpenCV": cv2.__version__,
            "photographs": plan.get("photographs"),
            **{
                f"--{name.replace('_', '-')}": value
                for name, value in settings.items()
                if name not in OWN
            },
        },
    }


def compare(facts: Sequence[dict[str, Any]]) -> None:
    """Refuse ranks that would train something else.

    Raises
    ------
    UserError
        Names the first one that differs, and in what.
    """
    first = facts[0]["same"]
    for rank, other in enumerate(facts):
        for name, value in other["same"].items():
            if value != first.get(name):
                raise SharedError(
                    f"rank {rank} on {other['host']} has another value of {name} than "
                    f"rank 0 ({first.get(name)!r} -> {value!r}): start all ranks with "
                    "the same command, the same copy of the data, and the same build"
                )


def _main(plan: dict[str, Any], comm: Any) -> int:
    wanted = plan.get("ranks", comm.size)
    if comm.size != wanted:
        raise SharedError(
            f"mpiexec started {wanted} ranks, but mpi4py sees {comm.size}, as they "
            f"belong to different MPIs: {OTHER_LIBRARY}"
        )
    watch = Watch(
        f"rank {comm.rank} on {socket.gethostname()}",
        *(plan.get("patience", 600.0), say),
    )
    facts = watch("at the start", comm.allgather, facts_of(plan))
    # A rank that cannot take part has said why; rank 0 may have nothing to do.
    failed = [rank for rank, own in enumerate(facts) if own["error"]]
    if failed:
        if comm.rank == 0 and failed[0]:
            raise UserError(
                f"rank {failed[0]} on {facts[failed[0]]['host']}: "
                f"{facts[failed[0]]['error']}"
            )
        return 2
    if facts[0]["status"] is not None:
        return facts[0]["status"]
    compare(facts)
    plan["start"] = watch("at the start", comm.bcast, plan.get("start"))
    if comm.rank:
        _log_into(plan, comm.rank)
    return _train(comm, plan, watch)


def _log_into(plan: dict[str, Any], rank: int) -> None:
    """Write standard error into a file of this rank, if its folder is here."""
    from randrop.training.ranks.started import log_of

    path = log_of(Path(plan["run"]), rank)
    name = str(path) if path.parent.is_dir() else os.devnull
    how = os.O_APPEND if plan["start"]["iteration"] else os.O_TRUNC
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | how, 0o666)
    os.dup2(handle, 2)
    os.close(handle)


def _train(comm: Any, plan: dict[str, Any], watch: Watch) -> int:
    caffe = import_caffe()
    settings, share = plan["settings"], Share(comm.rank, comm.size)
    start = plan["start"]
    losses = prototxts.losses_of(settings, settings.get("activation", "SOFTMAX"))
    labelled = "labels" in settings
    rules = [Rule.MEAN] if comm.size == 1 else shares.rules(losses, not labelled)
    _choose_device(caffe, settings)
    # Python layers refuse Caffe's own threads, not processes.
    caffe.set_multiprocess(True)
    caffe.init_log(0, True)
    # Only for the start: a rank that is killed later leaves nothing.
    with tempfile.TemporaryDirectory(prefix="randrop-rank-") as folder:
        path = Path(plan["run"]) / "solver.prototxt"
        if comm.rank:
            path = _written(caffe, plan, share, Path(folder))
        # As rank 0, so that all draw the same numbers at the start.
        solver = caffe.get_solver(str(path))
        if not hasattr(solver, "add_callback") or not hasattr(
            solver.net, "after_forward"
        ):
            raise SharedError(
                "--mpi needs Caffe 1.0 or newer: this one's pycaffe has no callbacks, "
                "which average the gradients"
            )
        caffe.set_solver_count(comm.size)
        caffe.set_solver_rank(comm.rank)
        _load(comm, solver, start, Path(folder), watch)
    nccl = settings["gpu"] and caffe.has_nccl()
    if nccl:
        uid = comm.bcast(caffe.NCCL.new_uid() if comm.rank == 0 else None)
        nccl = caffe.NCCL(solver, uid)
        nccl.bcast()
        solver.add_callback(nccl)
    ignore = None if labelled else 255
    averaging = Averaging(comm, solver, rules, ignore, watch, gradients=not nccl)
    signals(averaging)
    averaging.check()
    stopped = False
    try:
        if comm.rank == 0:
            solver.solve()
        else:
            solver.step(settings["iterations"] - solver.iter)
    except StopTraining:
        stopped = True
        if comm.rank == 0:
            solver.snapshot()
    averaging.check()
    spent = comm.gather(vars(averaging.spent))
    if plan.get("times") and comm.rank == 0:
        write_json(Path(plan["times"]), {"bytes": averaging.size, "ranks": spent})
    watch("at the end", comm.Barrier)
    return 130 if stopped else 0


def _choose_device(caffe: Any, settings: dict[str, Any]) -> None:
    if not settings["gpu"]:
        caffe.set_mode_cpu()
        return
    from randrop.mpiexec import local_rank

    caffe.set_device(local_rank())
    caffe.set_mode_gpu()


def _written(caffe: Any, plan: dict[str, Any], share: Share, folder: Path) -> Path:
    """Write the network and solver of a rank but the first; return the solver's path.

    It makes no snapshots, and has a network for validation only where that takes part
    in drawing random numbers.
    """
    from google.protobuf import text_format

    settings = plan["settings"] | {"watch_mask": False}
    texts = prototxts.texts(folder, settings, plan["start"]["iteration"], share)
    for name, text in texts.items():
        (folder / name).write_text(text)
    path = folder / "solver.prototxt"
    solver = caffe.proto.caffe_pb2.SolverParameter()
    text_format.Merge(path.read_text(), solver)
    solver.ClearField("snapshot")
    solver.ClearField("snapshot_prefix")
    solver.snapshot_after_train = False
    if "labels" not in settings:
        for name in ("test_iter", "test_interval", "test_initialization"):
            solver.ClearField(name)
    path.write_text(text_format.MessageToString(solver))
    return path


def _load(
    comm: Any, solver: Any, start: dict[str, Any], folder: Path, watch: Watch
) -> None:
    """Give all ranks the state of the snapshot, or the weights, that rank 0 has."""
    if start["snapshot"]:
        state = Path(start["snapshot"])
        if comm.rank == 0:
            solver.restore(str(state))
        content = None
        if comm.rank == 0:
            model = state.with_suffix(".caffemodel").read_bytes()
            content = (state.read_bytes(), model)
        content = watch("at the start", comm.bcast, content)
        if comm.rank:
            solver.restore(str(_copied(content, folder)))
    elif start["weights"] and comm.rank == 0:
        solver.net.copy_from(start["weights"])
    for blobs in solver.net.params.values():
        for blob in blobs:
            data = np.ascontiguousarray(blob.data)
            watch("at the start", comm.Bcast, data)
            blob.data[...] = data


def _copied(content: tuple[bytes, bytes], folder: Path) -> Path:
    """Write a snapshot where this machine may not see the original."""
    caffe = import_caffe()
    state = caffe.proto.caffe_pb2.SolverState.FromString(content[0])
    state.learned_net = str(folder / "start.caffemodel")
    Path(state.learned_net).write_bytes(content[1])
    path = folder / "start.solverstate"
    path.write_bytes(state.SerializeToString())
    return path
