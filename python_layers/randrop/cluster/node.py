"""What submitit runs on a node of the cluster, again after each requeue."""

import logging
import signal
import threading
import time
from typing import Any

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import DelayedSubmission

from randrop.cluster.work import Work
from randrop.errors import UserError
from randrop.pycaffe import processes

log = logging.getLogger("randrop")

_IDLE = 3
"""So many attempts in a row without progress are enough."""

_now: list[tuple[processes.Children, threading.Thread]] = []
"""What runs in this process; an attempt itself is pickled."""


class Attempt:
    """A piece of work, as submitit calls it and asks it to stop.

    Before the time limit, and where a cluster announces preemption by the same signal,
    submitit calls `checkpoint` from the handler of the signal, pickles what it returns,
    and requeues the job.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.idle = 0
        self.before: Any = None

    def __call__(self) -> dict[str, Any]:
        """Return the result of the work as `done`, or its error as `failed`."""
        if not log.handlers:
            # submitit has its own logger; the output is the job's log.
            log.addHandler(logging.StreamHandler())
            log.setLevel(logging.INFO)
        self.before = self.work.progress(*self.work.arguments)
        found: dict[str, Any] = {}
        with processes.Children() as children:
            # A thread: the handler of a signal can wait for it, not for a process that
            # the code that it interrupts is waiting for.
            thread = threading.Thread(target=self._work, args=(children, found))
            _now[:] = [(children, thread)]
            thread.start()
            try:
                _wait(thread)
            except KeyboardInterrupt:
                # Cancelled, or killed after the time limit: first a snapshot.
                _wait(thread)
                raise
            # What is done now must not be requeued.
            signal.signal(JobEnvironment._usr_sig(), signal.SIG_IGN)
        return found

    def _work(self, children: processes.Children, found: dict[str, Any]) -> None:
        try:
            found["done"] = self.work.call(*self.work.arguments, children)
        except (UserError, OSError) as error:
            found["failed"] = str(error)
        except KeyboardInterrupt:
            # It was stopped between two programs.
            found["failed"] = "stopped"
        except Exception as error:
            log.exception("%s", self.work.name)
            found["failed"] = f"{type(error).__name__}: {error}"

    def checkpoint(self) -> DelayedSubmission | None:
        """Stop, and return what to call after the requeue; None if that is useless."""
        for children, thread in _now:
            children.stop()
            _wait(thread)
        # The requeue ends this process by the same signal.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        after = self.work.progress(*self.work.arguments)
        self.idle = self.idle + 1 if after == self.before else 0
        if self.idle >= _IDLE:
            return None
        return DelayedSubmission(self)


def _wait(thread: threading.Thread) -> None:
    """Wait, without a lock that the handler of a signal could need, too."""
    while thread.is_alive():
        time.sleep(0.05)
