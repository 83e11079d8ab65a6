"""The bundled models, and the scale of photographs for a model."""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from randrop.data import Case, field_of_view
from randrop.pycaffe.build import REPOSITORY

MODELS = REPOSITORY / "models"
"""The models that come with the project, each a folder of its name."""

SHIPPED = MODELS / "idrid"
"""The one that predict.py takes unless told otherwise."""

SMALL = MODELS / "idrid-small"
"""The fast one."""


def field_width(image: np.ndarray) -> int:
    """Return the width of a photograph's field of view in columns."""
    return int(np.count_nonzero(field_of_view(image).any(axis=0)))


def field_of(cases: Sequence[Case]) -> int:
    """Return the median width of the field of view of photographs, in pixels."""
    shown = tqdm(cases, desc="fields of view", unit="photo", disable=None)
    return int(np.median([field_width(case.image()) for case in shown]))


def scale_for(width: int, trained: int) -> float:
    """Return the scale of a photograph for a network.

    Parameters
    ----------
    width, trained : int
        Width of the field of view in pixels, in the photograph and in training.

    Returns
    -------
    float
        Makes the fields of view equally wide; 1 if they differ by at most a tenth, or
        if the photograph's is smaller: enlarging adds no information.
    """
    scale = trained / width
    return min(1.0, scale) if abs(scale - 1) > 0.1 else 1.0
