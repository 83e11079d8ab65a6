"""How much memory a data worker may fill, and what it keeps in it."""

import contextlib
import math
import mmap
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from randrop import mpiexec

_SHARE = 0.5
"""Of the memory, for decoded photographs of all workers; the network needs the rest."""


class Kept:
    """Arrays that were used last, up to a limit.

    What was used longest ago goes first; the last one stays, however large it is.

    Parameters
    ----------
    limit : int
        Of the sum of costs.
    cost : callable
        What an array costs, as its number of bytes.
    """

    def __init__(self, limit: int, cost: Callable[[NDArray], int]) -> None:
        self.limit = limit
        self.cost = cost
        self.used = 0
        self.found: OrderedDict[Hashable, NDArray] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], NDArray]) -> NDArray:
        """Return the array of a key, made now unless it is kept."""
        if key in self.found:
            self.found.move_to_end(key)
            return self.found[key]
        return self.put(key, make())

    def put(self, key: Hashable, array: NDArray) -> NDArray:
        """Keep an array, and return it."""
        self.found[key] = array
        self.used += self.cost(array)
        while self.used > self.limit and len(self.found) > 1:
            self.used -= self.cost(self.found.popitem(last=False)[1])
        return array


def lent(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an array of zeros whose memory goes back to the system with it.

    What a thread of its own allocates later does not fill the gaps that other arrays
    of this size leave.
    """
    own = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    area = mmap.mmap(-1, math.prod(shape), flags=own)
    return np.frombuffer(area, np.uint8).reshape(shape)


def for_photographs(workers: int = 1) -> int:
    """Return the bytes of decoded photographs that one of several workers may keep.

    Other ranks of an MPI program on this machine have workers of their own.
    """
    place = mpiexec.started()
    ranks = (place and place.local) or 1
    return int(_SHARE * total()) // max(1, workers) // max(1, ranks)


def total() -> int:
    """Return the bytes of memory: the machine's, or less if our group has a limit."""
    return min([_of_machine(), *of_groups()])


def _of_machine() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, value = line.split(":")
        if name == "MemTotal":
            return 1024 * int(value.split()[0])
    raise RuntimeError("/proc/meminfo has no line MemTotal")


def of_groups(
    own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Yield the limits of our control groups, of both versions, and of their parents.

    A container may show its own group as the root.
    """
    if not own.is_file():
        return
    for line in own.read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if not kinds:
            top, name = root, "memory.max"
        elif "memory" in kinds.split(","):
            top, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            # "max", or no such file: no limit.
            with contextlib.suppress(OSError, ValueError):
                yield int((top / folder / name).read_text())
