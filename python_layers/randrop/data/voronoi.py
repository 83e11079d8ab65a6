"""The cells of lesions: each pixel belongs to the nearest one."""

import numpy as np
from numpy.typing import NDArray

from randrop.data.regions import regions


def cells(label: NDArray) -> NDArray[np.int32]:
    """Return the cell of each pixel: the number of the lesion nearest to it.

    Distances are Euclidean, between the centres of pixels. Of lesions at the same
    distance, any one may be it.

    Parameters
    ----------
    label : ndarray (C, H, W)
        1 on a lesion of the channel's type. An 8-connected region is one lesion.

    Returns
    -------
    int32 (C, H, W)
        Numbers from 0, in the order of `regions`; 0 throughout a channel without
        lesions.

    References
    ----------
    A. Jaus et al. Every component counts: rethinking the measure of success for medical
    semantic segmentation in multi-instance segmentation tasks. 2024, arXiv:2410.18684.
    """
    found = np.zeros(label.shape, np.int32)
    for c, channel in enumerate(np.asarray(label) == 1):
        numbers, count = regions(channel)
        if count > 1:
            found[c] = numbers[tuple(_nearest(channel))] - 1
    return found


def class_cells(classes: NDArray, count: int) -> NDArray[np.int32]:
    """Return the cells of each class of a softmax.

    Parameters
    ----------
    classes : ndarray (H, W)
        The class of each pixel; any other value is in no class.
    count : int
        Number of classes. Class 0, the background, is one cell.

    Returns
    -------
    int32 (count, H, W)
    """
    foreground = np.arange(1, count)[:, None, None] == classes
    return np.concatenate([np.zeros((1, *classes.shape), np.int32), cells(foreground)])


def _nearest(mask: NDArray) -> NDArray[np.int32]:
    """Return the indices (2, H, W) of the nearest pixel of a mask."""
    # As in regions.py: slow to import.
    from scipy import ndimage

    return ndimage.distance_transform_edt(
        ~mask, return_distances=False, return_indices=True
    )
