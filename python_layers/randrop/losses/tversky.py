"""Tversky and focal Tversky loss."""

import numpy as np

from randrop.errors import UserError
from randrop.losses.common import (
    LossResult,
    binary_label,
    check_choice,
    check_range,
    sigmoid,
    without_infinity,
)
from randrop.losses.dice import ACTIVATIONS
from randrop.losses.explog import power_and_slope
from randrop.losses.softmax import softmax_grad, softmax_pixels


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
) -> LossResult:
    """Mean over images and classes of (1 - T)^gamma, where T is the Tversky index.

    T = (2 sum p y + smooth) / (2 sum p y + 2 alpha sum p (1 - y) +
    2 beta sum (1 - p) y + smooth). With alpha = beta = 0.5 and gamma = 1 it equals
    `dice` without squares.

    Parameters
    ----------
    logits, label, activation, smooth, include_background, batch, ignore_label
        As in `dice`.
    alpha, beta : float
        The weights of false positives and of false negatives, at least 0.
    gamma : float
        Above 0; the inverse of the gamma in the focal Tversky paper.

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
    check_choice("activation", activation, ACTIVATIONS)
    for name, value in (("alpha", alpha), ("beta", beta), ("smooth", smooth)):
        check_range(name, value, 0)
    check_range("gamma", gamma, 0, above=True)
    logits, label = np.asarray(logits), np.asarray(label)
    if activation == "SOFTMAX":
        if not include_background and logits.shape[1] < 2:
            raise UserError("include_background: false leaves nothing of one class")
        pixels = softmax_pixels(logits, label, ignore_label)
        p, truth, valid = pixels.probability, pixels.truth, pixels.valid[:, None]
        complement = pixels.complement[:, None]
    else:
        if not include_background:
            raise UserError(
                "include_background: false leaves class 0 of a softmax out; with "
                "activation SIGMOID every channel is a foreground"
            )
        positive, ignored = binary_label(logits, label, ignore_label)
        x = np.where(ignored, 0, without_infinity(logits))
        p, complement, truth, valid = (
            part.reshape(*logits.shape[:2], -1)
            for part in (sigmoid(x), sigmoid(-x), positive, ~ignored)
        )
    valid = np.broadcast_to(valid, p.shape)
    axes = (0, 2) if batch else 2
    overlaps, positives, negatives = (
        np.where(part, value.astype(np.float64), 0).sum(axes, keepdims=True)
        for part, value in (
            (valid & truth, p),
            (valid & ~truth, p),
            (valid & truth, np.broadcast_to(complement, p.shape)),
        )
    )
    overlaps = 2 * overlaps + smooth
    errors = 2 * (alpha * positives + beta * negatives)
    sizes = overlaps + errors
    # The mean skips groups that are ignored entirely: nothing there is right or wrong.
    counted = valid.any(axes, keepdims=True)
    counted[:, : 0 if include_background else 1] = False
    share = np.where(sizes == 0, 0, counted / max(1, counted.sum()))
    sizes = np.where(sizes == 0, 1, sizes)
    wrong = errors / sizes
    value, by_wrong = power_and_slope(wrong, gamma)
    factor = 2 * share * by_wrong / sizes
    by_own = -factor * (beta * overlaps / sizes + wrong)
    by_others = factor * alpha * overlaps / sizes
    slope = np.where(valid, np.where(truth, by_own, by_others), 0)
    softmax = activation == "SOFTMAX"
    grad = softmax_grad(p, slope) if softmax else slope * (p * complement)
    mask = np.where(valid[:, :1] if softmax else valid, 1, -1)
    return LossResult(
        loss=float((share * value).sum()),
        grad=grad.reshape(logits.shape).astype(logits.dtype),
        mask=mask.astype(np.int8).reshape(label.shape),
    )
