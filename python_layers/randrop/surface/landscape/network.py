"""A network that is evaluated at one point after the other."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.evaluation import metrics
from randrop.files.reading import read_text
from randrop.losses.common import sigmoid
from randrop.nets.losses import Loss
from randrop.prediction.inference import check_deploy, last_words
from randrop.prediction.maps import LEVELS
from randrop.pycaffe import processes
from randrop.pycaffe.build import caffe_root, import_caffe
from randrop.surface.landscape.parameters import STATISTICS, Layout, layout_of
from randrop.surface.landscape.scene import Scene
from randrop.surface.numpy_losses import evaluate
from randrop.training.averaging import cumulative

KEPT, RECOMPUTED, NONE = "kept", "recomputed", "none"
"""What becomes of the averages of batch normalisation."""

_OUTPUTS = {"Sigmoid": "SIGMOID", "Softmax": "SOFTMAX"}
_REMEDY = "name the deploy.prototxt that train.py wrote"


class Definition(NamedTuple):
    """A network up to its logits.

    Attributes
    ----------
    text : str
        The prototxt, without the last layer.
    layout : Layout
    data, logits : str
        The input, and the blob of the logits.
    last : str
        The layer that makes the logits.
    activation : {"SIGMOID", "SOFTMAX"}
        Of the layer that was left out.
    """

    text: str
    layout: Layout
    data: str
    logits: str
    last: str
    activation: str


class Values(NamedTuple):
    """What one point has.

    Attributes
    ----------
    losses : tuple of float
    average_precision : float
        NaN if no channel has an object.
    """

    losses: tuple[float, ...]
    average_precision: float


def define(deploy: Path) -> Definition:
    """Read a deploy file, and have a child process make its network once.

    Raises
    ------
    UserError
        If it is missing, damaged, has training layers, does not end in a Sigmoid or
        Softmax, or Caffe refuses it.
    """
    check_deploy(deploy)
    net = import_caffe().proto.caffe_pb2.NetParameter()
    try:
        text_format.Merge(read_text(deploy, _REMEDY), net)
    except text_format.ParseError as error:
        raise UserError(f"{deploy} is not a prototxt ({error}): {_REMEDY}") from error
    if not net.layer or net.layer[-1].type not in _OUTPUTS:
        raise UserError(
            f"{deploy} does not end in a Sigmoid or a Softmax, before which the "
            f"logits are: {_REMEDY}"
        )
    output = net.layer[-1]
    activation, logits = _OUTPUTS[output.type], output.bottom[0]
    del net.layer[-1]
    makers = [layer.name for layer in net.layer if logits in layer.top]
    text = text_format.MessageToString(net)
    facts = _made(deploy, text)
    shapes = {name: [tuple(s) for s in blobs] for name, blobs in facts["params"]}
    return Definition(
        text, layout_of(net, shapes), facts["input"], logits, makers[-1], activation
    )


def _made(deploy: Path, text: str) -> dict[str, Any]:
    """Return the inputs and the shapes of the weights, from a child process."""
    environment = {
        **os.environ,
        "CAFFE_ROOT": str(caffe_root()),
        "GLOG_minloglevel": "2",
        "GLOG_logtostderr": "1",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text)
        file.flush()
        child = processes.run(
            processes.python(_CHILD, file.name),
            capture_output=True,
            text=True,
            env=environment,
        )
    if child.returncode == 0:
        return json.loads(child.stdout.splitlines()[-1])
    words = last_words(child.stderr) or f"the process ended with {child.returncode}"
    raise UserError(f"Caffe cannot make the network of {deploy}: {words}: {_REMEDY}")


_CHILD = """
import json, sys
from randrop.pycaffe.build import import_caffe
caffe = import_caffe()
net = caffe.Net(sys.argv[1], caffe.TEST)
print(json.dumps(dict(
    input=net.inputs[0],
    params=[(name, [list(blob.shape) for blob in blobs])
            for name, blobs in net.params.items()])))
