"""A run's network with the weights of one snapshot after the other."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.exchange import reading
from randrop.files.reading import read_text
from randrop.pycaffe.build import import_caffe
from randrop.training import snapshots
from randrop.training.weights import same_shapes, shapes_text

_REMEDY = "give the output folder of scripts/train.py with --run"


class DamagedError(UserError):
    """A file of weights that is missing, truncated or damaged."""


class Network:
    """The deployed network of a run.

    Attributes
    ----------
    text : str
        Its prototxt.
    """

    def __init__(self, deploy: Path) -> None:
        """Build the network.

        Raises
        ------
        UserError
            If the file is missing or damaged, or has no activation at its end.
        """
        self._deploy = deploy
        self.text = read_text(deploy, _REMEDY)
        layers = reading.read_deploy(deploy, _REMEDY)
        last = layers.layer[-1] if layers.layer else None
        if last is None or last.type not in ("Sigmoid", "Softmax"):
            raise UserError(
                f"{deploy} does not end with a Sigmoid or Softmax layer: {_REMEDY}"
            )
        if list(last.top) == list(last.bottom):
            raise UserError(
                f"{deploy}: the last layer works in place, so that the logits are "
                "lost: give its top another name"
            )
        self._logits, self._output = last.bottom[0], last.top[0]
        caffe = import_caffe()
        caffe.set_mode_cpu()
        self._net = caffe.Net(str(deploy), caffe.TEST)
        self._input = self._net.inputs[0]

    def load(self, weights: Path) -> None:
        """Take the weights of a snapshot.

        Raises
        ------
        DamagedError
            If the file is missing, truncated or damaged.
        UserError
            If it belongs to another network.
        """
        if snapshots.is_sealed(weights) is False:
            raise DamagedError(f"{weights} does not match its digest")
        try:
            stored = reading.read_weights(weights, _REMEDY)
        except UserError as error:
            raise DamagedError(f"{weights} is truncated or missing") from error
        found = {}
        for layer in reading.layers_with_weights(stored):
            shapes = [reading.shape_of(blob) for blob in layer.blobs]
            sizes = [len(blob.data) or len(blob.double_data) for blob in layer.blobs]
            if sizes != [math.prod(shape) for shape in shapes]:
                raise DamagedError(f"{weights} lacks values of layer {layer.name!r}")
            found[layer.name] = shapes
        wanted = {
            name: [tuple(blob.shape) for blob in blobs]
            for name, blobs in self._net.params.items()
        }
        for name, theirs in found.items():
            ours = wanted.get(name)
            if ours is None or not same_shapes(theirs, ours):
                own = shapes_text(ours) if ours else "no weights"
                raise UserError(
                    f"{weights} belongs to another network: layer {name!r} has "
                    f"{shapes_text(theirs)} there, and {own} in {self._deploy}: move "
                    "the file away, or give the run that it belongs to"
                )
        missing = [name for name in wanted if name not in found]
        if missing:
            raise DamagedError(f"{weights} lacks layer {missing[0]!r}")
        self._net.copy_from(str(weights))

    def check_channels(self, inputs: int, outputs: int) -> None:
        """Refuse images with other channels than the network's.

        Raises
        ------
        UserError
        """
        known = (
            self._net.blobs[self._input].shape[1],
            self._net.blobs[self._output].shape[1],
        )
        if known != (inputs, outputs):
            raise UserError(
                f"the network has {known[0]} input and {known[1]} output channels, but "
                f"run.json and the data have {inputs} and {outputs}: they belong to "
                "different trainings"
            )

    def forward(
        self, image: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits and probabilities, (C, H, W), of an image (channels, H, W)."""
        blob: Any = self._net.blobs[self._input]
        if tuple(blob.shape) != (1, *image.shape):
            blob.reshape(1, *image.shape)
            self._net.reshape()
        blob.data[0] = image
        self._net.forward()
        logits, output = (
            self._net.blobs[name].data[0].copy()
            for name in (self._logits, self._output)
        )
        return logits, output
