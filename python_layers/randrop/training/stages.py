"""The trainings that a network went through before the last one.

A training with `--weights` starts from what an earlier one learnt. Whoever repeats a
model needs the settings of both.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.files.documents import read_run

_REMEDY = "restore it"


def earlier(run: Mapping[str, Any], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the settings of the earlier trainings, the first one first.

    Parameters
    ----------
    run : mapping
        The run.json of a training, or of a model, which has them as `started_from`.
    keys : sequence of str
        The settings that are wanted.

    Returns
    -------
    list of dict
        What is known under `keys`, and `field_of_view` of a model. Weights without
        run.json beside them are one training, of which only `weights`, the name of
        their file, is known.
    """
    found: list[dict[str, Any]] = []
    seen = set()
    while "started_from" not in run:
        weights = run.get("weights")
        if not weights or weights in seen:
            return found
        seen.add(weights)
        try:
            run = read_run(Path(weights).parent, _REMEDY)
        except UserError:
            return [{"weights": Path(weights).name}, *found]
        kept = (*keys, "field_of_view", "members")
        found.insert(0, {key: run[key] for key in kept if key in run})
    return [*run["started_from"], *found]
