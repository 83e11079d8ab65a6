"""Shares of a batch: what ranks compute from theirs is what one process computes."""

import numpy as np
import pytest

from randrop.errors import UserError
from randrop.losses.registry import NAMES
from randrop.nets.losses import parse_losses
from randrop.surface import numpy_losses
from randrop.training.shares import Share, drawing, rule_of

IMAGES, CHANNELS, SIDE, IGNORE = 4, 3, 16, 255

# Options that change what a group is or what is divided by, besides the defaults.
MORE = {
    "cross-entropy": (
        "normalization=VALID",
        "normalization=NONE",
        "normalization=FULL",
    ),
    "random-drop": (
        *("SQU", "LOG,keep=UNIFORM", "LOG,keep=HARDEST", "LINEAR,balance=PER_IMAGE"),
        *("LOG,normalization=VALID", "LOG,normalization=NONE", "LOG,balance=BATCH"),
    ),
    "class-balanced": ("balance=PER_IMAGE", "balance=BATCH", "normalization=VALID"),
    "top-k": ("normalization=VALID", "10", "balance=BATCH"),
    "bin": ("balance=PER_IMAGE", "balance=BATCH"),
    "focal": ("normalization=VALID", "alpha_mode=PER_IMAGE", "normalization=NONE"),
    "dice": ("batch=true", "cells=true", "weight_cross=1", "gamma=2"),
    "cc-dice-ce": ("batch=true",),
    "top-k-dice": ("region=FOREGROUND", "batch=true"),
    "tversky": ("batch=true", "gamma=0.75", "cells=true"),
    "exp-log": (
        *("weight_cross=0", "label_frequency=train,weight_dice=0", "batch=true"),
        "label_frequency=train",
    ),
    "weighted-cross-entropy": ("label_frequency=train", "normalization=FULL"),
}


def texts():
    for name, kind in NAMES.items():
        for activation in ("SIGMOID", "SOFTMAX"):
            if kind.layer(activation):
                for more in ("", *MORE.get(name, ())):
                    yield f"{name}:{more}" if more else name, activation


def parsed(text, activation):
    try:
        return parse_losses(text, activation, [0.9, 0.07, 0.03])[0]
    except UserError:
        pytest.skip("the other activation's option")


def batch(activation, ignores, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (IMAGES, CHANNELS, SIDE, SIDE))
    if activation == "SIGMOID":
        label = (rng.random(logits.shape) < 0.2).astype(float)
    else:
        label = rng.integers(0, CHANNELS, (IMAGES, 1, SIDE, SIDE)).astype(float)
    if ignores:
        # Another number in each image; one image has nothing else.
        for n, share in enumerate((0.1, 1.0, 0.5, 0.0)):
            label[n][rng.random(label[n].shape) < share] = IGNORE
    return logits, label


def gradient(loss, logits, label, ignores):
    found = numpy_losses.evaluate(
        [loss], logits, label, IGNORE if ignores else None, seed=3
    )
    return found.grad, found.loss


def of_ranks(loss, logits, label, ignores, ranks):
    """What the ranks get: each its own loss, times its factor, averaged."""
    rule = rule_of(loss, ignores)
    size = IMAGES // ranks
    parts = [slice(r * size, (r + 1) * size) for r in range(ranks)]
    counts = [rule.count(label[part], IGNORE) for part in parts]
    total, gradients = 0.0, []
    for r, part in enumerate(parts):
        own = drawing(loss, Share(r, ranks), logits[part].size)
        grad, value = gradient(own, logits[part], label[part], ignores)
        factor = rule.factor(counts[r], sum(counts), ranks)
        total += factor * value / ranks
        gradients.append(factor * grad / ranks)
    return np.concatenate(gradients), total


@pytest.mark.parametrize("ignores", [False, True], ids=["all", "ignored"])
@pytest.mark.parametrize(("text", "activation"), list(texts()))
def test_the_average_of_the_ranks_is_the_batch(text, activation, ignores):
    """Or the loss is refused; then it is another number indeed."""
    loss = parsed(text, activation)
    logits, label = batch(activation, ignores)
    whole, value = gradient(loss, logits, label, ignores)
    try:
        rule_of(loss, ignores)
    except UserError as error:
        assert loss.name in str(error)
        # Without the refusal, the mean would be wrong: the refusal is needed.
        halves = [gradient(loss, logits[p], label[p], ignores)[0] for p in PARTS]
        assert (
            np.abs(np.concatenate(halves) / 2 - whole).max()
            > 1e-4 * np.abs(whole).max()
        )
        return
    for ranks in (1, 2, 4):
        found, total = of_ranks(loss, logits, label, ignores, ranks)
        np.testing.assert_allclose(found, whole, rtol=1e-9, atol=1e-15)
        assert total == pytest.approx(value, rel=1e-9)


PARTS = (slice(0, 2), slice(2, 4))
