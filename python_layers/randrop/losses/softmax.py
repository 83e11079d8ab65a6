"""What the softmax losses share."""

from typing import NamedTuple

import numpy as np

from randrop.errors import UserError
from randrop.losses.common import check_logits, without_infinity


class Pixels(NamedTuple):
    """The softmax of every pixel, and what its label says.

    Relative accuracy holds even where the true class is almost certain: 1 - p and
    -log p come from the sum over the other classes. If one logit of a pixel is NaN or
    infinite, all its values are NaN. Exception: minus infinity rules out a class other
    than the true one (p = 0).

    Attributes
    ----------
    probability : floating (N, C, M)
        M pixels per image.
    truth : bool (N, C, M)
        Whether the class is the true one; False for all classes of an ignored pixel.
    own : int (N, M)
        The true class, -1 where ignored.
    complement : floating (N, M)
        1 - p of the true class; 0 where ignored.
    cross_entropy : floating (N, M)
        -log p of the true class; 0 where ignored. Finite even where the difference of
        two logits is not.
    """

    probability: np.ndarray
    truth: np.ndarray
    own: np.ndarray
    complement: np.ndarray
    cross_entropy: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """Whether a pixel is not ignored, bool (N, M)."""
        return self.own >= 0

    @property
    def cross_entropy_grad(self) -> np.ndarray:
        """The derivative of -log p by the logits, floating (N, C, M)."""
        valid = self.valid[:, None]
        grad = np.where(self.truth, -self.complement[:, None], self.probability)
        return np.where(valid, grad, 0)


def softmax_pixels(
    logits: np.ndarray, label: np.ndarray, ignore_label: int | None
) -> Pixels:
    """Check logits and label of a softmax loss and compute what the losses need.

    Parameters
    ----------
    logits : floating (N, C, ...)
    label : (N, 1, ...) or (N, ...)
        Classes 0 to C - 1, or `ignore_label`.
    ignore_label : int or None

    Returns
    -------
    Pixels

    Raises
    ------
    UserError
        If shapes do not match or a label has another value; names the first such pixel.
    """
    own = _classes(logits, label, ignore_label)
    n, c = logits.shape[:2]
    valid = own >= 0
    truth = np.arange(c)[:, None] == own[:, None]
    x = np.where(valid[:, None], logits.reshape(n, c, -1), 0)
    x = np.where((x == -np.inf) & ~truth, x, without_infinity(x))
    largest = x.max(1)
    own_logit = np.where(truth, x, 0).sum(1)
    with np.errstate(over="ignore"):
        e = np.exp(x - largest[:, None])
        below = np.minimum(largest - own_logit, np.finfo(x.dtype).max)
    others = np.where(truth, 0, e).sum(1)
    total = e.sum(1)
    cross_entropy = np.where(below == 0, np.log1p(others), below + np.log(total))
    return Pixels(
        probability=e / total[:, None],
        truth=truth,
        own=own,
        complement=np.where(valid, others / total, 0),
        cross_entropy=np.where(valid, cross_entropy, 0),
    )


def _classes(
    logits: np.ndarray, label: np.ndarray, ignore_label: int | None
) -> np.ndarray:
    """Return the true class of each pixel, int (N, M), -1 where ignored."""
    check_logits(logits)
    n, c, *spatial = logits.shape
    if label.shape not in ((n, 1, *spatial), (n, *spatial)):
        raise UserError(
            f"logits have shape {logits.shape} and label {label.shape}: a softmax "
            "loss needs one label for each pixel, N x 1 x spatial or N x spatial"
        )
    ignored = np.zeros(label.shape, bool)
    if ignore_label is not None:
        ignored = label == ignore_label
    with np.errstate(invalid="ignore"):
        own = np.where(ignored | ~(abs(label) < 2**31), -1.0, label).astype(int)
    bad = ~ignored & ((own != label) | (own < 0) | (own >= c))
    if bad.any():
        where = tuple(int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
        also = "" if ignore_label is None else f" and {ignore_label} (ignore)"
        cause = (
            "the network has fewer channels than there are classes"
            if label[where] >= c and label[where] != 255
            else "if this value marks pixels to ignore, set loss_param { ignore_label }"
        )
        raise UserError(
            f"label {label[where]:g} at {where}; allowed: the classes 0 to "
            f"{c - 1}{also}. Likely: {cause}"
        )
    return own.reshape(n, -1)


def softmax_grad(probability: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return the derivative by the logits, given the one by the probabilities.

    Let s be the slopes of a pixel's classes: dL/dx_c = p_c (s_c - sum_k p_k s_k). The
    result does not change if the slope of the likeliest class is subtracted from s, and
    then contains no 1 - p.

    Parameters
    ----------
    probability, slope : floating (N, C, M)
    """
    likeliest = probability.argmax(1)[:, None]
    slope = slope - np.take_along_axis(slope, likeliest, 1)
    mean = (probability * slope).sum(1, keepdims=True)
    return probability * (slope - mean)
