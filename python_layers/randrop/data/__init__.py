"""Photographs and masks: reading, preparing, sampling, and the phantom data set.

Nothing here imports Caffe; the data layer for it is in `randrop.data.layer`.
"""

from randrop.data.cases import (
    IGNORE_LABEL,
    LESIONS,
    NAMES,
    STRUCTURES,
    Case,
    check_lesions,
)
from randrop.data.datasets import Dataset, read_dataset
from randrop.data.preprocessing import (
    INPUT_LIMIT,
    field_of_view,
    network_input,
    rescale_image,
    rescale_masks,
)
from randrop.data.voronoi import cells

__all__ = [
    "IGNORE_LABEL",
    "INPUT_LIMIT",
    "LESIONS",
    "NAMES",
    "STRUCTURES",
    "Case",
    "Dataset",
    "cells",
    "check_lesions",
    "field_of_view",
    "network_input",
    "read_dataset",
    "rescale_image",
    "rescale_masks",
]
