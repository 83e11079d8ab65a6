"""A pycaffe layer that writes down what random drop keeps as training goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from randrop import ownership
from randrop.files import write_text
from randrop.losses import drop_probability
from randrop.python_layer import PythonLayer, parse_options


class KeptShareLayer(PythonLayer):
    """Counts negatives and those kept, beside the count to expect, into a file.

    Bottoms are the mask of a random drop loss, the logits and the label; there are no
    tops. `param_str` is JSON: `file`, `schedule_type`, `every` (forward passes to a
    line) and `first_iteration`. A line holds the sums since the last one: iteration,
    negatives, kept, expected = sum of 1 - d(p), and variance = sum of d(p) (1 - d(p)).
    """

    def setup(self, bottom: Any, top: Any) -> None:
        """Read the parameters and begin the file, or go on with it."""
        defaults = {"file": None, "schedule_type": "LOG", "every": 10}
        defaults["first_iteration"] = 0
        self.options = parse_options("KeptShareLayer", self.param_str, defaults)
        self.path = Path(self.options["file"])
        # Another's file of that name is refused, here and in each writing.
        ownership.claim(self.path.parent, "watch", streams=[self.path.name])
        self.iteration = self.options["first_iteration"]
        self.sums = np.zeros(4)
        self._forget_later_iterations()

    def _forget_later_iterations(self) -> None:
        """Keep what lies before the first iteration: a resumed run repeats the rest."""
        if not self.path.exists():
            return
        lines = self.path.read_text().splitlines(keepends=True)
        # A run that was killed may have cut the last line short.
        whole = [line for line in lines if line.endswith("}\n")]
        kept = [n for n in whole if json.loads(n)["iteration"] <= self.iteration]
        write_text(self.path, "".join(kept))

    def reshape(self, bottom: Any, top: Any) -> None:
        """There is nothing to shape."""

    def forward(self, bottom: Any, top: Any) -> None:
        """Add a forward pass to the sums; write them every now and then."""
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
                stream.write(json.dumps(line) + "\n")
            self.sums[:] = 0

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        """Do nothing: looking has no gradient."""
