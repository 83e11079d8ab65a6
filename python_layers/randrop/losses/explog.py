"""Exponential logarithmic loss."""

from collections.abc import Sequence

import numpy as np

from randrop.errors import UserError
from randrop.losses.common import LossResult, check_range
from randrop.losses.overlap import group_axes, in_proportion
from randrop.losses.softmax import softmax_grad, softmax_pixels

LEAST_LOG = 1e-7
"""The least value of -ln that an exponent below 1 is put on: its derivative grows
without bound towards 0."""


def exp_log(
    logits: np.ndarray,
    label: np.ndarray,
    weight_dice: float = 0.8,
    weight_cross: float = 0.2,
    gamma_dice: float = 0.3,
    gamma_cross: float = 0.3,
    epsilon: float = 1.0,
    label_frequency: Sequence[float] = (),
    batch: bool = False,
    ignore_label: int | None = None,
) -> LossResult:
    """Powers of the logarithms of Dice and of the probability of the true class.

    weight_dice * mean over classes of (-ln D)^gamma_dice + weight_cross * mean over
    pixels of w_l (-ln p_l)^gamma_cross, with D = (2 sum p y + epsilon) / (sum p + sum y
    + epsilon) and w_l = (sum f / f_l)^0.5. The Dice term is the mean over images that
    are not ignored entirely, unless `batch` is set. Where a gamma is below 1, -ln is
    clamped to at least 1e-7, and its derivative is 0 there.

    Parameters
    ----------
    logits : floating (N, C, ...)
    label : (N, 1, ...) or (N, ...)
        Classes 0 to C - 1, or `ignore_label`.
    weight_dice, weight_cross : float
        At least 0.
    gamma_dice, gamma_cross, epsilon : float
        Above 0.
    label_frequency : sequence of float
        f, the frequency of each class in the training set, in any unit. A class with
        frequency 0 has weight 0 in the cross term; not all may be 0. None: counted in
        the batch.
    batch : bool
        Sums for D run over the whole batch.
    ignore_label : int, optional
        Pixels with this label are excluded throughout.

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
    K. C. L. Wong et al. 3D segmentation with exponential logarithmic loss for highly
    unbalanced object sizes. MICCAI 2018, arXiv:1809.00076, equations 1 to 3.
    """
    for name, value in (("weight_dice", weight_dice), ("weight_cross", weight_cross)):
        check_range(name, value, 0)
    for name, value in (
        ("gamma_dice", gamma_dice),
        ("gamma_cross", gamma_cross),
        ("epsilon", epsilon),
    ):
        check_range(name, value, 0, above=True)
    for value in label_frequency:
        check_range("label_frequency", value, 0)
    if len(label_frequency) and not any(label_frequency):
        raise UserError(
            "label_frequency is 0 for every class, so no pixel has a weight in the "
            "cross term: give the frequencies of the classes, omit label_frequency to "
            "count them in each batch, or set weight_cross: 0 to disable the term"
        )
    logits, label = np.asarray(logits), np.asarray(label)
    pixels = softmax_pixels(logits, label, ignore_label)
    valid, truth, p = pixels.valid[:, None], pixels.truth, pixels.probability
    classes = p.shape[1]
    if len(label_frequency) not in (0, classes):
        raise UserError(
            f"label_frequency has {len(label_frequency)} values for {classes} "
            "classes: give one for each class, or none"
        )

    # -ln D = log1p(error / (2 overlap + epsilon)) is accurate where D is near 1.
    axes = group_axes(batch)
    p = p.astype(np.float64)
    overlap = np.where(truth, p, 0).sum(axes, keepdims=True) * 2 + epsilon
    wrong = np.where(truth, pixels.complement[:, None], np.where(valid, p, 0))
    error = wrong.sum(axes, keepdims=True, dtype=np.float64)
    known = valid.any(axes, keepdims=True)
    share = np.where(known, weight_dice / classes / max(1, known.sum()), 0)
    value, by_value = power_and_slope(np.log1p(error / overlap), gamma_dice)
    losses = share * value
    loss = float(losses.sum())
    per_pixel = in_proportion(losses, wrong, error).sum(1)
    by_others = share * by_value / (overlap + error)
    by_own = by_others - 2 * share * by_value / overlap
    slope = np.where(valid, np.where(truth, by_own, by_others), 0)
    grad = softmax_grad(p, slope)

    f = np.asarray(label_frequency, float)
    if not f.size:
        f = truth.sum((0, 2)).astype(float)
    weight = np.sqrt(np.divide(f.sum(), f, out=np.zeros(classes), where=f > 0))
    weight = np.where(pixels.valid, weight[pixels.own], 0)
    weight = weight * weight_cross / max(1, int(pixels.valid.sum()))
    value, by_value = power_and_slope(
        pixels.cross_entropy.astype(np.float64), gamma_cross
    )
    with np.errstate(over="ignore"):
        cross = weight * value
        loss += float(cross.sum())
        per_pixel += cross
        slope = np.minimum(weight * by_value, np.finfo(np.float64).max)
        grad = grad + slope[:, None] * pixels.cross_entropy_grad
        grad = grad.reshape(logits.shape).astype(logits.dtype)
    return LossResult(
        loss=loss,
        grad=grad,
        mask=np.where(pixels.valid, 1, -1).astype(np.int8).reshape(label.shape),
        per_pixel=per_pixel.reshape(label.shape),
    )


def power_and_slope(value: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return value^gamma and its derivative, clamped where that would be infinite."""
    if gamma >= 1:
        # The largest number instead of infinity: its product with 0 is 0.
        with np.errstate(over="ignore"):
            powers = value**gamma, gamma * value ** (gamma - 1)
        most = np.finfo(np.float64).max
        return np.minimum(powers[0], most), np.minimum(powers[1], most)
    held = np.maximum(value, LEAST_LOG)
    slope = gamma * held ** (gamma - 1)
    return held**gamma, np.where(value < LEAST_LOG, 0, slope)
