"""Finding the peaks of probability maps outside all lesions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from randrop.data import Case
from randrop.data.false_alarms import GENERATOR
from randrop.evaluation.lesions import peaks_of
from randrop.evaluation.photographs import check_maps, counted
from randrop.prediction import maps


def find(
    cases: Sequence[Case],
    lesions: Sequence[str],
    root: Path,
    least: float = 0.1,
    most: int = 50,
) -> dict[str, Any]:
    """Return the false alarms of maps, as `false_alarms.FalseAlarms` describes them.

    They are those of FROC: the detections of `lesions.peaks_of` outside all lesions of
    their type. Photographs in which nobody looked for a type have none of it.

    Parameters
    ----------
    cases : sequence of Case
    lesions : sequence of str
    root : Path
        Holds the maps, as `root/<lesion>/<name>.png`.
    least : float
        Smallest probability.
    most : int
        Of each type in a photograph: the most probable ones.

    Raises
    ------
    UserError
        If maps are missing or do not match their masks.
    """
    check_maps(cases, lesions, root)
    photographs = {}
    for case in tqdm(cases, desc="false alarms", unit="photo", disable=None):
        alarms: list[dict[str, Any]] = []
        for lesion, levels, _, mask, _ in counted(case, lesions, root):
            rows, columns = peaks_of(levels)
            wrong = (mask[rows, columns] == 0) & (
                levels[rows, columns] >= least * (maps.LEVELS - 1)
            )
            # The highest come first.
            for k in np.flatnonzero(wrong)[:most]:
                y, x = int(rows[k]), int(columns[k])
                value = round(float(levels[y, x]) / (maps.LEVELS - 1), 6)
                alarms.append({"type": lesion, "x": x, "y": y, "probability": value})
        photographs[case.name] = {"size": list(case.size()), "alarms": alarms}
    return {
        "generator": GENERATOR,
        "lesions": list(lesions),
        "least": least,
        "most": most,
        "photographs": photographs,
    }
