"""The losses as pycaffe Python layers, for a Caffe that cannot be rebuilt.

Put `python_layers` on PYTHONPATH and name a layer in a prototxt::

    layer {
      name: "loss" type: "Python" bottom: "score" bottom: "label" top: "loss"
      loss_weight: 1
      python_param {
        module: "randrop.layers" layer: "SigmoidRandomDropCELossLayer"
        param_str: '{"schedule_type": "LOG", "ignore_label": 255}'
      }
    }

`loss_weight: 1` is needed: a Python layer is no loss to Caffe by itself, and without
it the network trains on nothing. `param_str` is JSON with the native layer's field
names, and `ignore_label` and `normalization` of `loss_param`. A second top takes the
mask; name a second `loss_weight: 0` then. In GPU mode Caffe copies the blobs to the
host and back.
"""

import ctypes
import logging
import os
from typing import Any, ClassVar

import caffe
import numpy as np

from randrop.errors import UserError
from randrop.losses import LossResult, random_drop
from randrop.losses.common import group_shape
from randrop.python_layer import PythonLayer, parse_options

log = logging.getLogger(__name__)


def draw_seed() -> int:
    """Draw 64 bits from Caffe's own generator, so that `random_seed` decides.

    pycaffe does not show the generator; the library exports it. Where it cannot be
    found, the system's entropy serves, and the log says so.
    """
    for library in (None, caffe._caffe.__file__):
        try:
            draw = ctypes.CDLL(library)._ZN5caffe14caffe_rng_randEv
        except (AttributeError, OSError):
            continue
        draw.restype = ctypes.c_uint
        return draw() << 32 | draw()
    log.warning("Caffe's generator is out of reach: random_seed does not set the mask")
    return int.from_bytes(os.urandom(8), "little")


class PixelLossLayer(PythonLayer):
    """What the loss layers share: parameters, shapes, the loss weight.

    A subclass names its parameters in `defaults` and computes in `compute`.

    Bottoms are logits and label, tops the loss and, if wished, the mask (1 kept or
    positive, 0 dropped, -1 ignored).
    """

    defaults: ClassVar[dict[str, Any]] = {}

    def setup(
        self, bottom: "caffe._caffe.RawBlobVec", top: "caffe._caffe.RawBlobVec"
    ) -> None:
        """Read the parameters and check the numbers of blobs."""
        name = type(self).__name__
        if len(bottom) != 2 or len(top) not in (1, 2):
            raise UserError(
                f"{name}: {len(bottom)} bottoms and {len(top)} tops; wanted are logits "
                "and label, and a loss and perhaps a mask"
            )
        common = {"ignore_label": None, "normalization": "BATCH_SIZE"}
        self.options = parse_options(name, self.param_str, self.defaults | common)
        self.weight_is_checked = False

    def reshape(
        self, bottom: "caffe._caffe.RawBlobVec", top: "caffe._caffe.RawBlobVec"
    ) -> None:
        """Shape the tops: a scalar without axes, and a mask like the logits."""
        top[0].reshape()
        if len(top) > 1:
            top[1].reshape(*bottom[0].shape)

    def compute(self, logits: np.ndarray, label: np.ndarray) -> LossResult:
        """Return the loss of a forward pass."""
        raise NotImplementedError

    def forward(
        self, bottom: "caffe._caffe.RawBlobVec", top: "caffe._caffe.RawBlobVec"
    ) -> None:
        """Compute loss, gradient and mask."""
        if not self.weight_is_checked:
            self.weight_is_checked = True
            if self.phase == caffe.TRAIN and top[0].diff == 0:
                log.warning(
                    "%s: THIS LOSS TRAINS NOTHING: its layer has no loss_weight, and a "
                    "Python layer weighs 0 by itself. Add 'loss_weight: 1' to the "
                    "layer (and 'loss_weight: 0' for a mask top).",
                    type(self).__name__,
                )
        result = self.compute(bottom[0].data, bottom[1].data)
        self.grad = result.grad
        top[0].data[...] = result.loss
        if len(top) > 1:
            top[1].data[...] = result.mask

    def backward(
        self,
        top: "caffe._caffe.RawBlobVec",
        propagate_down: list[bool],
        bottom: "caffe._caffe.RawBlobVec",
    ) -> None:
        """Write the gradient by the logits, times the loss weight."""
        if propagate_down[1]:
            raise UserError(
                f"{type(self).__name__} cannot backpropagate to label inputs; a net "
                "with 'force_backward: true' asks every Python layer for that: "
                "leave it out"
            )
        if propagate_down[0]:
            np.multiply(self.grad, top[0].diff, out=bottom[0].diff)


class SigmoidRandomDropCELossLayer(PixelLossLayer):
    """Random drop loss: the twin of the native layer; see `losses.random_drop`."""

    defaults: ClassVar[dict[str, Any]] = {
        "schedule_type": "LOG",
        "seed": None,
        "first_iteration": 0,
        "balance": "PER_CHANNEL",
        "drop_in_test": False,
    }

    def setup(
        self, bottom: "caffe._caffe.RawBlobVec", top: "caffe._caffe.RawBlobVec"
    ) -> None:
        """Read the parameters, and draw a seed if none is given."""
        super().setup(bottom, top)
        if self.options["seed"] is None:
            self.options["seed"] = draw_seed()
        self.iteration = self.options["first_iteration"]
        self.starved_groups = 0

    def compute(self, logits: np.ndarray, label: np.ndarray) -> LossResult:
        """Call `losses.random_drop` for the next forward pass."""
        options = self.options
        result = random_drop(
            logits,
            label,
            schedule=options["schedule_type"],
            seed=options["seed"],
            iteration=self.iteration,
            ignore_label=options["ignore_label"],
            balance=options["balance"],
            normalization=options["normalization"],
            drop=self.phase == caffe.TRAIN or options["drop_in_test"],
        )
        self.iteration += 1
        self.count_starved(label, result.mask)
        return result

    def count_starved(self, label: np.ndarray, mask: np.ndarray) -> None:
        """Count groups whose positives stand alone; warn of the first."""
        groups = group_shape(label.shape, self.options["balance"])
        positive = ((label == 1) & (mask == 1)).reshape(groups).any(1)
        kept = ((label == 0) & (mask == 1)).reshape(groups).any(1)
        starved = int((positive & ~kept).sum())
        if starved and not self.starved_groups:
            log.warning(
                "%s: in %d of %d groups every negative was dropped, so that their "
                "positives have weight 0 and teach nothing. Said once. Remedies: "
                "larger patches, more images in a batch with balance: BATCH, or a "
                "schedule that keeps more (LINEAR or SQU keep more easy negatives "
                "than LOG).",
                type(self).__name__,
                starved,
                groups[0],
            )
        self.starved_groups += starved