"""


class Evaluator:
    """Evaluates losses, and gradients, of weights that are vectors.

    Parameters
    ----------
    definition : Definition
    scene : Scene
        The fixed images.
    losses : sequence of sequence of Loss
        Of each height.
    seed : int
        Of what random drop keeps: the same random numbers at every point.
    recompute : bool
        Compute the averages of batch normalisation anew at every point, as a training
        does in its TRAIN phase: over all images, in the scene's batches, each batch
        weighing the same. Otherwise those in the vector are used.
    gpu : bool
    """

    def __init__(
        self,
        definition: Definition,
        scene: Scene,
        losses: Sequence[Sequence[Loss]],
        seed: int = 0,
        recompute: bool = False,
        gpu: bool = False,
    ) -> None:
        self._definition, self._scene = definition, scene
        self._losses, self._seed = losses, seed
        caffe = import_caffe()
        caffe.set_mode_gpu() if gpu else caffe.set_mode_cpu()
        self._net = _net(caffe, definition.text, caffe.TEST)
        self._training = None
        if recompute and definition.layout.normalised:
            self._training = _net(caffe, cumulative(definition.text), caffe.TRAIN)
        self._backward = None

    def values(self, weights: NDArray[np.float64]) -> Values:
        """Return the losses and the average precision of weights."""
        self._set(self._net, weights)
        if self._training is not None:
            self._recompute(weights)
        logits = self._logits(self._net)
        return Values(
            tuple(self._loss(losses, logits).loss for losses in self._losses),
            self._average_precision(logits),
        )

    def gradient(self, weights: NDArray[np.float64], k: int = 0) -> NDArray[np.float64]:
        """Return the gradient of loss k by the weights; 0 for averages.

        The averages of batch normalisation are constants.
        """
        definition = self._definition
        if self._backward is None:
            caffe = import_caffe()
            # Caffe leaves out backward passes of networks without a loss layer.
            text = f"force_backward: true\n{definition.text}"
            self._backward = _net(caffe, text, caffe.TEST)
        net = self._backward
        self._set(net, weights)
        # The loss is of all images at once, so its gradient needs all logits first.
        slopes = self._loss(self._losses[k], self._logits(net)).grad
        total = np.zeros(definition.layout.size)
        for begin, end in self._scene.batches:
            self._forward(net, begin, end)
            for blobs in net.params.values():
                for blob in blobs:
                    blob.diff[...] = 0
            net.blobs[definition.logits].diff[...] = slopes[begin:end]
            net.backward(start=definition.last)
            for part in definition.layout.parts:
                if part.kind != STATISTICS:
                    diff = net.params[part.layer][part.number].diff
                    total[part.place] += diff.ravel()
        return total

    def _set(self, net: Any, weights: NDArray[np.float64]) -> None:
        for part in self._definition.layout.parts:
            blob = net.params[part.layer][part.number]
            blob.data[...] = weights[part.place].reshape(part.shape)

    def _recompute(self, weights: NDArray[np.float64]) -> None:
        self._set(self._training, weights)
        statistics = list(self._definition.layout.of_kind(STATISTICS))
        for part in statistics:
            self._training.params[part.layer][part.number].data[...] = 0
        for begin, end in self._scene.batches:
            self._forward(self._training, begin, end)
        for part in statistics:
            own = self._net.params[part.layer][part.number].data
            own[...] = self._training.params[part.layer][part.number].data

    def _logits(self, net: Any) -> NDArray[np.float64]:
        return np.concatenate(
            [self._forward(net, *batch) for batch in self._scene.batches]
        )

    def _forward(self, net: Any, begin: int, end: int) -> NDArray[np.float64]:
        images = self._scene.images[begin:end]
        blob = net.blobs[self._definition.data]
        if blob.data.shape != images.shape:
            blob.reshape(*images.shape)
            net.reshape()
        blob.data[...] = images
        net.forward()
        return net.blobs[self._definition.logits].data.astype(np.float64)

    def _loss(self, losses: Sequence[Loss], logits: NDArray[np.float64]) -> Any:
        scene = self._scene
        # A point far away may overflow: its loss is then not finite, and says so.
        with np.errstate(all="ignore"):
            return evaluate(
                losses, logits, scene.labels, scene.ignore_label, self._seed
            )

    def _average_precision(self, logits: NDArray[np.float64]) -> float:
        if not np.isfinite(logits).all():
            return float("nan")
        scene, labels = self._scene, self._scene.labels
        if self._definition.activation == "SIGMOID":
            probability, truth = sigmoid(logits), labels == 1
            valid = labels != scene.ignore_label
        else:
            e = np.exp(logits - logits.max(1, keepdims=True))
            probability = (e / e.sum(1, keepdims=True))[:, 1:]
            classes = np.arange(1, logits.shape[1])
            truth = labels == classes.reshape(1, -1, *[1] * (labels.ndim - 2))
            valid = np.broadcast_to(labels != scene.ignore_label, truth.shape)
        found = []
        for c in range(probability.shape[1]):
            levels = np.rint(probability[:, c][valid[:, c]] * (LEVELS - 1))
            counts = metrics.histogram(
                levels.astype(np.uint16), truth[:, c][valid[:, c]]
            )
            curve = metrics.curve(counts)
            if curve.positives:
                found.append(metrics.average_precision(curve))
        return float(np.mean(found)) if found else float("nan")


def _net(caffe: Any, text: str, phase: int) -> Any:
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text)
        file.flush()
        return caffe.Net(file.name, phase)
