"""The losses of a command line, such as `focal:gamma=1+dice`, computed by NumPy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from randrop.data.voronoi import cells_of_batch
from randrop.losses import LossResult
from randrop.losses.common import binary_label, normalizer, weighted_cross_entropy
from randrop.losses.focal import softmax_focal
from randrop.losses.registry import LAYERS
from randrop.nets.losses import Loss


def evaluate(
    losses: Sequence[Loss],
    logits: NDArray[np.floating],
    label: NDArray[np.floating],
    ignore_label: int | None = None,
    seed: int = 0,
    iteration: int = 0,
) -> LossResult:
    """Return the weighted sum of losses, as the layers compute it in training.

    Parameters
    ----------
    losses : sequence of Loss
        From `nets.losses.parse_losses`.
    logits : floating (N, C, ...)
    label : (N, C, ...) for sigmoid losses, (N, 1, ...) for softmax losses
    ignore_label : int, optional
    seed, iteration : int
        Choose the random numbers of random drop if the loss does not name its seed:
        the same two give the same numbers, whatever the logits.

    Returns
    -------
    LossResult
        The mask is that of the first loss that selects, else 1 except for ignored
        elements.

    Raises
    ------
    UserError
        If shapes differ, or a label is not allowed.
    """
    results = [
        _one(loss, logits, label, ignore_label, seed, iteration) for loss in losses
    ]
    chooser = next((k for k, loss in enumerate(losses) if selects(loss)), 0)
    weights = [loss.weight for loss in losses]
    pairs = list(zip(weights, results, strict=True))
    return LossResult(
        loss=float(sum(weight * result.loss for weight, result in pairs)),
        grad=sum(weight * result.grad for weight, result in pairs),
        mask=results[chooser].mask,
        per_pixel=sum(weight * result.per_pixel for weight, result in pairs),
    )


def selects(loss: Loss) -> bool:
    """Return whether a loss leaves pixels out, so that its mask tells something."""
    known = LAYERS.get(loss.type)
    none = loss.params.get("schedule_type") == "NONE"
    return known is not None and known.mask and not none


def _one(
    loss: Loss,
    logits: NDArray[np.floating],
    label: NDArray[np.floating],
    ignore_label: int | None,
    seed: int,
    iteration: int,
) -> LossResult:
    options = dict(loss.params)
    options["ignore_label"] = ignore_label
    if loss.normalization:
        options["normalization"] = loss.normalization
    if loss.type == "SigmoidCrossEntropyLoss":
        return sigmoid_cross_entropy(logits, label, **options)
    if loss.type == "SoftmaxWithLoss":
        # With gamma 0, focal loss is cross-entropy; both divide by VALID by default.
        return softmax_focal(logits, label, gamma=0, **options)
    if loss.is_random_drop:
        options["schedule"] = options.pop("schedule_type", "LOG")
        options["iteration"] = options.pop("first_iteration", 0) + iteration
        options.setdefault("seed", seed)
        options.pop("drop_in_test", None)
    if loss.cells:
        options["cells"] = cells_of_batch(label, logits.shape)
    return LAYERS[loss.type].function(logits, label, **options)


def sigmoid_cross_entropy(
    logits: NDArray[np.floating],
    label: NDArray[np.floating],
    ignore_label: int | None = None,
    normalization: str = "BATCH_SIZE",
) -> LossResult:
    """Return what Caffe's SigmoidCrossEntropyLoss computes, and each pixel's part.

    Parameters
    ----------
    logits, label : (N, C, ...)
    ignore_label : int, optional
    normalization : {"FULL", "VALID", "BATCH_SIZE", "NONE"}

    Raises
    ------
    UserError
        If shapes differ, or a label is not allowed.
    """
    logits, label = np.asarray(logits), np.asarray(label)
    positive, ignored = binary_label(logits, label, ignore_label)
    divisor = normalizer(normalization, logits.shape, logits.size - ignored.sum())
    return weighted_cross_entropy(logits, positive, ~ignored, ignored, 1 / divisor)
