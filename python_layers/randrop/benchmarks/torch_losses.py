"""The losses as PyTorch users write them, for timing.

Every function takes logits (N, C, ...) and labels, of the same shape for a sigmoid and
(N, 1, ...) for a softmax.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
TINY = 1e-7


def bce(logits: torch.Tensor, label: torch.Tensor, mean: bool = True) -> torch.Tensor:
    """Return binary cross-entropy."""
    kind = "mean" if mean else "none"
    return functional.binary_cross_entropy_with_logits(logits, label, reduction=kind)


def ce(logits: torch.Tensor, label: torch.Tensor, mean: bool = True) -> torch.Tensor:
    """Return softmax cross-entropy."""
    kind = "mean" if mean else "none"
    return functional.cross_entropy(logits, label[:, 0].long(), reduction=kind)


def balanced(
    loss: torch.Tensor, positive: torch.Tensor, kept: torch.Tensor
) -> torch.Tensor:
    """Weigh each channel's positives and kept negatives by each other's count."""
    axes = tuple(range(2, loss.dim()))
    n, k = (mask.sum(axes, keepdim=True) for mask in (positive, kept))
    total = (n + k).clamp(min=1)
    weight = positive * (k / total) + kept * (n / total)
    return (weight * loss).sum() / len(loss)


DROP: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "LINEAR": lambda x: torch.sigmoid(-x),
    "SQU": lambda x: torch.sigmoid(-x) ** 2,
    "LOG": lambda x: 1 - functional.softplus(x) / math.log(10),
}


def random_drop(
    logits: torch.Tensor, label: torch.Tensor, schedule: str = "LOG"
) -> torch.Tensor:
    """Return the random drop loss; with another schedule, class-balanced BCE."""
    positive = label == 1
    loss = bce(logits, label, mean=False)
    with torch.no_grad():
        kept = ~positive
        if schedule in DROP:
            kept &= torch.rand_like(logits) >= DROP[schedule](logits)
    return balanced(loss, positive, kept)


def hardest_negatives(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return balanced BCE with the 20 hardest negatives per positive."""
    positive = label == 1
    with torch.no_grad():
        hardness = logits.masked_fill(positive, -math.inf).flatten(2)
        kept = torch.zeros_like(hardness, dtype=torch.bool)
        for n in range(len(logits)):
            for c in range(logits.shape[1]):
                k = min(20 * int(positive[n, c].sum()), hardness.shape[-1])
                kept[n, c, hardness[n, c].topk(k).indices] = True
    return balanced(
        bce(logits, label, mean=False), positive, kept.view_as(logits) & ~positive
    )


