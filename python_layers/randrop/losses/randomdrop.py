"""Random drop loss."""

import numpy as np

from randrop.errors import UserError
from randrop.losses.common import (
    LossResult,
    balanced_cross_entropy,
    binary_label,
    check_choice,
    group_shape,
    hardest,
    sigmoid,
    softplus,
    without_infinity,
)
from randrop.losses.philox import TILE, uniforms

SCHEDULES = ("LINEAR", "SQU", "LOG", "NONE")
KEEPS = ("BY_DIFFICULTY", "UNIFORM", "HARDEST")


def drop_probability(logits: np.ndarray, schedule: str = "LOG") -> np.ndarray:
    """Return d(p), the probability with which a negative is dropped.

    Parameters
    ----------
    logits : floating (...)
        p = sigmoid(logits).
    schedule : {"LINEAR", "SQU", "LOG", "NONE"}
        1 - p, (1 - p)^2, 1 + log10(1 - p) (not clipped: at most 0 from p = 0.9 on,
        so nothing is dropped there), or 0.

    Returns
    -------
    floating (...)

    Raises
    ------
    UserError
        If the schedule is unknown.
    """
    check_choice("schedule", schedule, SCHEDULES)
    logits = np.asarray(logits)
    if schedule == "LOG":
        return 1 - softplus(logits) * logits.dtype.type(1 / np.log(10))
    if schedule == "NONE":
        return np.zeros_like(logits)
    q = sigmoid(-logits)
    return q if schedule == "LINEAR" else q * q


def keep_probability(logits: np.ndarray, schedule: str = "LOG") -> np.ndarray:
    """Return 1 - d(p), at most 1: the probability with which a negative is kept.

    Parameters
    ----------
    logits, schedule
        As in `drop_probability`.

    Returns
    -------
    floating (...)
        With all digits where it is small; 1 for NaN.

    Raises
    ------
    UserError
        If the schedule is unknown.
    """
    check_choice("schedule", schedule, SCHEDULES)
    logits = np.asarray(logits)
    if schedule == "LOG":
        keep = softplus(logits) * logits.dtype.type(1 / np.log(10))
    elif schedule == "NONE":
        keep = np.ones_like(logits)
    else:
        p = sigmoid(logits)
        keep = p if schedule == "LINEAR" else p * (1 + sigmoid(-logits))
    return np.where(keep < 1, keep, 1).astype(logits.dtype, copy=False)


def random_drop(
    logits: np.ndarray,
    label: np.ndarray,
    schedule: str = "LOG",
    seed: int = 0,
    iteration: int = 0,
    ignore_label: int | None = None,
    balance: str = "PER_CHANNEL",
    normalization: str = "BATCH_SIZE",
    drop: bool = True,
    keep: str = "BY_DIFFICULTY",
    first_element: int = 0,
) -> LossResult:
    """Class-balanced cross-entropy over positives and a random choice of negatives.

    A negative is dropped when its uniform number (`losses.philox.uniforms`) is below
    `drop_probability`. In a group with N+ positives and K kept negatives, positives
    weigh K / (K + N+) and kept negatives N+ / (K + N+); dropped ones weigh 0. The loss
    is the weighted sum of cross-entropies over the normalizer. A group adds nothing if
    it has no positives or no kept negatives (then w+ = 0). The gradient treats the
    choice and the weights as constants.

    Parameters
    ----------
    logits : floating (N, C, ...)
    label : (N, C, ...)
        0, 1 or `ignore_label`.
    schedule : {"LINEAR", "SQU", "LOG", "NONE"}
        Drop probability; NONE is class-balanced cross-entropy (HED).
    seed, iteration : int
        Determine the mask: the key, and the number of the forward pass.
    ignore_label : int, optional
        Elements with this label are excluded throughout.
    balance : {"PER_CHANNEL", "PER_IMAGE", "BATCH"}
        A group is one channel of one image, one image, or the batch.
    normalization : {"FULL", "VALID", "BATCH_SIZE", "NONE"}
        Divisor as Caffe's loss_param names it.
    drop : bool
        False keeps every negative, as the layer does in the TEST phase.
    keep : {"BY_DIFFICULTY", "UNIFORM", "HARDEST"}
        Which negatives. UNIFORM and HARDEST keep the share of a group's that the
        schedule would keep, S of N-, with S the sum of min(1, 1 - d(p)) over them:
        UNIFORM each with probability S / N-, HARDEST the floor(S + 1/2) with the
        largest logits, with ties broken by index order.
    first_element : int
        Number of the first element, a multiple of 64: the mask is that of the elements
        from this one on of a larger batch.

    Returns
    -------
    LossResult
        The gradient has the dtype of `logits`.

    Raises
    ------
    UserError
        If shapes differ, a label is not allowed or an option is unknown.

    References
    ----------
    S. Guo et al. Random drop loss for tiny object segmentation: application to lesion
    segmentation in fundus images. ICANN 2019, doi:10.1007/978-3-030-30508-6_18.
    """
    check_choice("keep", keep, KEEPS)
    if first_element < 0 or first_element % TILE:
        raise UserError(
            f"first_element is {first_element}, which is not a multiple of {TILE}, the "
            "number of elements whose random numbers are computed together"
        )
    logits, label = np.asarray(logits), np.asarray(label)
    positive, ignored = binary_label(logits, label, ignore_label)
    groups = group_shape(logits.shape, balance)
    # NaN (and infinity, which became NaN) is kept and shows in the loss.
    x = without_infinity(logits).reshape(groups)
    negative = ~(positive | ignored).reshape(groups)
    kept = negative
    if drop and schedule != "NONE":
        expected = np.where(negative, keep_probability(x, schedule), 0).sum(
            1, dtype=np.float64
        )
        if keep == "HARDEST":
            wanted = (expected + 0.5).astype(int)
            kept = np.stack(
                [hardest(*g) for g in zip(x, negative, wanted, strict=True)]
            )
        else:
            threshold = drop_probability(x, schedule)
            if keep == "UNIFORM":
                share = expected / np.maximum(1, negative.sum(1))
                threshold = np.where(np.isnan(x), 0, 1 - share[:, None])
                threshold = threshold.astype(logits.dtype)
            u = uniforms(seed, iteration, logits.size, first_element)
            u = u.reshape(groups)
            kept = negative & ~(u < threshold)

    return balanced_cross_entropy(
        logits, positive, kept.reshape(logits.shape), ignored, balance, normalization
    )
