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

`loss_weight: 1` is required: Caffe does not treat a Python layer as a loss by itself,
and without it the network trains on nothing. `param_str` is JSON with the native
layer's field names, plus `ignore_label` and `normalization` of `loss_param`. An
optional second top receives the mask and needs a second `loss_weight: 0`. In GPU mode,
Caffe copies the blobs to the host and back.
"""

import ctypes
import inspect
import logging
import os
from typing import Any, ClassVar

import caffe
import numpy as np

from randrop.errors import UserError
from randrop.losses import LossResult
from randrop.losses.common import group_shape
from randrop.losses.registry import LAYERS, Layer
from randrop.pycaffe.python_layer import PythonLayer, parse_options, scalar

log = logging.getLogger(__name__)


def draw_seed() -> int:
    """Draw 64 bits from Caffe's own generator, so that `random_seed` applies.

    pycaffe does not expose the generator, but the library exports it. If it cannot be
    found, system entropy is used, and the log says so.
    """
    for library in (None, caffe._caffe.__file__):
        try:
            draw = ctypes.CDLL(library)._ZN5caffe14caffe_rng_randEv
        except (AttributeError, OSError):
            continue
        draw.restype = ctypes.c_uint
        return draw() << 32 | draw()
    log.warning(
        "the layer cannot read Caffe's random generator: random_seed has no effect on "
        "the mask"
    )
    return int.from_bytes(os.urandom(8), "little")


class PixelLossLayer(PythonLayer):
    """What the loss layers share: parameters, shapes, the loss weight.

    A subclass names its `loss`. Bottoms are logits and label, and optionally, if the
    loss takes them, the cells. Tops are the loss and optionally, if there is one, the
    mask (1 used, 0 left out, -1 ignored).
    """

    loss: ClassVar[Layer]

    def defaults(self) -> dict[str, Any]:
        """Return the options and their defaults; `loss_param`'s are the function's."""
        function = inspect.signature(self.loss.function).parameters
        return {
            name: field.default
            if name in self.loss.parameters
            else function[name].default
            for name, field in self.loss.options.model_fields.items()
        }

    def setup(
        self, bottom: "caffe._caffe.RawBlobVec", top: "caffe._caffe.RawBlobVec"
    ) -> None:
        """Read the parameters and check the numbers of blobs."""
        name = type(self).__name__
        if (
            not 2 <= len(bottom) <= 2 + self.loss.cells
            or not 1 <= len(top) <= 1 + self.loss.mask
        ):
            cells = " and optionally cells" if self.loss.cells else ""
            mask = " and optionally a mask" if self.loss.mask else ""
            raise UserError(
                f"{name}: the layer has {len(bottom)} bottoms and {len(top)} tops: it "
                f"needs logits and label{cells}, and a loss{mask}"
            )
        self.options = parse_options(
            name, self.given_options(), self.loss.options, self.defaults()
        )
        self.weight_is_checked = False

    def reshape(
        self, bottom: "caffe._caffe.RawBlobVec", top: "caffe._caffe.RawBlobVec"
    ) -> None:
        """Shape the tops: a scalar without axes, and a mask like the label."""
        scalar(top[0])
        if len(top) > 1:
            top[1].reshape(*bottom[1].shape)

    def compute(
        self, logits: np.ndarray, label: np.ndarray, *cells: np.ndarray
    ) -> LossResult:
        """Return the loss of a forward pass."""
        options = {**self.options, "cells": cells[0]} if cells else self.options
        return self.loss.function(logits, label, **options)

    def forward(
        self, bottom: "caffe._caffe.RawBlobVec", top: "caffe._caffe.RawBlobVec"
    ) -> None:
        """Compute loss, gradient and mask."""
        if not self.weight_is_checked:
            self.weight_is_checked = True
            if self.is_training() is not False and np.all(top[0].diff == 0):
                log.warning(
                    "%s: THIS LOSS TRAINS NOTHING: the layer has no loss_weight, and "
                    "Caffe's default for a Python layer is 0. Add 'loss_weight: 1' to "
                    "the layer (and 'loss_weight: 0' for a mask top).",
                    type(self).__name__,
                )
        result = self.compute(*(bottom[k].data for k in range(len(bottom))))
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
        """Write the gradient by the logits, multiplied by the loss weight."""
        for k in range(1, len(bottom)):
            if propagate_down[k]:
                # A net with force_backward requests it. A label has no gradient.
                bottom[k].diff[...] = 0
        if propagate_down[0]:
            np.multiply(self.grad, np.ravel(top[0].diff)[0], out=bottom[0].diff)


class BalancedLossLayer(PixelLossLayer):
    """A loss that weighs classes by their counts, and warns about zero counts."""

    remedy: ClassVar[str] = ""

    def setup(
        self, bottom: "caffe._caffe.RawBlobVec", top: "caffe._caffe.RawBlobVec"
    ) -> None:
        """Start counting."""
        super().setup(bottom, top)
        self.starved_groups = 0

    def count_starved(self, label: np.ndarray, mask: np.ndarray) -> None:
        """Count groups with positives but no negatives; warn about the first."""
        groups = group_shape(label.shape, self.options["balance"])
        positive = ((label == 1) & (mask == 1)).reshape(groups).any(1)
        kept = ((label == 0) & (mask == 1)).reshape(groups).any(1)
        starved = int((positive & ~kept).sum())
        if starved and not self.starved_groups:
            log.warning(
                "%s: %d of %d groups have no selected negative: their positives have "
                "weight 0 and no gradient. This warning appears only once. %s",
                type(self).__name__,
                starved,
                groups[0],
                self.remedy,
            )
        self.starved_groups += starved


class SigmoidRandomDropCELossLayer(BalancedLossLayer):
    """Random drop loss: the twin of the native layer; see `losses.random_drop`."""

    loss = LAYERS["SigmoidRandomDropCELoss"]
    remedy = (
        "Use larger patches, more images per batch with balance: BATCH, or a schedule "
        "that keeps more easy negatives (LINEAR or SQU instead of LOG)."
    )

    def setup(
        self, bottom: "caffe._caffe.RawBlobVec", top: "caffe._caffe.RawBlobVec"
    ) -> None:
        """Read the parameters, and draw a seed if none is given."""
        super().setup(bottom, top)
        if self.options["seed"] is None:
            self.options["seed"] = draw_seed()
        self.iteration = self.options["first_iteration"]
        self.drops = self.is_training()
        if self.drops is None:
            self.drops = True
            log.warning(
                "%s: this Caffe does not tell Python layers the phase, so the layer "
                "drops pixels in tests, too. Give the test phase a layer of its own, "
                'with \'include { phase: TEST }\' and "schedule_type": "NONE".',
                type(self).__name__,
            )

    def compute(self, logits: np.ndarray, label: np.ndarray) -> LossResult:
        """Call `losses.random_drop` for the next forward pass."""
        options = dict(self.options)
        del options["first_iteration"]
        drop_in_test = options.pop("drop_in_test")
        result = self.loss.function(
            logits,
            label,
            schedule=options.pop("schedule_type"),
            iteration=self.iteration,
            drop=self.drops or drop_in_test,
            **options,
        )
        self.iteration += 1
        self.count_starved(label, result.mask)
        return result


class SigmoidTopKCELossLayer(BalancedLossLayer):
    """Top-k and bin loss; see `losses.sigmoid_top_k`."""

    loss = LAYERS["SigmoidTopKCELoss"]

    def compute(self, logits: np.ndarray, label: np.ndarray) -> LossResult:
        """Call the function, and count groups without negatives."""
        result = super().compute(logits, label)
        if self.options["selection"] != "PERCENT":
            self.count_starved(label, result.mask)
        return result


def _twins() -> dict[str, type[PixelLossLayer]]:
    """Return the twin of every layer, under all names of the layer."""
    found = {}
    for loss in LAYERS.values():
        name = f"{loss.type}Layer"
        twin = globals().get(name) or type(
            name,
            (PixelLossLayer,),
            {
                "__doc__": f"{loss.about} See `losses.{loss.function.__name__}`.",
                "__module__": __name__,
                "loss": loss,
            },
        )
        found |= {f"{kind}Layer": twin for kind in (loss.type, *loss.other_types)}
    return found


globals().update(_twins())