def bins(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return balanced BCE with the hardest bins of negatives."""
    positive = label == 1
    with torch.no_grad():
        number = (torch.sigmoid(logits) * 5).long().clamp(max=4)
        kept = torch.zeros_like(positive)
        for n in range(len(logits)):
            for c in range(logits.shape[1]):
                negatives = number[n, c][~positive[n, c]]
                have = torch.bincount(negatives, minlength=5).flip(0).cumsum(0)
                wanted = 20 * positive[n, c].sum()
                lowest = 4 - int((have < wanted).sum().clamp(max=4))
                kept[n, c] = number[n, c] >= lowest
    return balanced(bce(logits, label, mean=False), positive, kept & ~positive)


def hardest(
    cross_entropy: Loss, sort: bool = False, percent: float = 10
) -> Callable[..., torch.Tensor]:
    """Return the mean over the hardest pixels, with torch.topk or a full sort."""

    def loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        values = cross_entropy(logits, label, mean=False).flatten()
        k = int(len(values) * percent / 100)
        if sort:
            return values.sort(descending=True).values[:k].mean()
        return values.topk(k, sorted=False).values.mean()

    return loss


def focal(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return sigmoid focal loss as torchvision writes it."""
    p = torch.sigmoid(logits)
    p_true = p * label + (1 - p) * (1 - label)
    alpha = 0.25 * label + 0.75 * (1 - label)
    return (alpha * bce(logits, label, mean=False) * (1 - p_true) ** 2).mean()


def softmax_focal(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return softmax focal loss."""
    loss = ce(logits, label, mean=False)
    return ((1 - torch.exp(-loss)) ** 2 * loss).mean()


def onehot(label: torch.Tensor, classes: int) -> torch.Tensor:
    """Return one channel per class."""
    return functional.one_hot(label[:, 0].long(), classes).movedim(-1, 1).float()


def overlap(p: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean of 1 - Dice with squares."""
    axes = tuple(range(2, p.dim()))
    size = (p**2).sum(axes) + (truth**2).sum(axes)
    return 1 - ((2 * (p * truth).sum(axes) + 1) / (size + 1)).mean()


def dice(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the Dice loss of a sigmoid."""
    return overlap(torch.sigmoid(logits), label)


def softmax_dice(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the Dice loss of a softmax."""
    return overlap(torch.softmax(logits, 1), onehot(label, logits.shape[1]))


def hardest_half(loss: torch.Tensor) -> torch.Tensor:
    """Return 1 for the pixels (N, C, ...) with the highest loss of each channel."""
    flat = loss.detach().flatten(2)
    chosen = flat.topk(flat.shape[-1] // 2, -1, sorted=False).indices
    return torch.zeros_like(flat).scatter_(-1, chosen, 1).view_as(loss)


def top_k_dice(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the Dice loss of a sigmoid's hardest pixels."""
    mask = hardest_half(bce(logits, label, mean=False))
    return overlap(torch.sigmoid(logits) * mask, label * mask)


def softmax_top_k_dice(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the Dice loss of a softmax's hardest pixels."""
    mask = hardest_half(ce(logits, label, mean=False)[:, None])
    truth = onehot(label, logits.shape[1])
    return overlap(torch.softmax(logits, 1) * mask, truth * mask)


def weighted_ce(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy weighted by the root of each class's inverse frequency."""
    own = label[:, 0].long()
    count = torch.bincount(own.flatten(), minlength=logits.shape[1])
    weight = (count.sum() / count.clamp(min=1)).sqrt() * (count > 0)
    loss = functional.cross_entropy(logits, own, weight.float(), reduction="sum")
    return loss / own.numel()


def exp_log(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the exponential logarithmic loss with weights from the batch's counts."""
    log_p = functional.log_softmax(logits, 1)
    p = log_p.exp()
    truth = onehot(label, logits.shape[1])
    axes = tuple(range(2, logits.dim()))
    score = (2 * (p * truth).sum(axes) + 1) / (truth.sum(axes) + p.sum(axes) + 1)
    own = -(log_p * truth).sum(1)
    count = truth.sum((0, *axes))
    weight = (count.sum() / count.clamp(min=1)).sqrt() * (count > 0)
    cross = weight[label[:, 0].long()] * own.clamp(min=TINY) ** 0.3
    return 0.8 * ((-score.log()).clamp(min=TINY) ** 0.3).mean() + 0.2 * cross.mean()


def of_pytorch() -> dict[str, dict[str, Loss]]:
    """Return the losses by activation and by their name in train.py."""
    return {
        "SIGMOID": {
            "cross-entropy": bce,
            "random-drop:LINEAR": lambda x, t: random_drop(x, t, "LINEAR"),
            "random-drop:SQU": lambda x, t: random_drop(x, t, "SQU"),
            "random-drop:LOG": random_drop,
            "class-balanced": lambda x, t: random_drop(x, t, "NONE"),
            "top-k": hardest_negatives,
            "top-k:selection=PERCENT": hardest(bce),
            "bin": bins,
            "focal": focal,
            "dice": dice,
            "top-k-dice": top_k_dice,
        },
        "SOFTMAX": {
            "cross-entropy": ce,
            "top-k": hardest(ce),
            "focal": softmax_focal,
            "dice": softmax_dice,
            "top-k-dice": softmax_top_k_dice,
            "exp-log": exp_log,
            "weighted-cross-entropy": weighted_ce,
        },
    }


def by_a_full_sort() -> dict[str, dict[str, Loss]]:
    """Return the top-k losses that sort."""
    return {
        "SIGMOID": {"top-k:selection=PERCENT": hardest(bce, sort=True)},
        "SOFTMAX": {"top-k": hardest(ce, sort=True)},
    }


def of_others() -> dict[str, dict[str, Loss]]:
    """Return the losses of MONAI and nnU-Net."""
    from monai.losses import DiceLoss, FocalLoss
    from nnunetv2.training.loss.robust_ce_loss import TopKLoss

    options: dict[str, Any] = {"squared_pred": True, "smooth_nr": 1, "smooth_dr": 1}
    softmax = {"softmax": True, "to_onehot_y": True}
    return {
        "SIGMOID": {
            "focal": FocalLoss(gamma=2, alpha=0.25),
            "dice": DiceLoss(sigmoid=True, **options),
        },
        "SOFTMAX": {
            "top-k": TopKLoss(k=10),
            "focal": FocalLoss(gamma=2, use_softmax=True, to_onehot_y=True),
            "dice": DiceLoss(**softmax, **options),
        },
    }
