"""Calibrated probabilities: what a run.json says of them, applied to a network's."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray


class Platt(NamedTuple):
    """Platt scaling of a logit: p becomes sigmoid(slope logit(p) + intercept).

    The slope is above 0, so the order of pixels stays, and with it every curve of
    precision, recall and false alarms. 0 and 1 stay as they are.

    References
    ----------
    J. C. Platt. Probabilistic outputs for support vector machines and comparisons to
    regularized likelihood methods. Advances in Large Margin Classifiers, 1999.
    """

    slope: float
    intercept: float

    def apply(
        self, p: NDArray[np.floating] | float, out: NDArray[np.floating] | None = None
    ) -> NDArray[np.floating]:
        """Return calibrated probabilities, of the shape and type of `p`.

        They are written to `out`, which may be `p` itself, if it is given.
        """
        p = np.asarray(p)
        kind = p.dtype.type if p.dtype.kind == "f" else np.float64
        found = np.empty(p.shape, kind) if out is None else out
        scipy.special.logit(p, out=found)
        found *= kind(self.slope)
        found += kind(self.intercept)
        scipy.special.expit(found, out=found)
        return found[()]

    def undo(self, p: NDArray[np.floating] | float) -> NDArray[np.floating]:
        """Return the probabilities that `apply` takes to `p`."""
        return Platt(1 / self.slope, -self.intercept / self.slope).apply(p)


def of_facts(facts: Mapping[str, Any]) -> dict[str, Platt]:
    """Return the calibration of each type in a run.json, whatever weights it is of."""
    found = facts.get("calibration") or {"types": {}}
    return {
        lesion: Platt(one["slope"], one["intercept"])
        for lesion, one in found["types"].items()
    }
