"""A pycaffe layer that records what random drop keeps during training.

Training prototxts name this module, as they name `randrop.layers`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from randrop.files import ownership, write_text
from randrop.files.schema import Model, Number, UInt64
from randrop.losses import drop_probability
from randrop.pycaffe.python_layer import PythonLayer, parse_options
from randrop.training import kept_file


class WatchParams(Model):
    """The parameters of `KeptShareLayer`."""

    file: Annotated[str, Field(min_length=1)]
    schedule_type: Literal["LINEAR", "SQU", "LOG", "NONE"] = "LOG"
    every: Number = 10
    first_iteration: UInt64 = 0


DEFAULTS = {"schedule_type": "LOG", "every": 10, "first_iteration": 0}


class KeptShareLayer(PythonLayer):
    """Writes the counts of negatives, kept and expected, to a file.

    Bottoms are the mask of a random drop loss, the logits and the label; there are no
    tops. `param_str` is JSON: `file`, `schedule_type`, `every` (forward passes per
    line) and `first_iteration`. A line holds the sums since the last one: iteration,
    negatives, kept, expected = sum of 1 - d(p), and variance = sum of d(p) (1 - d(p)).
    A file that holds anything else is refused and left unchanged.
    """

    def setup(self, bottom: Any, top: Any) -> None:
        """Read the parameters and start the file, or continue it."""
        options = parse_options(
            "KeptShareLayer", self.given_options(), WatchParams, DEFAULTS
        )
        self.options = options
        self.path = Path(options["file"])
        self.iteration = options["first_iteration"]
        self.sums = np.zeros(4)
        lines = kept_file.read(self.path) if self.path.exists() else []
        # Somebody else's file of that name is refused, here and at each write.
        ownership.claim(self.path.parent, "watch", streams=[self.path.name])
        self._forget_later_iterations(lines)

    def _forget_later_iterations(self, lines: list[dict[str, float]]) -> None:
        """Keep lines before the first iteration: a resumed run repeats the rest."""
        if not self.path.exists():
            return
        kept = [line for line in lines if line["iteration"] <= self.iteration]
        text = "".join(map(kept_file.text_of, kept))
        if text.encode() != self.path.read_bytes():
            write_text(self.path, text)

    def reshape(self, bottom: Any, top: Any) -> None:
        """There is nothing to shape."""

    def forward(self, bottom: Any, top: Any) -> None:
        """Add a forward pass to the sums; write them every few passes."""
        mask, logits, label = (bottom[i].data for i in range(3))
        negative = (mask >= 0) & (label == 0)
        d = drop_probability(logits[negative], self.options["schedule_type"])
        d = np.clip(d, 0, 1).astype(np.float64)
        self.sums += (d.size, mask[negative].sum(), (1 - d).sum(), (d * (1 - d)).sum())
        self.iteration += 1
        if self.iteration % self.options["every"] == 0:
            names = ("iteration", "negatives", "kept", "expected", "variance")
            sums = np.round(self.sums, 3).tolist()
            line = dict(zip(names, [self.iteration, *sums], strict=True))
            with self.path.open("a") as stream:
                stream.write(kept_file.text_of(line))
            self.sums[:] = 0

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        """Do nothing: watching has no gradient."""
