"""The processes that mpiexec starts, on one machine or several."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from randrop import mpiexec
from randrop.errors import UserError
from randrop.surface.landscape.points import Result

log = logging.getLogger("randrop")


class Ranks:
    """The processes that mpiexec started; without mpiexec, this one alone.

    The jobs are dealt out; each rank evaluates its share with workers of its own and
    sends the results to rank 0, which writes them.

    Raises
    ------
    UserError
        If mpiexec started several processes and mpi4py is missing.
    """

    def __init__(self) -> None:
        self.number, self.size, self._comm = 0, 1, None
        place = mpiexec.started()
        if place is None:
            return
        try:
            from mpi4py import MPI
        except ImportError as error:
            if place.ranks == 1:
                return
            raise UserError(
                f"mpiexec needs mpi4py, which cannot be imported ({error}): "
                f"{mpiexec.INSTALL}, or start this without mpiexec"
            ) from error
        self._mpi, self._comm = MPI, MPI.COMM_WORLD
        self.number, self.size = self._comm.rank, self._comm.size

    def shared(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""
        return value if self._comm is None else self._comm.bcast(value, root=0)

    def share(self, jobs: Sequence[int]) -> Sequence[int]:
        """Return the jobs of this rank."""
        return jobs[self.number :: self.size]

    def send(self, results: Iterable[tuple[int, Result]]) -> None:
        """Send results to rank 0, and None at the end."""
        for result in results:
            self._comm.send(result, dest=0)
        self._comm.send(None, dest=0)

    def gathered(
        self, own: Iterable[tuple[int, Result]]
    ) -> Iterator[tuple[int, Result]]:
        """Yield this rank's results and those that the others send."""
        open_ranks = self.size - 1
        for result in own:
            yield result
            while open_ranks and self._comm.iprobe():
                received = self._comm.recv()
                open_ranks -= received is None
                if received is not None:
                    yield received
        while open_ranks:
            received = self._comm.recv()
            open_ranks -= received is None
            if received is not None:
                yield received

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """End all ranks if this one fails: the others would wait for ever."""
        try:
            yield
        except BaseException as error:
            if self.size > 1:
                log.error("error: %s", error)
                self._comm.Abort(2)
            raise
