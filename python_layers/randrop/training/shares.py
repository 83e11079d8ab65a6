"""The share of a batch that one of several processes trains on.

The processes, called ranks as in MPI, average their gradients. The average is the
gradient of the whole batch if the loss is a mean over images; where it is a sum, or is
divided by a number that depends on the labels, each rank's loss gets a factor; where a
group of pixels reaches over the images of a batch, the shares do not determine it.
"""

import dataclasses
import inspect
from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.losses import philox
from randrop.losses.options import NormalizedOptions
from randrop.losses.registry import LAYERS
from randrop.nets.losses import Loss


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of each batch.

    Attributes
    ----------
    rank : int
        From 0.
    ranks : int
        How many there are.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, batch: int) -> int:
        """Return how many of a batch's images belong to a rank.

        Raises
        ------
        UserError
            If the batch cannot be divided.
        """
        if batch % self.ranks:
            fitting = [n for n in range(1, self.ranks) if not batch % n]
            raise UserError(
                f"--batch {batch} cannot be divided among {self.ranks} ranks: start "
                f"{' or '.join(map(str, fitting))} of them (mpiexec -n), or use "
                f"--batch {batch // self.ranks * self.ranks + self.ranks}"
            )
        return batch // self.ranks


WHOLE = Share()
"""The whole batch, of a training by one process."""


class Rule(Enum):
    """How the losses of the shares make that of the batch."""

    MEAN = "the mean of the shares"
    SUM = "the sum of the shares"
    VALID = "the mean of the shares, weighted by their labels that are not ignored"
    GROUPS = "the mean of the shares, weighted by their channels with such labels"

    @property
    def counts(self) -> bool:
        """Whether the factor depends on the labels."""
        return self in (Rule.VALID, Rule.GROUPS)

    def count(self, label: NDArray[np.floating], ignore_label: int) -> int:
        """Return the number of labels, or of channels, that weighs a share.

        Parameters
        ----------
        label : floating (N, C, ...)
        ignore_label : int
        """
        valid = label != ignore_label
        if self is Rule.GROUPS:
            valid = valid.reshape(*label.shape[:2], -1).any(-1)
        return int(np.count_nonzero(valid))

    def factor(self, own: float, all_of_them: float, ranks: int) -> float:
        """Return what a rank's loss is multiplied by, before the ranks are averaged.

        Parameters
        ----------
        own, all_of_them : float
            The count of this rank and the sum over all.
        ranks : int
        """
        if self.counts:
            # As the losses divide: by at least 1.
            return ranks * max(1, own) / max(1, all_of_them)
        return float(ranks) if self is Rule.SUM else 1.0


def rule_of(loss: Loss, ignores: bool) -> Rule:
    """Return how the shares' values of a loss make the batch's.

    Parameters
    ----------
    loss : Loss
    ignores : bool
        Whether labels may be ignored; otherwise all shares have as many.

    Raises
    ------
    UserError
        If they do not determine it; names the option.
    """
    why = _over_the_batch(loss, ignores)
    if why:
        raise UserError(f"loss {loss.name} cannot be divided among ranks: {why}")
    if loss.type in LAYERS and not issubclass(
        LAYERS[loss.type].options, NormalizedOptions
    ):
        # A mean over images and classes; the cross term of ExpLog is one over pixels.
        cross = loss.type == "ExpLogLoss" and loss.params.get("weight_cross", 0.2) > 0
        rule = Rule.VALID if cross else Rule.GROUPS
    else:
        mode = loss.normalization or _default(loss.type)
        rule = {"NONE": Rule.SUM, "VALID": Rule.VALID}.get(mode, Rule.MEAN)
    return Rule.MEAN if rule.counts and not ignores else rule


def _default(layer: str) -> str:
    """Return the normalization that a layer uses unless one is given."""
    if layer not in LAYERS:
        return "BATCH_SIZE" if layer == "SigmoidCrossEntropyLoss" else "VALID"
    function = inspect.signature(LAYERS[layer].function)
    return function.parameters["normalization"].default


def _over_the_batch(loss: Loss, ignores: bool) -> str:
    """Return which option lets a group reach over the images of a batch, if any."""
    given = loss.params
    if given.get("balance") == "BATCH":
        return (
            "balance=BATCH counts positives and negatives over the whole batch: use "
            "balance=PER_IMAGE or PER_CHANNEL"
        )
    if given.get("batch"):
        return "batch=true adds up the overlap over the whole batch: omit it"
    if loss.type == "SoftmaxTopKLoss":
        return (
            "it chooses the hardest pixels of the whole batch: use one rank, or "
            "another loss"
        )
    if given.get("selection") == "PERCENT":
        return (
            "k_percent chooses the hardest pixels of the whole batch: use top-k "
            "without a percentage (negatives_per_positive), or one rank"
        )
    if loss.type == "ExpLogLoss" and given.get("weight_cross", 0.2) != 0:
        if not given.get("label_frequency"):
            return (
                "without label_frequency, the weights of the classes are counted in "
                "the whole batch: use label_frequency=train"
            )
        if ignores and given.get("weight_dice", 0.8) != 0:
            return (
                "its two terms are divided differently where labels are ignored: use "
                "weight_dice=0 or weight_cross=0, and add the other one as a second "
                "loss"
            )
    return ""


def drawing(loss: Loss, share: Share, elements: int) -> Loss:
    """Return a loss that draws for the elements of this share.

    Parameters
    ----------
    loss : Loss
    share : Share
    elements : int
        Logits of a share.

    Raises
    ------
    UserError
        If the share does not begin where a tile of random numbers does.
    """
    if share.ranks == 1 or not loss.drops:
        return loss
    if elements % philox.TILE:
        raise UserError(
            f"the {elements} logits of a rank's share are not a multiple of "
            f"{philox.TILE}, whose random numbers are drawn together: use a --patch "
            "that is a multiple of 8"
        )
    first = {"first_element": share.rank * elements} if share.rank else {}
    return dataclasses.replace(loss, params={**loss.params, **first})


def rules(losses: Sequence[Loss], ignores: bool) -> list[Rule]:
    """Return the rule of each loss; see `rule_of`."""
    return [rule_of(loss, ignores) for loss in losses]
