"""Starting programs that end with us and do not import from the current folder."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from randrop.errors import UserError

# The child runs this before it becomes the program. The kernel kills it when the thread
# that started it ends, for whatever reason; if that happened before, the child sees
# another parent. (None of this is safe in preexec_fn, between fork and exec of a
# process with threads.) Restore signals that Python ignores, for other programs.
_LAUNCH = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
for name in ("SIGPIPE", "SIGXFSZ"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
# Blocked, not ignored: a program may install a handler, as caffe does by glog.
blocked = [getattr(signal, name) for name in sys.argv[2].split()]
signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
try:
    os.execvp(sys.argv[3], sys.argv[3:])
except OSError as error:
    sys.exit(f"error: cannot run {sys.argv[3]}: {error.strerror}")
"""


def python(code: str, *arguments: str, interpreter: str = sys.executable) -> list[str]:
    """Return a command that runs Python code in which our packages can be imported.

    Python would put the current folder first in its path, so that a queue.py there
    hides its own. Isolated mode does not; the import path of this process is passed on
    explicitly, after Python's own modules.
    """
    package = str(Path(__file__).resolve().parents[2])
    paths = [str(Path(path).absolute()) for path in sys.path if path]
    start = f"import sys; sys.path[:] = [{package!r}, *sys.path, *{paths!r}]\n"
    return [interpreter, "-I", "-c", start + code, *arguments]


def bound(command: Sequence[str], deaf: Sequence[str] = ()) -> list[str]:
    """Return a command that the end of its starting thread kills (SIGKILL).

    Parameters
    ----------
    command : sequence of str
    deaf : sequence of str
        Names of signals that never reach the program and its children.
    """
    start = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid())]
    return [*start, " ".join(deaf), *command]


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess:
    """Run a program that ends when we do, as `subprocess.run` does."""
    return subprocess.run(bound(command), check=False, **options)


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when `parent`, which started it, ends."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield processes for Python functions that end when we do.

    They are forked: new interpreters would import from the current folder.

    Raises
    ------
    UserError
        If one of them was killed.
    """
    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=end_with_parent,
        initargs=(os.getpid(),),
    )
    try:
        with executor:
            yield executor
    except BrokenProcessPool as error:
        raise UserError(_KILLED) from error


_KILLED = (
    "a worker process was killed, perhaps for lack of memory: run the same command "
    "again, with fewer --workers if there are several"
)


def _quiet(parent: int) -> None:
    end_with_parent(parent)
    # Ctrl-C reaches all processes of a terminal: the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def mapped(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int
) -> Iterator[Any]:
    """Yield the function's results for items, in their order, from forked processes.

    Parameters
    ----------
    function : callable
        A function of a module, or a `functools.partial` of one.
    items : sequence
    workers : int
        1: no other process.
    """
    if workers == 1:
        yield from map(function, items)
        return
    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_quiet,
        initargs=(os.getpid(),),
    )
    try:
        yield from executor.map(function, items)
    except BrokenProcessPool as error:
        raise UserError(_KILLED) from error
    finally:
        executor.shutdown(cancel_futures=True)


class Children:
    """Programs that run concurrently and are stopped together.

    Inside the context, SIGINT and SIGTERM stop them: first with SIGTERM, so that a
    training takes a snapshot, the second time with SIGKILL. Then the context raises
    KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._stops = 0
        self._before: dict[int, Any] = {}

    def run(self, command: Sequence[str], **options: Any) -> int:
        """Run a program, from any thread, and return its status.

        Raises
        ------
        KeyboardInterrupt
            If all were stopped before it started.
        """
        with self._lock:
            if self._stops:
                raise KeyboardInterrupt
            # Ctrl-C would reach it twice: from the terminal and from us.
            child = subprocess.Popen(bound(command), start_new_session=True, **options)
            self._running.add(child)
        try:
            return child.wait()
        finally:
            with self._lock:
                self._running.discard(child)

    def stop(self) -> None:
        """Stop all, as a signal does, without an exception here."""
        self._stops += 1
        number = signal.SIGTERM if self._stops == 1 else signal.SIGKILL
        for child in list(self._running):
            child.send_signal(number)

    def _handle(self, _number: int, _frame: Any) -> None:
        self.stop()
        raise KeyboardInterrupt

    def __enter__(self) -> "Children":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
