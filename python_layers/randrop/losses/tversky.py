"""Tversky and focal Tversky loss."""

import numpy as np

from randrop.losses.common import LossResult, check_range
from randrop.losses.explog import power_and_slope
from randrop.losses.overlap import (
    Groups,
    checked_cells,
    elements,
    in_proportion,
    without_zero,
)


def tversky(
    logits: np.ndarray,
    label: np.ndarray,
    activation: str = "SOFTMAX",
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 1.0,
    smooth: float = 1.0,
    include_background: bool = True,
    batch: bool = False,
    ignore_label: int | None = None,
    cells: np.ndarray | None = None,
) -> LossResult:
    """Mean over images and classes of (1 - T)^gamma, where T is the Tversky index.

    T = (2 sum p y + smooth) / (2 sum p y + 2 alpha sum p (1 - y) +
    2 beta sum (1 - p) y + smooth). With alpha = beta = 0.5 and gamma = 1 it equals
    `dice` without squares.

    Parameters
    ----------
    logits, label, activation, smooth, include_background, batch, ignore_label, cells
        As in `dice`.
    alpha, beta : float
        The weights of false positives and of false negatives, at least 0.
    gamma : float
        Above 0; the inverse of the gamma in the focal Tversky paper. Below 1, 1 - T is
        clamped to at least 1e-7, with derivative 0 below that.

    Returns
    -------
    LossResult
        The mask is 1 except for ignored pixels.

    Raises
    ------
    UserError
        If shapes do not match, a label is not allowed or an option is out of
        range.

    References
    ----------
    S. S. M. Salehi, D. Erdogmus, A. Gholipour. Tversky loss function for image
    segmentation using 3D fully convolutional deep networks. MLMI 2017.
    N. Abraham, N. M. Khan. A novel focal Tversky loss function with improved attention
    U-Net for lesion segmentation. ISBI 2019.
    """
    for name, value in (("alpha", alpha), ("beta", beta), ("smooth", smooth)):
        check_range(name, value, 0)
    check_range("gamma", gamma, 0, above=True)
    logits, label = np.asarray(logits), np.asarray(label)
    seen = elements(logits, label, activation, include_background, ignore_label)
    valid, truth = seen.spread(seen.valid), seen.truth
    groups = Groups(
        valid, 0 if include_background else 1, batch, checked_cells(cells, logits)
    )
    p, complement = (x.astype(np.float64) for x in (seen.p, seen.complement))
    overlaps = 2 * groups.sum(truth * p) + smooth
    error = 2 * np.where(valid, np.where(truth, beta * complement, alpha * p), 0)
    errors = groups.sum(error)
    share, sizes = without_zero(groups.share(), overlaps + errors)
    # 1 - T, without a difference of numbers that are nearly equal.
    wrong = errors / sizes
    value, by_wrong = power_and_slope(wrong, gamma)
    factor = 2 * share * by_wrong / sizes
    by_own = groups.spread(-factor * (beta * overlaps / sizes + wrong))
    by_others = groups.spread(factor * alpha * overlaps / sizes)
    slope = np.where(valid, np.where(truth, by_own, by_others), 0)
    losses = share * value
    parts = in_proportion(groups.spread(losses), error, groups.spread(errors))
    return seen.result(float(losses.sum()), slope, parts, seen.valid, logits, label)
