"""Dice and topK-Dice loss."""

import numpy as np

from randrop.losses.common import (
    LossResult,
    check_choice,
    check_range,
    hardest,
    share_of,
)
from randrop.losses.overlap import (
    Elements,
    Groups,
    checked_cells,
    elements,
    in_proportion,
    without_zero,
)

REGIONS = ("ALL", "FOREGROUND")


def dice(
    logits: np.ndarray,
    label: np.ndarray,
    activation: str = "SOFTMAX",
    smooth: float = 1.0,
    squared: bool = True,
    include_background: bool = True,
    batch: bool = False,
    gamma: float = 0.0,
    weight_cross: float = 0.0,
    ignore_label: int | None = None,
    cells: np.ndarray | None = None,
) -> LossResult:
    """1 minus the mean Dice over images and classes.

    D = (2 sum p y + smooth) / (sum p^2 + sum y^2 + smooth); without `squared` the
    denominator has sum p + sum y. A class that is neither present nor predicted has
    D = 1, even with smooth = 0. The mean skips images (SIGMOID: channels of an image)
    that are ignored entirely.

    With `gamma` each element of the sums weighs |y - p|^gamma, which is constant for
    the gradient (PM-Dice). With `cells` the sums run over the cells of a class, and the
    mean over these: with `weight_cross` 1 and smooth 0 this is the term of components
    in CC-DiceCE.

    Parameters
    ----------
    logits : floating (N, C, ...)
    label
        SOFTMAX: (N, 1, ...) or (N, ...), classes 0 to C - 1, or `ignore_label`;
        SIGMOID: (N, C, ...), 0, 1 or `ignore_label`.
    activation : {"SOFTMAX", "SIGMOID"}
    smooth : float
        At least 0.
    squared, include_background, batch : bool
        Square in the denominator; include class 0 of a softmax in the mean; sum over
        the whole batch and take the mean over classes only.
    gamma : float
        At least 0; above 0, `smooth` must be above 0, too.
    weight_cross : float
        At least 0: a factor for the mean cross-entropy of each group, which is added to
        its 1 - D.
    ignore_label : int, optional
        Pixels with this label are excluded throughout.
    cells : (N, C, ...), optional
        The cell of each pixel in each class, numbered from 0: `randrop.data.cells`. The
        loss of a class of an image is then the mean over its cells; with `batch`, that
        of a class is the mean over its cells in all images.

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
    F. Milletari, N. Navab, S.-A. Ahmadi. V-Net: fully convolutional neural networks for
    volumetric medical image segmentation. 3DV 2016, arXiv:1606.04797.
    S. M. Hosseini. Pixel-wise modulated Dice loss for medical image segmentation. 2025,
    arXiv:2506.15744 (gamma).
    L. Bouteille et al. Learning to look closer: a new instance-wise loss for small
    cerebral lesion segmentation. 2025, arXiv:2511.17146 (cells).
    """
    check_range("gamma", gamma, 0)
    check_range("weight_cross", weight_cross, 0)
    check_range("smooth", smooth, 0, above=gamma > 0)
    logits, label = np.asarray(logits), np.asarray(label)
    seen = elements(logits, label, activation, include_background, ignore_label)
    groups = Groups(
        seen.spread(seen.valid),
        0 if include_background else 1,
        batch,
        checked_cells(cells, logits),
    )
    loss, slope, parts = _one_minus_dice(seen, groups, smooth, squared, gamma)
    by_cross = None
    if weight_cross:
        cross_entropy = np.where(groups.part, seen.spread(seen.cross_entropy), 0)
        numbers = np.maximum(1, groups.sum(np.ones(groups.part.shape)))
        by_cross = groups.spread(weight_cross * groups.share() / numbers)
        by_cross = np.where(groups.part, by_cross, 0)
        cross = by_cross * cross_entropy.astype(np.float64)
        loss += float(cross.sum())
        parts += cross
    return seen.result(loss, slope, parts, seen.valid, logits, label, by_cross)


