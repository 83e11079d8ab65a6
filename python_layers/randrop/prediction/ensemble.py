"""Several networks as one: the mean of their probabilities.

`ensemble.json` in a folder names the runs, relative to the folder, with the SHA-256 of
their weights: {"members": [{"run": "fold1/run", "weights_sha256": "..."}]}.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.files import ownership, schema, write_json
from randrop.files.documents import Ensemble
from randrop.prediction.inference import Network

FILE = "ensemble.json"


def write(folder: Path, runs: Sequence[Path]) -> Path:
    """Write the ensemble of the last weights of finished trainings; return its file."""
    members = [
        {
            "run": os.path.relpath(run, folder),
            "weights_sha256": ownership.sha256(run / "final.caffemodel"),
        }
        for run in runs
    ]
    write_json(folder / FILE, {"members": members})
    return folder / FILE


def members(folder: Path) -> list[Path]:
    """Return the run folders of an ensemble.

    Raises
    ------
    UserError
        If the file is damaged, or weights are missing or differ from those that it
        names.
    """
    remedy = "run scripts/cross_validate.py again to rebuild it"
    found = schema.read_json(folder / FILE, Ensemble, remedy)["members"]
    for member in found:
        weights = folder / member["run"] / "final.caffemodel"
        if not weights.is_file():
            raise UserError(f"{folder / FILE}: {weights} is missing: {remedy}")
        if ownership.sha256(weights) != member["weights_sha256"]:
            raise UserError(
                f"{weights} is damaged or was trained again: its SHA-256 differs from "
                f"the one in {folder / FILE}: {remedy}"
            )
    return [folder / member["run"] for member in found]


def check_alike(facts: Sequence[dict[str, Any]], folder: Path) -> None:
    """Refuse networks that need other input, or have other outputs.

    Raises
    ------
    UserError
        Names the setting.
    """
    for name in SHARED:
        values = [own.get(name) for own in facts]
        if any(value != values[0] for value in values):
            raise UserError(
                f"{folder / FILE}: the members differ in {name}: "
                f"{', '.join(map(str, values))}: choose members that agree"
            )


SHARED = ("lesions", "field_of_view")
"""Settings that the members of an ensemble must share."""


def mean(networks: Sequence[Network]) -> Network:
    """Return the network whose probabilities are the mean of those of `networks`.

    Parameters
    ----------
    networks : sequence of Network
        With the same channels, in the same order.
    """

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        total = networks[0].forward(batch)
        for network in networks[1:]:
            total = total + network.forward(batch)
        # Rounding must not take it beyond 1.
        return np.minimum(total / np.float32(len(networks)), np.float32(1))

    return networks[0]._replace(
        stride=math.lcm(*(network.stride for network in networks)), forward=forward
    )
