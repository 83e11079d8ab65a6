"""What the losses share: logistic functions, checks, groups, balance, normalisation."""

from typing import Any, NamedTuple

import numpy as np

from randrop.errors import UserError

LARGEST = float(np.finfo(np.float32).max)
"""The largest number of single precision, in which the native layers compute."""

NORMALIZATIONS = ("FULL", "VALID", "BATCH_SIZE", "NONE")
BALANCES = ("PER_CHANNEL", "PER_IMAGE", "BATCH")


class _Three(NamedTuple):
    loss: float
    grad: np.ndarray
    mask: np.ndarray


class LossResult(_Three):
    """A loss, its gradient, and which elements took part.

    It unpacks to these three. Beside them it has the loss of each pixel.

    Attributes
    ----------
    loss : float
        The scalar loss.
    grad : floating (N, C, ...)
        Its derivative by the logits, in their dtype.
    mask : int8
        In the shape of the label: 1 used, 0 dropped or left out, -1 ignored.
    per_pixel : float64 or None
        In the shape of the label: each pixel's part of the loss. The parts are
        normalised: they are at least 0, and their sum is the loss. A softmax's classes
        are summed. Ignored and dropped pixels have 0, except dropped ones that are NaN
        or infinite: they make the loss NaN, and have NaN.

        No pixel has a Dice or a Tversky index of its own. There, the loss of a group is
        spread in proportion to its pixels' errors. The parts say which pixels cause the
        loss, not what a change of one pixel would gain. If a logit is NaN, so is all of
        its group. A group without an error has no parts, although an exponent below 1
        may leave it a small loss.
    """

    per_pixel: np.ndarray | None = None

    def __new__(
        cls,
        loss: float,
        grad: np.ndarray,
        mask: np.ndarray,
        *,
        per_pixel: np.ndarray | None = None,
    ) -> "LossResult":
        """Make the tuple of three, and keep the parts as an attribute."""
        self = super().__new__(cls, loss, grad, mask)
        self.per_pixel = per_pixel
        return self

    def _replace(self, **fields: Any) -> "LossResult":
        per_pixel = fields.pop("per_pixel", self.per_pixel)
        return LossResult(*super()._replace(**fields), per_pixel=per_pixel)

    __replace__ = _replace


def softplus(x: np.ndarray) -> np.ndarray:
    """Return log(1 + exp(x)) without overflow: -log(1 - p) at logit x."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), with full relative accuracy on both sides."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def check_range(
    name: str, value: float, low: float, high: float = LARGEST, above: bool = False
) -> None:
    """Refuse a number below `low` (or equal to it, with `above`), above `high` or NaN.

    Without `high`, also refuse a number that is infinite in single precision.

    Raises
    ------
    UserError
        Naming the parameter, the value and the range.
    """
    if not (value > low if above else value >= low) or not value <= high:
        wanted = f"{'above' if above else 'at least'} {low:g}"
        wanted += f" and at most {high:g}" if high < LARGEST else " and finite"
        raise UserError(f"{name} is {value:g}: it must be {wanted}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among the choices.

    Raises
    ------
    UserError
        Naming the parameter, the value and the choices.
    """
    if value not in choices:
        raise UserError(f"{name} is {value!r}: choose one of {', '.join(choices)}")


def without_infinity(logits: np.ndarray) -> np.ndarray:
    """Return the logits with infinite values replaced by NaN.

    An infinite logit means that the network overflowed, whichever class it favours. It
    must show in the loss, as NaN does.
    """
    return np.where(np.isinf(logits), np.nan, logits).astype(logits.dtype, copy=False)


