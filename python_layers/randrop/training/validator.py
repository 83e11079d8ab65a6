"""Validations beside a running training: one child process after the other."""

import json
import signal
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.prediction.inference import last_words
from randrop.pycaffe import processes
from randrop.pycaffe.build import environment
from randrop.pycaffe.precision import in_float
from randrop.training import snapshots, validation

_CHILD = "from randrop.training import validation\nvalidation.main()\n"


class Validator:
    """Validates snapshots in the background, in the order in which they came.

    A child process on one thread predicts and measures; the solver goes on meanwhile,
    and nothing that it computes depends on the result. A validation that fails is
    reported and does not stop the training.

    Parameters
    ----------
    run : Path
        The run folder, locked by this process.
    plan : Plan, optional
        Without one, nothing is validated.
    """

    def __init__(self, run: Path, plan: validation.Plan | None) -> None:
        self._run, self._plan = run, plan
        # The end of the thread that started a child kills it: one thread for all.
        self._pool = ThreadPoolExecutor(1)
        self._waiting: list[Future[dict[str, Any]]] = []
        self._child: subprocess.Popen | None = None
        self._stopped = False

    def offer(self, state: Path | None) -> None:
        """Queue a complete snapshot, if it is one of the plan."""
        if state and self._plan and self._plan.includes(state) and not self._stopped:
            self._waiting.append(self._pool.submit(self._one, state))

    def catch_up(self, until: int) -> None:
        """Queue the snapshots up to an iteration that an earlier part left out."""
        if self._plan:
            for state in validation.pending(self._run, self._plan, until):
                self.offer(state)

    @property
    def busy(self) -> bool:
        """Whether results are still to come."""
        return bool(self._waiting)

    def finished(self, timeout: float = 0) -> list[dict[str, Any] | UserError]:
        """Return what has come since the last call: points, or why there is none.

        Parameters
        ----------
        timeout : float
            Seconds to wait for the next one.
        """
        found: list[dict[str, Any] | UserError] = []
        while self._waiting:
            try:
                found.append(self._waiting[0].result(timeout))
            except TimeoutError:
                break
            except UserError as error:
                if not self._stopped:
                    found.append(error)
            self._waiting.pop(0)
            timeout = 0
        return found

    def stop(self) -> None:
        """End the running validation, and those that wait.

        It takes no lock: a signal's handler may call it at any moment.
        """
        self._stopped = True
        child = self._child
        if child is not None and child.poll() is None:
            child.kill()

    def __enter__(self) -> "Validator":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._pool.shutdown(cancel_futures=True)

    def _one(self, state: Path) -> dict[str, Any]:
        """Validate one snapshot; runs in the pool's thread."""
        at = snapshots.iteration_of(state)
        if self._stopped:
            raise UserError(f"iteration {at} was not validated: stopped")
        weights = state.with_suffix(".caffemodel")
        asked = {"run": str(self._run), "weights": str(weights)}
        asked |= {"photographs": self._plan.names, "gpu": self._plan.gpu}
        command = processes.python(_CHILD, json.dumps(asked))
        # More threads would take the solver's.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._child = subprocess.Popen(
            processes.bound(command),
            # In the precision of predict.py.
            env={**in_float(environment()), **threads, "GLOG_minloglevel": "2"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A Ctrl-C of the terminal is for us alone.
            start_new_session=True,
        )
        if self._stopped:
            self._child.kill()
        said, errors = self._child.communicate()
        if self._child.returncode:
            killed = self._child.returncode == -signal.SIGKILL
            why = "it was killed, perhaps for lack of memory" if killed else ""
            raise UserError(
                f"iteration {at} could not be validated: {why or last_words(errors)}"
            )
        found = json.loads(said.splitlines()[-1])
        point = {
            "iteration": at,
            "weights_sha256": snapshots.digest_of(weights),
            "mean_average_precision": validation.mean(found["lesions"]),
            **found,
        }
        validation.add(self._run, self._plan, point)
        return point
