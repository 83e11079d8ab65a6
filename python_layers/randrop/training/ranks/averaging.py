"""What the ranks exchange in each iteration."""

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from randrop.errors import UserError
from randrop.training.shares import Rule

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What stops a training."""

CHECKED_EVERY = 100
"""Iterations between comparisons of the weights of all ranks."""


class StopTraining(Exception):  # noqa: N818
    """All ranks end after the current iteration."""


class SharedError(UserError):
    """What goes wrong on all ranks alike, so that the first one tells it."""


class Watch:
    """Ends this process if the others do not come within some seconds.

    Parameters
    ----------
    name : str
        Of this rank, for the message.
    patience : float
        Seconds.
    say : callable
        Writes a line where the user sees it.
    """

    def __init__(self, name: str, patience: float, say: Callable[[str], None]) -> None:
        self._name, self._patience, self._say = name, patience, say
        self._since: float | None = None
        self._what = ""
        threading.Thread(target=self._look, daemon=True).start()

    def __call__(self, what: str, function: Callable[..., Any], *given: Any) -> Any:
        """Call a function of MPI that waits for the other ranks."""
        self._what, self._since = what, time.monotonic()
        try:
            return function(*given)
        finally:
            self._since = None

    def _look(self) -> None:
        while True:
            time.sleep(min(1, self._patience / 4))
            since = self._since
            if since is not None and time.monotonic() - since > self._patience:
                self._say(
                    f"{self._name} has waited {self._patience:g} s for the others "
                    f"{self._what}, and ends: a rank that does not say this hangs, or "
                    "its machine cannot be reached. Continue with --resume, or give a "
                    "larger --mpi-patience"
                )
                # The others say so, too.
                time.sleep(min(2, self._patience))
                os._exit(3)


class Spent:
    """Seconds of this rank in each iteration.

    Attributes
    ----------
    starts : list of float
        When each iteration began.
    compute, exchange : list of float
        From the start of an iteration to its gradients; from there to their average,
        with the wait for slower ranks.
    """

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.compute: list[float] = []
        self.exchange: list[float] = []

    def begin(self) -> None:
        """Start an iteration."""
        self.starts.append(time.perf_counter())

    def computed(self) -> None:
        """Note that the gradients are there."""
        self.compute.append(time.perf_counter() - self.starts[-1])

    def exchanged(self) -> None:
        """Note that their average is there."""
        since = self.starts[-1] + self.compute[-1]
        self.exchange.append(time.perf_counter() - since)

    def said(self, size: int) -> str:
        """Return a line for the log, of the last iterations."""
        last = slice(-CHECKED_EVERY, None)
        compute, exchange = sum(self.compute[last]), sum(self.exchange[last])
        return (
            f"randrop.ranks: {len(self.compute[last])} iterations: {compute:.2f} s "
            f"computing, {exchange:.2f} s averaging {size / 1e6:.2f} MB with the other "
            f"ranks ({100 * exchange / max(compute + exchange, 1e-9):.1f} %)"
        )


class Averaging:
    """Averages the gradients of all ranks, as the solver's callbacks.

    One buffer holds all gradients, the statistics of BatchNorm, and whether a rank was
    asked to stop. The statistics are averaged, too: those of a rank are of its share
    alone, and so all ranks have the same network.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    solver : caffe.Solver
    rules : sequence of Rule
        Of the losses on each output, in the order of their layers.
    ignore_label : int or None
    watch : Watch
    gradients : bool
        False if something else averages them: NCCL.
    """

    def __init__(
        self,
        comm: Any,
        solver: Any,
        rules: Sequence[Rule],
        ignore_label: int | None,
        watch: Watch,
        gradients: bool = True,
    ) -> None:
        self._comm, self._solver, self._watch = comm, solver, watch
        net = solver.net
        self._gradients, self._statistics = [], []
        for name, blobs in net.params.items():
            if is_statistics(net, name):
                self._statistics += list(blobs)
            elif gradients:
                self._gradients += list(blobs)
        blobs = self._gradients + self._statistics
        self._buffer = np.zeros(sum(blob.count for blob in blobs) + 1, np.float32)
        self.size = self._buffer.nbytes
        self.spent = Spent()
        self._asked = self._decided = self._within = False
        self._count_labels(net, rules, ignore_label)
        solver.add_callback(self._begin, self._average)

    def stop(self, *_: object) -> None:
        """Let all ranks end after the next iteration."""
        self._asked = True

    def _count_labels(
        self, net: Any, rules: Sequence[Rule], ignore_label: int | None
    ) -> None:
        """Give the losses their factors before they are computed."""
        tops = [
            name
            for layer in net._layer_names
            for name in net.top_names[layer]
            if name.startswith("loss")
        ]
        # A network with several outputs has all losses on each.
        rules = [rules[k % len(rules)] for k in range(len(tops))]
        weights = [float(np.ravel(net.blobs[top].diff)[0]) for top in tops]
        counting = [rule.counts for rule in rules]

        def weigh() -> None:
            label = net.blobs["label"].data
            own = np.array(
                [
                    rule.count(label, ignore_label) if counts else 0
                    for rule, counts in zip(rules, counting, strict=True)
                ],
                np.float64,
            )
            total = own.copy()
            if any(counting):
                self._watch("to count labels", self._comm.Allreduce, own, total)
            for k, rule in enumerate(rules):
                factor = rule.factor(own[k], total[k], self._comm.size)
                net.blobs[tops[k]].diff[...] = weights[k] * factor

        if any(counting):
            first = next(
                k
                for k, name in enumerate(net._layer_names)
                if "label" in net.top_names[name]
            )
            net.after_forward(
                lambda k: weigh() if k == first and self._within else None
            )
        elif any(rule is Rule.SUM for rule in rules):
            weigh()

    def _begin(self) -> None:
        """Before an iteration: end, or compare the weights."""
        if self._decided:
            raise StopTraining
        if self._solver.iter % CHECKED_EVERY == 0:
            self.check()
        # The first rank alone looks at the loss once more in the end.
        self._within = True
        self.spent.begin()

    def _average(self) -> None:
        """After the backward pass: exchange everything."""
        self._within = False
        self.spent.computed()
        at = 0
        buffer = self._buffer
        for blob, arrays in self._arrays():
            buffer[at : at + blob.count] = arrays.ravel()
            at += blob.count
        buffer[-1] = self._asked
        self._watch(
            f"in iteration {self._solver.iter}", self._comm.Allreduce, *self._in_place()
        )
        buffer *= np.float32(1 / self._comm.size)
        at = 0
        for blob, arrays in self._arrays():
            arrays[...] = buffer[at : at + blob.count].reshape(arrays.shape)
            at += blob.count
        self._decided = buffer[-1] > 0
        self.spent.exchanged()
        if len(self.spent.compute) % CHECKED_EVERY == 0:
            print(self.spent.said(self.size), file=sys.stderr, flush=True)

    def _arrays(self) -> Any:
        for blob in self._gradients:
            yield blob, blob.diff
        for blob in self._statistics:
            yield blob, blob.data

    def _in_place(self) -> tuple[Any, Any]:
        from mpi4py import MPI

        return MPI.IN_PLACE, self._buffer

    def check(self) -> None:
        """Compare the weights of all ranks.

        Raises
        ------
        UserError
            If they differ; names the rank.
        """
        own = digest(self._solver.net)
        at = self._solver.iter
        found = self._watch(f"in iteration {at}", self._comm.allgather, own)
        check_digests(found, at)


def digest(net: Any) -> str:
    """Return the SHA-256 of all weights.

    Not of BatchNorm's statistics: a solver's last look at the loss changes them.
    """
    found = hashlib.sha256()
    for name, blobs in net.params.items():
        if not is_statistics(net, name):
            for blob in blobs:
                found.update(np.ascontiguousarray(blob.data))
    return found.hexdigest()


def is_statistics(net: Any, name: str) -> bool:
    """Return whether the blobs of a layer are statistics, not weights."""
    return net.layers[list(net._layer_names).index(name)].type == "BatchNorm"


def check_digests(found: Sequence[str], iteration: int) -> None:
    """Refuse weights that are not the same on all ranks.

    Raises
    ------
    UserError
    """
    other = [rank for rank, own in enumerate(found) if own != found[0]]
    if other:
        raise SharedError(
            f"the weights of rank {', '.join(map(str, other))} differ from those of "
            f"rank 0 at iteration {iteration}: a machine computes wrongly, or its "
            "memory is damaged. Continue from the newest snapshot with --resume, "
            "without that machine"
        )


def signals(averaging: Averaging) -> None:
    """Let SIGINT and SIGTERM stop all ranks; a second one ends this one."""
    came: list[float] = []

    def handle(*_: object) -> None:
        # Some mpiexec send what the terminal has sent already.
        if came and time.monotonic() - came[0] > 2:
            sys.stderr.flush()
            os._exit(130)
        came.append(time.monotonic())
        averaging.stop()

    for number in SIGNALS:
        signal.signal(number, handle)
    # Whoever started this process blocked them: they could not be handled before.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
