"""The photographs that a network was trained on, where its folder names them."""

import contextlib
import logging
from collections.abc import Sequence

from randrop.data import Case
from randrop.errors import UserError
from randrop.files import schema
from randrop.files.documents import ModelPhotographs
from randrop.prediction.networks import Trained

log = logging.getLogger("randrop")


def names(network: Trained) -> set[str]:
    """Return the names of photographs that a network was trained on.

    Of a training itself none: its split tells which it held out.

    Parameters
    ----------
    network : Trained
        A model of scripts/export_model.py, whose metrics.json has them, or a
        cross-validation, whose networks have together seen all.
    """
    if network.members:
        folds = [list(member.held_out) for member in network.members]
        return _of_folds(folds, len(folds))
    if network.run is None:
        return set()
    found = ModelPhotographs()
    # It is another program's, or there is none.
    with contextlib.suppress(UserError):
        path = network.run / "metrics.json"
        found = ModelPhotographs(**schema.read_json(path, ModelPhotographs, ""))
    if found.folds:
        members = network.facts.get("members") or len(found.folds)
        return _of_folds(found.folds, members)
    return (
        set(found.subsets["train"].photographs) if "train" in found.subsets else set()
    )


def _of_folds(folds: Sequence[Sequence[str]], members: int) -> set[str]:
    """Return what the first networks of a cross-validation have seen together."""
    every = {name for fold in folds for name in fold}
    return set().union(*(every - set(fold) for fold in folds[:members]))


def tell(network: Trained, cases: Sequence[Case]) -> None:
    """Warn if photographs of a data set have names of those of the training."""
    seen = sorted(names(network) & {case.name for case in cases})
    if seen:
        log.warning(
            "the network was trained on %d of these %d photographs, if they are the "
            "ones of that name (%s for one): figures of them say little of others. "
            "Name others with --split FILE and --subset%s",
            *(len(seen), len(cases), seen[0]),
            ", or give --out-of-fold" if network.members else "",
        )
