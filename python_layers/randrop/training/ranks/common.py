"""What a training on several ranks needs to know of its settings and data."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from randrop.data import read_dataset
from randrop.errors import UserError
from randrop.training import prototxts, shares
from randrop.training.shares import Share

log = logging.getLogger("randrop")


def ranked(settings: dict[str, Any], ranks: int) -> dict[str, Any]:
    """Return the settings of a training on so many ranks.

    Raises
    ------
    UserError
        If the batch cannot be divided among them, or the loss of the shares does not
        make that of the batch.
    """
    Share(0, ranks).of(settings["batch"])
    labelled = "labels" in settings
    losses = prototxts.losses_of(settings, settings.get("activation", "SOFTMAX"))
    if ranks > 1:
        shares.rules(losses, not labelled)
    if labelled and settings["net"] == "explog3d" and ranks > 1:
        log.info("Dropout and noise are the same in the share of each rank")
    return settings | {"ranks": ranks}


def files(settings: dict[str, Any]) -> str:
    """Return a digest of names and sizes of the training's files.

    Copies on different machines have the same. What is in them is not read: a large
    set would take minutes.
    """
    root = Path(settings["data"])
    if "labels" in settings:
        found = [(p.name, p.stat().st_size) for p in sorted(root.glob("*.h5"))]
    else:
        dataset = read_dataset(root, settings["split"])
        found = [
            (name, case.name, [p.stat().st_size for p in (case.image_path, *masks)])
            for name, cases in sorted(dataset.splits.items())
            for case in dataset.subset(name)
            for masks in [[case.mask_paths[k] for k in sorted(case.mask_paths)]]
            if cases
        ]
    if not found:
        raise UserError(f"{root} has no files: prepare the data there")
    return hashlib.sha256(repr(found).encode()).hexdigest()[:12]