def binary_label(
    logits: np.ndarray, label: np.ndarray, ignore_label: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Check logits and label of a sigmoid loss and split the label.

    Parameters
    ----------
    logits : floating (N, C, ...)
    label : (N, C, ...)
        0, 1 or `ignore_label`.
    ignore_label : int or None

    Returns
    -------
    positive, ignored : bool (N, C, ...)

    Raises
    ------
    UserError
        If shapes differ, there are fewer than two axes, or a label has another value;
        the message names the first such element.
    """
    if logits.shape != label.shape:
        raise UserError(
            f"logits have shape {logits.shape} and label {label.shape}: a sigmoid "
            "loss needs one label for each logit, N x C x spatial"
        )
    check_logits(logits)
    positive = label == 1
    ignored = np.zeros(label.shape, bool)
    if ignore_label is not None:
        ignored = label == ignore_label
        positive &= ~ignored
    bad = ~(positive | ignored | (label == 0))
    if bad.any():
        where = np.unravel_index(bad.argmax(), bad.shape)
        raise UserError(label_message(label[where], where, ignore_label))
    return positive, ignored


def check_logits(logits: np.ndarray) -> None:
    """Refuse logits that have no channel axis or no elements.

    Raises
    ------
    UserError
        Naming the shape.
    """
    if logits.ndim < 2:
        raise UserError(
            f"logits have shape {logits.shape}: the loss needs N x C x spatial"
        )
    if not logits.size:
        raise UserError(
            f"logits have shape {logits.shape}, without a pixel: every axis must have "
            "at least one element"
        )


def label_message(
    value: float, where: tuple[int, ...], ignore_label: int | None
) -> str:
    """Return the sentence for a label that is neither 0, 1 nor ignored."""
    n, c, *spatial = (int(i) for i in where)
    names = ["z", "y", "x"][-len(spatial) :] if 0 < len(spatial) <= 3 else []
    places = [f"n = {n}", f"c = {c}"]
    if names:
        places += [f"{name} = {i}" for name, i in zip(names, spatial, strict=True)]
    elif spatial:
        places.append(f"position {tuple(spatial)}")
    allowed = "0 and 1" if ignore_label is None else f"0, 1 and {ignore_label} (ignore)"
    cause = (
        "an 8-bit mask with values 0 and 255: divide it by 255"
        if value == 255
        else "if this value marks pixels to ignore, set loss_param { ignore_label }"
    )
    return (
        f"label {value:g} at {', '.join(places)}; allowed: {allowed}. Likely: {cause}"
    )


def group_shape(shape: tuple[int, ...], balance: str) -> tuple[int, int]:
    """Return (groups, elements per group); a group is contiguous in memory."""
    check_choice("balance", balance, BALANCES)
    axes = {"PER_CHANNEL": 2, "PER_IMAGE": 1, "BATCH": 0}[balance]
    return int(np.prod(shape[:axes])), int(np.prod(shape[axes:]))


def normalizer(normalization: str, shape: tuple[int, ...], valid: int) -> float:
    """Return the divisor that Caffe's `loss_param.normalization` names, at least 1.

    FULL: all elements; VALID: elements that are not ignored (dropped ones count);
    BATCH_SIZE: N; NONE: 1.
    """
    check_choice("normalization", normalization, NORMALIZATIONS)
    divisor = {
        "FULL": int(np.prod(shape)),
        "VALID": valid,
        "BATCH_SIZE": shape[0],
        "NONE": 1,
    }[normalization]
    return float(max(1, divisor))


def balanced_cross_entropy(
    logits: np.ndarray,
    positive: np.ndarray,
    kept: np.ndarray,
    ignored: np.ndarray,
    balance: str,
    normalization: str,
    positive_weight: float = 1.0,
) -> LossResult:
    """Return cross-entropy over positives and kept negatives, balanced per group.

    Parameters
    ----------
    logits : floating (N, C, ...)
    positive, kept, ignored : bool (N, C, ...)
        Kept negatives are not positives.
    balance, normalization : str
        As in `group_shape` and `normalizer`.
    positive_weight : float
        A factor on the weight of the positives.
    """
    groups = group_shape(logits.shape, balance)
    w_positive, w_negative = balance_weights(
        positive.reshape(groups).sum(1), kept.reshape(groups).sum(1)
    )
    weight = np.where(
        positive.reshape(groups), positive_weight * w_positive[:, None],
        w_negative[:, None],
    ).reshape(logits.shape)  # fmt: skip
    divisor = normalizer(normalization, logits.shape, logits.size - ignored.sum())
    return weighted_cross_entropy(
        logits, positive, positive | kept, ignored, weight / divisor
    )


def weighted_cross_entropy(
    logits: np.ndarray,
    positive: np.ndarray,
    takes_part: np.ndarray,
    ignored: np.ndarray,
    weight: np.ndarray | float,
) -> LossResult:
    """Return the weighted sum of cross-entropies of the elements used."""
    # -log p = softplus(-x) and -log(1 - p) = softplus(x): one form for both classes.
    sign = np.where(positive, -1, 1).astype(logits.dtype)
    z = np.where(takes_part, sign * without_infinity(logits), 0)
    # NaN and infinity show in the loss even in dropped elements.
    hidden = np.where(ignored | takes_part, 0, logits)
    cross_entropy = np.where(takes_part, softplus(z), 0)
    grad = np.where(takes_part, weight * sign * sigmoid(z), 0)
    per_pixel = weight * cross_entropy.astype(np.float64)
    per_pixel[~np.isfinite(hidden)] = np.nan
    return LossResult(
        loss=float(per_pixel.sum()),
        grad=grad.astype(logits.dtype),
        mask=np.where(ignored, -1, takes_part).astype(np.int8),
        per_pixel=per_pixel,
    )


def hardest(hardness: np.ndarray, candidates: np.ndarray, number: int) -> np.ndarray:
    """Mark the hardest candidates; ties are broken by index order.

    Parameters
    ----------
    hardness : floating (...)
        NaN counts as hardest.
    candidates : bool (...)
    number : int
        How many to mark; all if there are fewer.

    Returns
    -------
    bool (...)
    """
    (where,) = np.nonzero(candidates.ravel())
    values = hardness.ravel()[where]
    order = np.argsort(-np.where(np.isnan(values), np.inf, values), kind="stable")
    chosen = np.zeros(candidates.size, bool)
    chosen[where[order[:number]]] = True
    return chosen.reshape(candidates.shape)


def rounded_down(product: float) -> int:
    """Return a product of decimal numbers rounded down.

    33.3 % of 3000 are 999, although the float nearest to 33.3 is below it: the largest
    rounding error of three operations is added first.
    """
    return int(product * (1 + 2.0**-50))


def share_of(k_percent: float, count: int) -> int:
    """Return k % of `count` pixels, rounded down but at least one."""
    return max(1, rounded_down(count * k_percent / 100)) if count else 0


def balance_weights(positives: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return (w+, w-) = (K, N+) / (K + N+) for each group, 0 for an empty group.

    Parameters
    ----------
    positives, kept : int (G,)
        N+, and K, the number of negatives used.

    Returns
    -------
    float64 (2, G)
    """
    return np.stack([kept, positives]) / np.maximum(1, positives + kept)
