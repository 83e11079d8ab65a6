"""Several networks as one: the mean of their probabilities.

`ensemble.json` in a folder names the runs, relative to the folder, with the SHA-256 of
their weights and the photographs that each was not trained on:
{"members": [{"run": "fold1/run", "weights_sha256": "...", "held_out": ["eye1"]}],
"field_of_view": 1148}.
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
from randrop.files.documents import ENSEMBLE, Ensemble
from randrop.prediction.inference import Network

FILE = ENSEMBLE


def write(
    folder: Path,
    runs: Sequence[Path],
    held_out: Sequence[Sequence[str]],
    field_of_view: int,
) -> Path:
    """Write the ensemble of the last weights of finished trainings; return its file.

    Parameters
    ----------
    folder : Path
    runs : sequence of Path
    held_out : sequence of sequence of str
        Photographs that each run was not trained on.
    field_of_view : int
        Width of that of the trainings' photographs, in pixels.
    """
    members = [
        {
            "run": os.path.relpath(run, folder),
            "weights_sha256": ownership.sha256(run / "final.caffemodel"),
            "held_out": list(names),
        }
        for run, names in zip(runs, held_out, strict=True)
    ]
    write_json(folder / FILE, {"members": members, "field_of_view": field_of_view})
    return folder / FILE


def read(folder: Path) -> dict[str, Any]:
    """Return the content of the file of an ensemble.

    Raises
    ------
    UserError
        If the file is damaged, or weights are missing or differ from those that it
        names.
    """
    remedy = (
        "run scripts/cross_validate.py again to rebuild it, or write it into a new "
        "folder with combine_scales.py if it is of that"
    )
    found = schema.read_json(folder / FILE, Ensemble, remedy)
    for member in found["members"]:
        weights = folder / member["run"] / "final.caffemodel"
        if not weights.is_file():
            raise UserError(f"{folder / FILE}: {weights} is missing: {remedy}")
        if ownership.sha256(weights) != member["weights_sha256"]:
            raise UserError(
                f"{weights} is damaged or was trained again: its SHA-256 differs from "
                f"the one in {folder / FILE}: {remedy}"
            )
    return found


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
