"""Starting other programs: none outlives its parent, none runs code that lies about."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

# Run by the child before it becomes the program. The kernel kills it when the thread
# that started it ends, for whatever reason; if that was before, it sees another parent.
# (Between fork and exec of a process with threads, as preexec_fn would, nothing of this
# is safe.) Python ignores signals that other programs are to have their own way with.
_LAUNCH = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
for name in ("SIGPIPE", "SIGXFSZ"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"error: cannot run {sys.argv[2]}: {error.strerror}")
"""


def python(code: str, *arguments: str, interpreter: str = sys.executable) -> list[str]:
    """Return a command that runs Python code in which our packages can be imported.

    Python would put the current folder first in its path, and a queue.py that lies
    there before its own. The isolated mode does not; what this process imports from is
    handed on by name, behind Python's own modules.
    """
    package = str(Path(__file__).resolve().parents[2])
    paths = [str(Path(path).absolute()) for path in sys.path if path]
    start = f"import sys; sys.path[:] = [{package!r}, *sys.path, *{paths!r}]\n"
    return [interpreter, "-I", "-c", start + code, *arguments]


def bound(command: Sequence[str]) -> list[str]:
    """Return a command that ends, by SIGKILL, with the thread that starts it."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command]


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess:
    """Run a program that ends when we do, as `subprocess.run` does."""
    return subprocess.run(bound(command), check=False, **options)


def end_with_parent(parent: int) -> None:
    """Have this process killed when `parent`, which has started it, ends."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def pool(workers: int) -> ProcessPoolExecutor:
    """Return processes for Python functions, which end when we do.

    They are forked: those that are started anew would import from the current folder.
    """
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=end_with_parent,
        initargs=(os.getpid(),),
    )


class Children:
    """Programs that run at the same time, to be stopped together.

    As a context it has SIGINT and SIGTERM stop them: by SIGTERM, so that a training
    takes a snapshot, and the second time by SIGKILL. Then it raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._stops = 0
        self._before: dict[int, Any] = {}

    def run(self, command: Sequence[str], **options: Any) -> int:
        """Run a program, in any thread, and return its status.

        Raises
        ------
        KeyboardInterrupt
            When all were stopped before it began.
        """
        with self._lock:
            if self._stops:
                raise KeyboardInterrupt
            # Ctrl-C would reach it twice: from the terminal, and from us.
            child = subprocess.Popen(bound(command), start_new_session=True, **options)
            self._running.add(child)
        try:
            return child.wait()
        finally:
            with self._lock:
                self._running.discard(child)

    def _stop(self, _number: int, _frame: Any) -> None:
        self._stops += 1
        number = signal.SIGTERM if self._stops == 1 else signal.SIGKILL
        for child in list(self._running):
            child.send_signal(number)
        raise KeyboardInterrupt

    def __enter__(self) -> "Children":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
