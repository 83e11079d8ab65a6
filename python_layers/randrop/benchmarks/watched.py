"""Running programs in a group with limited memory, and watching what they take."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.pycaffe import processes

_GROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
"""Where the kernel has control groups of memory, version 1 and 2."""

_EVERY = 0.05  # seconds between two looks


@contextlib.contextmanager
def limited(limit: int | None) -> Iterator[Path | None]:
    """Yield a control group whose programs have together so many bytes of memory.

    Pages of files count, too, so files that are mapped do not all stay in memory.

    Raises
    ------
    UserError
        If the system does not let us make one.
    """
    if limit is None:
        yield None
        return
    for top, name in _GROUPS:
        folder = top / f"randrop-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(limit))
            yield folder
            return
        except OSError as error:
            raise UserError(
                f"cannot limit memory to {limit} bytes by {folder} "
                f"({error.strerror or error}): run this as root, or give --limit 0"
            ) from error
        finally:
            _remove(folder)
    raise UserError(
        "this system makes no control group of memory: run this as root, or give "
        "--limit 0"
    )


def _remove(folder: Path) -> None:
    """Remove a group, when its last program has ended."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(_EVERY)


def start(
    command: Sequence[str], group: Path | None = None, **options: Any
) -> subprocess.Popen:
    """Start a program that ends with us, in a group."""
    if group is not None:
        join = 'echo $$ > "$0" && exec "$@"'
        command = ["sh", "-c", join, str(group / "cgroup.procs"), *command]
    return subprocess.Popen(processes.bound(command), **options)


def forget(folders: Iterable[Path]) -> None:
    """Let the system forget the content of files, so that reading takes the disk."""
    os.sync()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                handle = os.open(path, os.O_RDONLY)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(handle)


class Watch:
    """The largest memory of programs, looked at again and again until it is closed.

    Attributes
    ----------
    anonymous, files : dict of int to int
        By process: the most bytes of its own memory, and of mapped files.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = list(numbers)
        self.anonymous = dict.fromkeys(self.numbers, 0)
        self.files = dict.fromkeys(self.numbers, 0)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.ended.wait(_EVERY):
            for number in self.numbers:
                found = memory_of(number)
                for kind, most in (
                    ("RssAnon", self.anonymous),
                    ("RssFile", self.files),
                ):
                    most[number] = max(most[number], found.get(kind, 0))

    def close(self) -> None:
        """Look no more."""
        self.ended.set()
        self.thread.join()


def memory_of(number: int) -> dict[str, int]:
    """Return the memory of a process in bytes, RssAnon, RssFile; empty at its end."""
    return _fields(Path(f"/proc/{number}/status"), "Rss")


def share_of(number: int) -> int:
    """Return the bytes of a process with its share of what it has with others (PSS)."""
    return _fields(Path(f"/proc/{number}/smaps_rollup"), "Pss").get("Pss", 0)


def _fields(path: Path, begin: str) -> dict[str, int]:
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {
        line[0].rstrip(":"): 1024 * int(line[1])
        for line in lines
        if line[0].startswith(begin)
    }


def seconds_of(number: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def finished(
    command: Sequence[str], group: Path | None = None, **options: Any
) -> dict[str, float]:
    """Run a program; return its time in s, and the most memory of its own in MB.

    Raises
    ------
    UserError
        If it fails; shows its last message.
    """
    begin = time.perf_counter()
    with start(
        *(command, group),
        **options,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        watch = Watch([child.pid])
        said = child.stdout.read()
        status = child.wait()
        watch.close()
    if status:
        last = "\n".join(said.strip().splitlines()[-3:])
        raise UserError(f"{' '.join(command)} failed with status {status}: {last}")
    return {
        "seconds": round(time.perf_counter() - begin, 1),
        "own_MB": megabytes(watch.anonymous[child.pid]),
    }


def megabytes(number: float) -> float:
    """Return bytes as MB, to one digit."""
    return round(number / 2**20, 1)
