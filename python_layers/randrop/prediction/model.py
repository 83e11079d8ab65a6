"""The model that comes with the project, and the scale of photographs for a model."""

import numpy as np

from randrop.data import field_of_view
from randrop.pycaffe.build import REPOSITORY

SHIPPED = REPOSITORY / "models" / "idrid"
"""The model that comes with the project."""


def field_width(image: np.ndarray) -> int:
    """Return how many columns the field of view of a photograph has."""
    return int(np.count_nonzero(field_of_view(image).any(axis=0)))


def scale_for(width: int, trained: int) -> float:
    """Return how much to shrink a photograph for a network.

    Parameters
    ----------
    width, trained : int
        Of the field of view, in the photograph and in the training, pixels.

    Returns
    -------
    float
        Such that fields of view are equally wide; 1 where they are within a tenth, and
        where the photograph's is smaller: enlarging shows nothing new.
    """
    scale = trained / width
    return min(1.0, scale) if abs(scale - 1) > 0.1 else 1.0
