"""Connected regions of a mask: the definition of a lesion wherever they are counted."""

import numpy as np
from numpy.typing import NDArray


def regions(mask: NDArray, neighbours: int = 8) -> tuple[NDArray[np.int32], int]:
    """Return the number of each pixel's region, and how many regions there are.

    Parameters
    ----------
    mask : ndarray (H, W) or of any number of axes
        Nonzero inside.
    neighbours : {8, 4}
        The connectivity of a pixel: whether regions may touch by a corner.

    Returns
    -------
    labels : int32 (H, W), as the mask
        0 outside, else numbers from 1, ordered by the regions' first pixels row by row.
    count : int
    """
    # Half of the time that most scripts need to start; the SciPy of an old system does
    # not import its parts when they are used.
    from scipy import ndimage

    touching = np.ones((3,) * mask.ndim, int) if neighbours == 8 else None
    return ndimage.label(mask != 0, touching)
