"""Prints the results of every native layer for non-finite logits, as JSON.

test_nonfinite.py runs it in a separate process, because Caffe chooses the vector
instructions when it is loaded.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from loss_family import BY_TYPE, examples_beside, layer_text, loss_net, of_layer, run

from randrop import losses
from randrop.losses.registry import LAYERS
from randrop.pycaffe.build import import_caffe

IGNORE = 7
# One that fills vectors and leaves a remainder, and one smaller than any vector.
SHAPES = ((3, 3, 5, 9), (3, 3, 1, 3))
VALUES = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
# A logit of the true class (a sigmoid's positive), of another class (a negative), of an
# ignored pixel, and of a pixel in an image with only background.
PLACES = ("true", "other", "ignored", "background")


def random_drop(x, t, schedule_type="LOG", drop=True, **options):
    """The twin under the native layer's names."""
    return losses.random_drop(x, t, schedule_type, drop=drop, **options)


DROP = of_layer(LAYERS["SigmoidRandomDropCELoss"], function=random_drop)
SIGMOID = {"activation": "SIGMOID"}
SOFTMAX = {"activation": "SOFTMAX"}
LISTED = [
    ("SigmoidTopKCELoss", {}),
    ("SigmoidTopKCELoss", {"negatives_per_positive": 0.1, "balance": "BATCH"}),
    ("SigmoidTopKCELoss", {"selection": "BIN", "negatives_per_positive": 1.0}),
    ("SigmoidTopKCELoss", {"selection": "PERCENT", "k_percent": 5.0}),
    ("SigmoidTopKCELoss", {"positive_weight": 0.0}),
    ("SoftmaxTopKLoss", {"k_percent": 5.0}),
    ("SigmoidFocalCELoss", {"gamma": 0.0}),
    ("SigmoidFocalCELoss", {"gamma": 1.5, "alpha_mode": "PER_CHANNEL"}),
    ("SigmoidFocalCELoss", {"alpha": 0.0}),
    ("SoftmaxFocalCELoss", {"gamma": 0.0}),
    ("SoftmaxFocalCELoss", {"gamma": 1.5, "class_alpha": [1.0, 0.0, 0.0]}),
    ("SoftmaxFocalCELoss", {}),
    ("SoftDiceLoss", SOFTMAX),
    ("SoftDiceLoss", {**SOFTMAX, "include_background": False}),
    ("SoftDiceLoss", {**SIGMOID, "squared": False, "batch": True}),
    ("TopKDiceLoss", {**SOFTMAX, "k_percent": 5.0}),
    ("TopKDiceLoss", {**SOFTMAX, "k_percent": 5.0, "region": "FOREGROUND"}),
    ("TopKDiceLoss", {**SIGMOID, "k_percent": 5.0}),
    ("TopKDiceLoss", {**SIGMOID, "k_percent": 5.0, "region": "FOREGROUND"}),
    ("ExpLogLoss", {}),
    ("ExpLogLoss", {"gamma_cross": 1.0, "gamma_dice": 2.0, "batch": True}),
    ("ExpLogLoss", {"weight_dice": 0.0}),
    ("ExpLogLoss", {"weight_cross": 0.0}),
]
CASES = [(DROP, options) for options in DROP.examples] + [
    (BY_TYPE[kind], options) for kind, options in LISTED + examples_beside(LISTED)
]


def blobs(member, options, shape):
    """Random logits and labels: one is ignored, and the last image has no objects."""
    rng = np.random.default_rng(0)
    softmax = member.is_softmax(options)
    x = rng.normal(0, 2, shape)
    t_shape = (shape[0], 1, *shape[2:]) if softmax else shape
    t = (rng.integers(0, 3 if softmax else 2, t_shape)).astype(float)
    t[:, :, 0, 1] = IGNORE
    t[:, :, 0, 0] = 1
    t[:, :, -1, -1] = 0
    t[-1] = 0
    return x, t


def place(member, options, name, shape):
    """The index of the logit."""
    if not member.is_softmax(options):
        return {
            "true": (0, 1, 0, 0),
            "other": (1, 0, shape[2] - 1, shape[3] - 1),
            "ignored": (0, 1, 0, 1),
            "background": (2, 1, 0, 2),
        }[name]
    return {
        "true": (0, 1, 0, 0),
        "other": (1, 2, shape[2] - 1, shape[3] - 1),
        "ignored": (0, 0, 0, 1),
        "background": (2, 1, 0, 2),
    }[name]


def cases():
    """Yield name, member, options, logits, labels, and which logit is not finite."""
    for number, (member, chosen) in enumerate(CASES):
        options = {**chosen, "ignore_label": IGNORE}
        for shape in SHAPES:
            for where in PLACES:
                for value in VALUES:
                    x, t = blobs(member, options, shape)
                    x[place(member, options, where, shape)] = VALUES[value]
                    size = "x".join(map(str, shape))
                    name = f"{number} {member.type} {chosen} {size} {where} {value}"
                    yield name, member, options, x, t, where


def ignored_gradient(member, options, grad, t):
    """The gradient of the ignored pixels."""
    left_out = np.broadcast_to(t == IGNORE, grad.shape)
    return grad[left_out]


def main():
    """Print the loss and the largest gradient of an ignored pixel for every case."""
    caffe = import_caffe()
    found = {}
    nets = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, member, options, x, t, _ in cases():
            text = layer_text(member, options, mask=False)
            if (text, x.shape) not in nets:
                nets = {
                    (text, x.shape): loss_net(
                        caffe, Path(folder), x.shape, t.shape, text
                    )
                }
            loss, grad, _ = run(nets[text, x.shape], x, t)
            rest = ignored_gradient(member, options, grad, t)
            found[name] = [loss, bool((rest == 0).all())]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
