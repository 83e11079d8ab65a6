"""Writes loss, gradient and mask of every native layer at vector sizes, as .npz.

test_vectors.py runs it in a separate process, because Caffe chooses the vector
instructions and the number of threads when it is loaded.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from loss_family import (
    BY_TYPE,
    examples_beside,
    labels,
    layer_text,
    logits,
    loss_net,
    run,
)

from randrop.pycaffe.build import import_caffe

# More elements than one thread takes at a time, and not a multiple of any vector.
SHAPES = ((2, 3, 150, 151), (1, 2, 181, 191), (3, 4, 5, 5))
CASES = [
    ("SigmoidTopKCELoss", {}),
    ("SigmoidTopKCELoss", {"selection": "PERCENT", "k_percent": 30.0}),
    ("SigmoidTopKCELoss", {"selection": "BIN", "ignore_label": 7}),
    ("SoftmaxTopKLoss", {"k_percent": 30.0, "ignore_label": 7}),
    ("SigmoidFocalCELoss", {}),
    ("SigmoidFocalCELoss", {"gamma": 1.5, "alpha": 0.9, "ignore_label": 7}),
    ("SoftmaxFocalCELoss", {"ignore_label": 7}),
    ("SoftmaxFocalCELoss", {"gamma": 0.7, "class_alpha": [0.3]}),
    ("SoftDiceLoss", {"activation": "SOFTMAX", "ignore_label": 7}),
    ("SoftDiceLoss", {"activation": "SOFTMAX", "squared": False}),
    ("SoftDiceLoss", {"activation": "SIGMOID", "batch": True, "ignore_label": 7}),
    ("SoftDiceLoss", {"activation": "SIGMOID", "squared": False}),
    ("TopKDiceLoss", {"activation": "SOFTMAX", "k_percent": 40.0}),
    ("TopKDiceLoss", {"activation": "SOFTMAX", "region": "FOREGROUND"}),
    ("TopKDiceLoss", {"activation": "SIGMOID", "region": "FOREGROUND"}),
    ("ExpLogLoss", {"ignore_label": 7}),
    ("ExpLogLoss", {"gamma_cross": 1.0, "gamma_dice": 2.0, "batch": True}),
]
CASES += examples_beside(CASES)
# The last one has many equal logits.
SPREADS = (0.1, 3.0, 30.0, 0.0)


def cases():
    """Yield name, member, options, logits and labels of every case."""
    for number, (kind, options) in enumerate(CASES):
        member = BY_TYPE[kind]
        for shape in SHAPES:
            for spread in SPREADS:
                rng = np.random.default_rng([number, shape[1], int(10 * spread)])
                t = labels(rng, member, options, shape, 0.05)
                x = logits(rng, member, options, shape, spread or 1.0)
                if not spread:
                    # The losses of a softmax's pixels are equal in single and double
                    # precision only if their logits are equal.
                    x = np.round(x) if kind.startswith("Sigmoid") else 0 * x
                size = "x".join(map(str, shape))
                name = f"{number} {kind} {options} {size} {spread}"
                yield name, member, options, x, t


def main():
    """Write the results of all cases."""
    caffe = import_caffe()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, member, options, x, t in cases():
            text = layer_text(member, options, loss_weight=1.0)
            net = loss_net(caffe, Path(folder), x.shape, t.shape, text)
            loss, grad, mask = run(net, x, t)
            found[f"{name}|loss"], found[f"{name}|grad"] = loss, grad
            if mask is not None:
                found[f"{name}|mask"] = mask
    np.savez(sys.argv[1], **{k.replace("/", " "): v for k, v in found.items()})


if __name__ == "__main__":
    main()