def top_k_dice(
    logits: np.ndarray,
    label: np.ndarray,
    k_percent: float = 50.0,
    region: str = "ALL",
    activation: str = "SOFTMAX",
    smooth: float = 1.0,
    squared: bool = True,
    include_background: bool = True,
    batch: bool = False,
    ignore_label: int | None = None,
) -> LossResult:
    """Dice loss with its sums restricted to the hardest pixels.

    The number of pixels is rounded down, at least one; ties are broken by index order.
    The gradient treats the selection as constant.

    Parameters
    ----------
    logits, label, activation, smooth, squared, include_background, batch, ignore_label
        As in `dice`.
    k_percent : float
        Above 0, at most 100.
    region : {"ALL", "FOREGROUND"}
        ALL: the k % of an image's pixels with the highest cross-entropy (SIGMOID: of
        each channel's pixels). FOREGROUND: for each class, the k % of its own pixels in
        an image with the lowest p, and all pixels of other classes.

    Returns
    -------
    LossResult
        The mask is 1 where selected, 0 where not (FOREGROUND: left out of the sums of
        its own class only; its part of the loss is its error in the others), -1 where
        ignored.

    Raises
    ------
    UserError
        If shapes do not match, a label is not allowed or an option is out of
        range.

    References
    ----------
    S. M. Hosseini. topK Dice loss. BMVC 2024, paper 897.
    """
    check_range("k_percent", k_percent, 0, 100, above=True)
    check_choice("region", region, REGIONS)
    check_range("smooth", smooth, 0)
    logits, label = np.asarray(logits), np.asarray(label)
    seen = elements(logits, label, activation, include_background, ignore_label)
    # In a channel of a sigmoid, the class is the positives; the rest are negatives.
    first = 0 if seen.softmax else 1
    chosen, others = _selection(
        seen.own, seen.cross_entropy, seen.valid, first, k_percent, region
    )
    # The sums of a class use the chosen pixels and, with FOREGROUND, the remaining
    # pixels of the other classes.
    part = seen.spread(chosen) | (seen.spread(others) & ~seen.truth)
    groups = Groups(part, 0 if include_background else 1, batch)
    loss, slope, parts = _one_minus_dice(seen, groups, smooth, squared)
    return seen.result(loss, slope, parts, chosen, logits, label)


def _selection(
    own: np.ndarray,
    cross_entropy: np.ndarray,
    valid: np.ndarray,
    first: int,
    k_percent: float,
    region: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels count for every class, and which only for other classes.

    Parameters
    ----------
    own, cross_entropy, valid : (S, M)
        Segments of pixels to choose from.
    first : int
        The first class that FOREGROUND chooses from.
    k_percent, region
        As in `top_k_dice`.
    """
    nowhere = np.zeros_like(valid)
    chosen = np.zeros_like(valid)
    for s, candidates in enumerate(valid):
        if region == "ALL":
            number = share_of(k_percent, int(candidates.sum()))
            chosen[s] = hardest(cross_entropy[s], candidates, number)
            continue
        chosen[s] = candidates & (own[s] < first)
        for c in np.unique(own[s][candidates & (own[s] >= first)]):
            of_class = candidates & (own[s] == c)
            number = share_of(k_percent, int(of_class.sum()))
            chosen[s] |= hardest(cross_entropy[s], of_class, number)
    return chosen, (valid & ~chosen if region == "FOREGROUND" else nowhere)


def _one_minus_dice(
    seen: Elements, groups: Groups, smooth: float, squared: bool, gamma: float = 0.0
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return 1 - mean D, its derivative by the probabilities, and its parts.

    The last two are (N, C, M). No sum or slope subtracts numbers that become equal when
    all pixels are right, or all wrong.
    """
    p, truth = seen.p.astype(np.float64), seen.truth
    # |p - truth| without the digits that a difference would lose.
    wrong = np.where(truth, seen.complement, seen.p).astype(np.float64)
    weight = np.where(groups.part, wrong, 0) ** gamma
    power = 2 if squared else 1
    # 1 - D = error / (size + smooth), D = (2 overlap + smooth) / (size + smooth).
    error = np.where(groups.part, weight * wrong**power, 0)
    errors = groups.sum(error)
    overlaps = groups.sum(weight * 2 * p * truth)
    share, sizes = without_zero(
        groups.share(), groups.sum(weight * (p**power + truth)) + smooth
    )
    losses = share * errors / sizes
    by_error, by_size, by_both = (
        groups.spread(slope)
        for slope in (
            share / sizes,
            -share * errors / sizes**2,
            share * (overlaps + smooth) / sizes**2,
        )
    )
    if squared:
        slope = np.where(truth, 2 * by_size - 2 * by_both * wrong, 2 * by_both * wrong)
    else:
        slope = np.where(truth, by_size - by_error, by_both)
    parts = in_proportion(groups.spread(losses), error, groups.spread(errors))
    return float(losses.sum()), np.where(groups.part, weight * slope, 0), parts
