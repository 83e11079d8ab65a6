"""Stochastic weight averaging: one network from the last snapshots of a training.

The weights are the mean of those of the snapshots. The means and variances of batch
normalisation are not averaged: they are those of none of the networks, so they are
computed anew, over training patches that the data layer cuts.

References
----------
P. Izmailov et al. Averaging Weights Leads to Wider Optima and Better Generalization.
UAI 2018.
"""

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.exchange import reading
from randrop.files import write_bytes
from randrop.files.documents import read_run
from randrop.prediction.inference import last_words
from randrop.pycaffe import processes
from randrop.pycaffe.build import environment, import_caffe
from randrop.training import prototxts, snapshots

log = logging.getLogger("randrop")

NAME = "averaged.caffemodel"


def last_states(run: Path, count: int) -> list[Path]:
    """Return the last snapshots of a training, oldest first.

    Raises
    ------
    UserError
        If it has fewer that are whole, or `count` is below 2.
    """
    if count < 2:
        raise UserError(f"--last {count}: the mean takes at least 2 snapshots")
    every = snapshots.states(run)
    found = [state for state in every if snapshots.is_sealed(state)]
    for state in every:
        if state not in found:
            log.warning("%s or its .caffemodel is damaged: skipped", state)
    if len(found) < count:
        raise UserError(
            f"{run} has {len(found)} complete snapshot(s), not {count}: give a smaller "
            "--last, or train with a smaller --snapshot"
        )
    return found[count - 1 :: -1]


def average(run: Path, states: Sequence[Path], batches: int, out: Path) -> Path:
    """Write the mean of snapshots as averaged.caffemodel.

    Parameters
    ----------
    run : Path
        Folder of the training.
    states : sequence of Path
        The .solverstate of each snapshot.
    batches : int
        Training batches over which the statistics of batch normalisation are taken;
        each batch weighs the same.
    out : Path
        Receives the weights; locked by this process.

    Returns
    -------
    Path
        The weights, with their digest beside them.

    Raises
    ------
    UserError
        If the snapshots do not belong together, or Caffe cannot run the network.
    """
    models = [state.with_suffix(".caffemodel") for state in states]
    net = import_caffe().proto.caffe_pb2.NetParameter()
    net.ParseFromString(snapshots.weights_of(models[-1]))
    put_mean(net, [reading.read_weights(path, "train again") for path in models])
    if any(layer.type == "BatchNorm" for layer in net.layer):
        _put_statistics(net, _statistics(run, net, batches))
    path = out / NAME
    write_bytes(path, net.SerializeToString())
    snapshots.seal(path)
    return path


def put_mean(net: Any, parts: Sequence[Any]) -> None:
    """Give a network the mean weights of several, in place.

    The statistics of batch normalisation stay.

    Parameters
    ----------
    net : NetParameter
    parts : sequence of NetParameter
        With the same layers.

    Raises
    ------
    UserError
        If their layers differ.
    """
    shapes = [
        [
            (layer.name, [reading.shape_of(blob) for blob in layer.blobs])
            for layer in reading.layers_with_weights(part)
        ]
        for part in (net, *parts)
    ]
    if any(own != shapes[0] for own in shapes):
        raise UserError(
            "the snapshots belong to different networks: move the others away"
        )
    layers = [reading.layers_with_weights(part) for part in parts]
    for own, *others in zip(reading.layers_with_weights(net), *layers, strict=True):
        if own.type == "BatchNorm":
            continue
        for k, blob in enumerate(own.blobs):
            arrays = [reading.array_of(other.blobs[k]) for other in others]
            _put(blob, np.mean(arrays, axis=0))


def cumulative(text: str) -> str:
    """Return a network whose batch normalisation sums up the statistics of batches.

    Starting from 0, its averages then weigh each batch the same and forget nothing.

    Parameters
    ----------
    text : str
        A prototxt.
    """
    net = import_caffe().proto.caffe_pb2.NetParameter()
    text_format.Merge(text, net)
    for layer in net.layer:
        if layer.type == "BatchNorm":
            layer.batch_norm_param.moving_average_fraction = 1
            layer.batch_norm_param.ClearField("use_global_stats")
    return text_format.MessageToString(net)


def _statistics(run: Path, net: Any, batches: int) -> dict[str, NDArray[np.float32]]:
    """Return the blobs of all BatchNorm layers, computed over training batches."""
    settings = read_run(run, "train again") | {"watch_mask": False}
    # The patches that come after those of the training, always the same.
    texts = prototxts.texts(run, settings, settings["iterations"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.prototxt").write_text(cumulative(texts["train_val.prototxt"]))
        (folder / "weights").write_bytes(net.SerializeToString())
        child = processes.run(
            processes.python(_CHILD, name, str(batches), str(int(settings["gpu"]))),
            env={**os.environ, **environment(), "GLOG_minloglevel": "2"},
            capture_output=True,
            text=True,
            errors="replace",
        )
        if child.returncode:
            why = last_words(child.stderr) or f"it ended with {child.returncode}"
            raise UserError(f"Caffe cannot run the network of {run}: {why}")
        with np.load(folder / "statistics.npz") as found:
            return dict(found)


# Caffe ends the process on bad input: not ours.
_CHILD = """
import sys
from pathlib import Path
import numpy as np
from randrop.pycaffe.build import import_caffe
caffe = import_caffe()
folder, batches, gpu = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
if gpu:
    caffe.set_mode_gpu()
    caffe.set_device(0)
net = caffe.Net(str(folder / "net.prototxt"), caffe.TRAIN)
net.copy_from(str(folder / "weights"))
kinds = {name: layer.type for name, layer in zip(net._layer_names, net.layers)}
norms = [name for name in net.params if kinds[name] == "BatchNorm"]
for name in norms:
    for blob in net.params[name]:
        blob.data[...] = 0
for _ in range(batches):
    net.forward()
np.savez(folder / "statistics.npz", **{
    f"{name} {k}": blob.data
    for name in norms for k, blob in enumerate(net.params[name])})
"""


def _put_statistics(net: Any, found: dict[str, NDArray[np.float32]]) -> None:
    for layer in net.layer:
        if layer.type == "BatchNorm":
            for k, blob in enumerate(layer.blobs):
                _put(blob, found[f"{layer.name} {k}"])


def _put(blob: Any, values: NDArray) -> None:
    """Replace a blob's values, in the precision in which it has them."""
    field = blob.double_data if blob.double_data else blob.data
    del field[:]
    field.extend(values.ravel().tolist())
