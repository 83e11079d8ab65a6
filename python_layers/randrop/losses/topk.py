"""Cross-entropy of the hardest pixels: top-k and bin loss."""

import numpy as np

from randrop.losses.common import (
    LossResult,
    balanced_cross_entropy,
    binary_label,
    check_choice,
    check_range,
    group_shape,
    hardest,
    normalizer,
    rounded_down,
    share_of,
    weighted_cross_entropy,
)
from randrop.losses.softmax import softmax_pixels

SELECTIONS = ("EXACT", "BIN", "PERCENT")

BIN_BOUNDS = np.log([0.2 / 0.8, 0.4 / 0.6, 0.6 / 0.4, 0.8 / 0.2])
"""The logits at which p is 0.2, 0.4, 0.6 and 0.8."""


def sigmoid_top_k(
    logits: np.ndarray,
    label: np.ndarray,
    selection: str = "EXACT",
    negatives_per_positive: float = 20.0,
    positive_weight: float = 1.0,
    balance: str = "PER_CHANNEL",
    k_percent: float = 10.0,
    ignore_label: int | None = None,
    normalization: str | None = None,
) -> LossResult:
    """Sigmoid cross-entropy of the hardest pixels only.

    In each group, EXACT and BIN take the N+ positives and the hardest negatives, those
    with the largest logits. EXACT takes floor(negatives_per_positive N+) of them, at
    least 1, with ties broken by index order. BIN takes whole bins of p of width 0.2,
    from the hardest down, until there are at least that many. The classes are then
    balanced as in `random_drop`, and positives weigh `positive_weight` times as much. A
    group without positives adds nothing. PERCENT takes the k % of all elements with the
    highest cross-entropy, rounded down, at least one, and returns their mean. The
    gradient treats the selection as constant.

    Parameters
    ----------
    logits : floating (N, C, ...)
    label : (N, C, ...)
        0, 1 or `ignore_label`.
    selection : {"EXACT", "BIN", "PERCENT"}
    negatives_per_positive, positive_weight : float
        Above 0; at least 0. For EXACT and BIN.
    balance : {"PER_CHANNEL", "PER_IMAGE", "BATCH"}
        The groups for EXACT and BIN.
    k_percent : float
        Above 0, at most 100. For PERCENT.
    ignore_label : int, optional
        Elements with this label are excluded throughout.
    normalization : {"FULL", "VALID", "BATCH_SIZE", "NONE"}, optional
        Divisor; by default BATCH_SIZE, and VALID for PERCENT, where it counts the
        selected elements.

    Returns
    -------
    LossResult
        The gradient has the dtype of `logits`.

    Raises
    ------
    UserError
        If shapes differ, a label is not allowed or an option is out of range.

    References
    ----------
    S. Guo et al. Bin loss for hard exudates segmentation in fundus images.
    Neurocomputing 392, 2020, doi:10.1016/j.neucom.2018.10.103 (EXACT, BIN).
    T. Pohlen et al. Full-resolution residual networks for semantic segmentation in
    street scenes. CVPR 2017, arXiv:1611.08323 (PERCENT).
    """
    check_choice("selection", selection, SELECTIONS)
    check_range("k_percent", k_percent, 0, 100, above=True)
    check_range("negatives_per_positive", negatives_per_positive, 0, above=True)
    check_range("positive_weight", positive_weight, 0)
    logits, label = np.asarray(logits), np.asarray(label)
    positive, ignored = binary_label(logits, label, ignore_label)
    negative = ~(positive | ignored)
    if selection == "PERCENT":
        number = share_of(k_percent, logits.size - int(ignored.sum()))
        hardness = np.where(positive, -logits, logits)
        chosen = hardest(hardness, ~ignored, number)
        divisor = normalizer(normalization or "VALID", logits.shape, number)
        return weighted_cross_entropy(logits, positive, chosen, ignored, 1 / divisor)
    groups = group_shape(logits.shape, balance)
    x = logits.reshape(groups)
    kept = np.zeros(groups, bool)
    for g, candidates in enumerate(negative.reshape(groups)):
        positives = int(positive.reshape(groups)[g].sum())
        if positives:
            wanted = min(negatives_per_positive * positives, x.shape[1])
            wanted = max(1, rounded_down(wanted))
            select = hardest if selection == "EXACT" else _whole_bins
            kept[g] = select(x[g], candidates, wanted)
    return balanced_cross_entropy(
        logits,
        positive,
        kept.reshape(logits.shape),
        ignored,
        balance,
        normalization or "BATCH_SIZE",
        positive_weight,
    )


def _whole_bins(x: np.ndarray, candidates: np.ndarray, number: int) -> np.ndarray:
    """Mark the candidates of the hardest bins that hold `number` together, or all."""
    bins = np.searchsorted(BIN_BOUNDS.astype(x.dtype), x, side="right")
    lowest = len(BIN_BOUNDS)
    while lowest and (candidates & (bins >= lowest)).sum() < number:
        lowest -= 1
    return candidates & (bins >= lowest)


def softmax_top_k(
    logits: np.ndarray,
    label: np.ndarray,
    k_percent: float = 10.0,
    ignore_label: int | None = None,
    normalization: str = "VALID",
) -> LossResult:
    """Mean softmax cross-entropy of the hardest pixels of the batch.

    Takes the k % of the valid pixels with the highest cross-entropy, rounded down, at
    least one, with ties broken by index order. The gradient treats the selection as
    constant.

    Parameters
    ----------
    logits : floating (N, C, ...)
    label : (N, 1, ...) or (N, ...)
        Classes 0 to C - 1, or `ignore_label`.
    k_percent : float
        Above 0, at most 100.
    ignore_label : int, optional
        Pixels with this label are excluded throughout.
    normalization : {"FULL", "VALID", "BATCH_SIZE", "NONE"}
        Divisor; VALID counts the selected pixels.

    Returns
    -------
    LossResult

    Raises
    ------
    UserError
        If shapes do not match, a label is not allowed or an option is out of
        range.

    References
    ----------
    T. Pohlen et al. Full-resolution residual networks for semantic segmentation in
    street scenes. CVPR 2017, arXiv:1611.08323.
    """
    check_range("k_percent", k_percent, 0, 100, above=True)
    logits, label = np.asarray(logits), np.asarray(label)
    pixels = softmax_pixels(logits, label, ignore_label)
    number = share_of(k_percent, int(pixels.valid.sum()))
    chosen = hardest(pixels.cross_entropy, pixels.valid, number)
    divisor = normalizer(normalization, label.shape, number)
    grad = np.where(chosen[:, None], pixels.cross_entropy_grad, 0) / divisor
    per_pixel = np.where(chosen, pixels.cross_entropy, 0).astype(np.float64) / divisor
    return LossResult(
        loss=float(pixels.cross_entropy[chosen].sum(dtype=np.float64) / divisor),
        grad=grad.reshape(logits.shape).astype(logits.dtype),
        mask=np.where(pixels.valid, chosen, -1).astype(np.int8).reshape(label.shape),
        per_pixel=per_pixel.reshape(label.shape),
    )
