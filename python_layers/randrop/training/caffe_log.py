"""Reading the log of `caffe train`: its numbers, and why it failed."""

import itertools
import math
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SAME_NETWORK = (
    "use the --lesions, --activation, --base-channels, --max-channels and --depth of "
    "that training"
)
"""What helps where weights have other shapes than the network."""

_NUMBER = r"([-+0-9.einfa]+)"
_TRAIN = re.compile(rf"\] Iteration (\d+) .*loss = {_NUMBER}")
_RATE = re.compile(rf"\] Iteration (\d+), lr = {_NUMBER}")
_TESTING = re.compile(r"\] Iteration (\d+), Testing net")
_TEST = re.compile(
    rf"Test net output #\d+: loss(?:_\S+)? = {_NUMBER}(?: \(\* \S+ = {_NUMBER} loss\))?"
)
_WAIT = re.compile(
    r"randrop\.data: waited ([0-9.]+) s of ([0-9.]+) s \(([0-9.]+) %\) for (\d+)"
)
# The lines that tell why a run failed: glog's fatal lines and Python's last message.
_FATAL = re.compile(r"^F\d+ \d\d:\d\d:\d\d\S*\s+\d+ \S+\] (.*)")
_PYTHON = re.compile(r"^(?:[\w.]+\.)?(\w*Error): (.*)")
_LOG = re.compile(r"^[IWEF]\d+ |^\*\*\* |^ *@ |^\w*Error: |^terminate called")

_REMEDIES = {
    "Unknown layer type: Python": (
        "this Caffe was built without Python layers, which read the data: build it "
        "with WITH_PYTHON_LAYER := 1 (Makefile.config) or -DBUILD_python_layer=ON "
        "(CMake), or with scripts/build_caffe.py"
    ),
    "Unknown layer type: Sigmoid": (
        "this Caffe does not have the layer: patch it with scripts/patch_caffe.py and "
        "rebuild it, or use the Python layer (--python-layer)"
    ),
    "has no field named": (
        "this Caffe does not know the field: patch it with scripts/patch_caffe.py and "
        "rebuild it, or use the Python layer (--python-layer)"
    ),
    "No space left": "the disk is full: free some space, then run train.py --resume",
    "SerializeToOstream": (
        "caffe could not write the snapshot: the disk is full, or its folder is "
        "missing or not writable"
    ),
    "in CPU-only Caffe": (
        "this Caffe was built without CUDA: build it with scripts/build_caffe.py "
        "--gpu, or omit --gpu"
    ),
    "Cannot copy param": (f"the --weights belong to another network: {SAME_NETWORK}"),
    "out of memory": "use smaller --patch, --batch or --base-channels",
}


class Curves:
    """The numbers in Caffe's log: losses, learning rate, validation, waiting."""

    def __init__(self) -> None:
        self.training: list[tuple[int, float]] = []
        self.validation: list[tuple[int, float]] = []
        self.rate: list[tuple[int, float]] = []
        self.waited: dict[str, float] = {}
        self.precision: dict[str, float] = {}
        self._testing, self._sum = 0, 0.0

    def read(self, line: str) -> bool:
        """Read a line of the log; return whether it held the training loss."""
        if match := _TRAIN.search(line):
            self._add(self.training, int(match[1]), match[2])
            return True
        if match := _RATE.search(line):
            self._add(self.rate, int(match[1]), match[2])
        elif match := _TESTING.search(line):
            self._testing, self._sum = int(match[1]), 0.0
        elif match := _TEST.search(line):
            # Sum several losses by their weights.
            self._sum += float(match[2] or match[1])
            self._add(self.validation, self._testing, self._sum)
        elif match := _WAIT.search(line):
            names = ("waited_s", "of_s", "share_percent", "patches")
            numbers = map(float, match.groups())
            self.waited = dict(zip(names, numbers, strict=True))
        return False

    @property
    def diverged(self) -> bool:
        """Whether the last training loss is NaN."""
        return bool(self.training) and math.isnan(self.training[-1][1])

    @staticmethod
    def _add(
        curve: list[tuple[int, float]], iteration: int, value: str | float
    ) -> None:
        # A resumed run repeats the iterations after its snapshot.
        while curve and curve[-1][0] >= iteration:
            curve.pop()
        curve.append((iteration, float(value)))

    def to_json(self) -> dict[str, Any]:
        """Return lists of [iteration, value]; a value that is not finite is null."""

        def finite(curve: list[tuple[int, float]]) -> list[list[float | None]]:
            return [[i, v if math.isfinite(v) else None] for i, v in curve]

        return {
            "training_loss": finite(self.training),
            "validation_loss": finite(self.validation),
            "learning_rate": finite(self.rate),
            "data_waiting": self.waited,
        }


def why_failed(tail: Sequence[str], status: int, log_path: Path) -> str:
    """Return the last message that explains why caffe failed, and a remedy.

    Parameters
    ----------
    tail : sequence of str
        The last lines of the log.
    status : int
        The exit status; if negative, the signal that killed caffe.
    log_path : Path
        Named in the message.

    Returns
    -------
    str
        The message for a `UserError`.
    """
    said = "\n".join(tail[-5:])
    for k, line in enumerate(tail):
        if match := _FATAL.match(line):
            said = match[1]
        elif match := _PYTHON.match(line):
            # Our messages may span several lines. The first states the cause.
            more = itertools.takewhile(lambda t: not _LOG.match(t), tail[k + 1 : k + 6])
            said = "\n".join([match[2], *more])
            break
    text = "\n".join(tail)
    remedy = next((r for key, r in _REMEDIES.items() if key in text), "")
    if not remedy and status == -signal.SIGKILL:
        remedy = (
            "it was killed, most likely by the system for lack of memory: "
            + _REMEDIES["out of memory"]
        )
    return (
        f"caffe train ended with status {status}: {said}"
        + (f"\n{remedy}" if remedy else "")
        + f"\nIts log: {log_path}"
    )
