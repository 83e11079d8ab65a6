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
    label : ndarray (C, ...)
        1 on a lesion of the channel's type. An 8-connected region is one lesion (in
        volumes, a 26-connected one).

    Returns
    -------
    int32 (C, ...)
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
    classes : ndarray (...)
        The class of each pixel; any other value is in no class.
    count : int
        Number of classes. Class 0, the background, is one cell.

    Returns
    -------
    int32 (count, ...)
    """
    numbers = np.arange(1, count).reshape(-1, *[1] * classes.ndim)
    foreground = numbers == classes
    return np.concatenate([np.zeros((1, *classes.shape), np.int32), cells(foreground)])


def cells_of_batch(label: NDArray, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return the cells of a batch, as a loss over logits of this shape takes them.

    Parameters
    ----------
    label : ndarray (N, C, ...) or (N, 1, ...)
        Of a sigmoid, in the shape of the logits, or of a softmax: classes.
    shape : tuple of int
        (N, C, ...)

    Returns
    -------
    int32 (N, C, ...)
    """
    if label.shape == shape:
        return np.stack([cells(image) for image in label])
    return np.stack([class_cells(i.reshape(shape[2:]), shape[1]) for i in label])


def _nearest(mask: NDArray) -> NDArray[np.int32]:
    """Return the indices of the nearest pixel of a mask, an axis first."""
    # As in regions.py: slow to import.
    from scipy import ndimage

    return ndimage.distance_transform_edt(
        ~mask, return_distances=False, return_indices=True
    )
