"""Focal loss."""

from collections.abc import Sequence

import numpy as np

from randrop.errors import UserError
from randrop.losses.common import (
    LossResult,
    binary_label,
    check_choice,
    check_range,
    group_shape,
    normalizer,
    sigmoid,
    softplus,
    without_infinity,
)
from randrop.losses.softmax import softmax_pixels

ALPHA_MODES = ("FIXED", "PER_IMAGE", "PER_CHANNEL")


def sigmoid_focal(
    logits: np.ndarray,
    label: np.ndarray,
    gamma: float = 2.0,
    alpha: float = 0.25,
    alpha_mode: str = "FIXED",
    ignore_label: int | None = None,
    normalization: str = "BATCH_SIZE",
) -> LossResult:
    """Sum of -alpha_t (1 - p_t)^gamma log p_t over pixels, over the normalizer.

    p_t = p = sigmoid(logit) and alpha_t = alpha for positives, 1 - p and 1 - alpha for
    negatives. gamma = 0 is weighted cross-entropy.

    Parameters
    ----------
    logits : floating (N, C, ...)
    label : (N, C, ...)
        0, 1 or `ignore_label`.
    gamma : float
        At least 0.
    alpha : float
        From 0 to 1.
    alpha_mode : {"FIXED", "PER_IMAGE", "PER_CHANNEL"}
        Use alpha as given, or N- / (N+ + N-) of each image, or of each channel of each
        image.
    ignore_label : int, optional
        Elements with this label are excluded throughout.
    normalization : {"FULL", "VALID", "BATCH_SIZE", "NONE"}

    Returns
    -------
    LossResult
        The mask is 1 except for ignored elements.

    Raises
    ------
    UserError
        If shapes differ, a label is not allowed or an option is out of range.

    References
    ----------
    T.-Y. Lin et al. Focal loss for dense object detection. ICCV 2017, arXiv:1708.02002.
    """
    check_range("gamma", gamma, 0)
    check_range("alpha", alpha, 0, 1)
    check_choice("alpha_mode", alpha_mode, ALPHA_MODES)
    logits, label = np.asarray(logits), np.asarray(label)
    positive, ignored = binary_label(logits, label, ignore_label)
    factor = np.where(positive, alpha, 1 - alpha)
    if alpha_mode != "FIXED":
        groups = group_shape(logits.shape, alpha_mode)
        positives = positive.reshape(groups).sum(1, keepdims=True)
        all_valid = (~ignored).reshape(groups).sum(1, keepdims=True)
        # From counts: 1 - the other weight would lose a small weight's digits.
        factor = np.where(positive.reshape(groups), all_valid - positives, positives)
        factor = (factor / np.maximum(1, all_valid)).reshape(logits.shape)
    divisor = normalizer(normalization, logits.shape, logits.size - ignored.sum())
    factor = np.where(ignored, 0, factor) / divisor

    # Let z be the logit of a negative, and minus the logit of a positive. Then 1 - p_t
    # is sigmoid(z), p_t is sigmoid(-z) and -log p_t is softplus(z).
    sign = np.where(positive, -1, 1).astype(logits.dtype)
    z = np.where(ignored, 0, sign * without_infinity(logits))
    modulation = sigmoid(z) ** gamma
    slope = modulation * (sigmoid(z) + gamma * sigmoid(-z) * softplus(z))
    per_pixel = factor * (modulation * softplus(z))
    return LossResult(
        loss=float(per_pixel.sum(dtype=np.float64)),
        grad=(factor * sign * slope).astype(logits.dtype),
        mask=np.where(ignored, -1, 1).astype(np.int8),
        per_pixel=per_pixel.astype(np.float64, copy=False),
    )


def softmax_focal(
    logits: np.ndarray,
    label: np.ndarray,
    gamma: float = 2.0,
    class_alpha: Sequence[float] = (),
    ignore_label: int | None = None,
    normalization: str = "VALID",
) -> LossResult:
    """Sum of -alpha_t (1 - p_t)^gamma log p_t over pixels, over the normalizer.

    p_t is the softmax probability of the true class.

    Parameters
    ----------
    logits : floating (N, C, ...)
    label : (N, 1, ...) or (N, ...)
        Classes 0 to C - 1, or `ignore_label`.
    gamma : float
        At least 0.
    class_alpha : sequence of float
        alpha_t of each class, at least 0; one value for all, or none for 1.
    ignore_label : int, optional
        Pixels with this label are excluded throughout.
    normalization : {"FULL", "VALID", "BATCH_SIZE", "NONE"}

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
    T.-Y. Lin et al. Focal loss for dense object detection. ICCV 2017, arXiv:1708.02002.
    """
    check_range("gamma", gamma, 0)
    for value in class_alpha:
        check_range("class_alpha", value, 0)
    logits, label = np.asarray(logits), np.asarray(label)
    pixels = softmax_pixels(logits, label, ignore_label)
    classes = logits.shape[1]
    alpha = np.ravel(class_alpha) if len(class_alpha) else np.ones(1)
    if len(alpha) not in (1, classes):
        raise UserError(
            f"class_alpha has {len(alpha)} values for {classes} classes: give one for "
            "each class, one for all, or none"
        )
    valid = pixels.valid
    factor = np.where(valid, np.broadcast_to(alpha, classes)[pixels.own], 0)
    factor = factor / normalizer(normalization, label.shape, int(valid.sum()))
    modulation = pixels.complement**gamma
    # -log(p) / (1 - p) tends to 1 as p does.
    ratio = np.divide(
        pixels.cross_entropy,
        pixels.complement,
        out=np.ones_like(pixels.complement),
        where=pixels.complement > 0,
    )
    own = np.where(pixels.truth, pixels.probability, 0).sum(1)
    slope = factor * modulation * (1 + gamma * own * ratio)
    grad = slope[:, None] * pixels.cross_entropy_grad
    per_pixel = factor * (modulation * pixels.cross_entropy)
    return LossResult(
        loss=float(per_pixel.sum()),
        grad=grad.reshape(logits.shape).astype(logits.dtype),
        mask=np.where(valid, 1, -1).astype(np.int8).reshape(label.shape),
        per_pixel=per_pixel.astype(np.float64, copy=False).reshape(label.shape),
    )
