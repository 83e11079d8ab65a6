"""Folding batch normalisation of a deployed network into preceding convolutions."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from randrop.exchange.reading import array_of
from randrop.exchange.wiring import only_readers
from randrop.pycaffe.build import import_caffe


class Folded(NamedTuple):
    """A network after folding."""

    deploy: str  # text of the prototxt
    weights: bytes  # the caffemodel


def fold(deploy: Path, weights: Path) -> Folded | None:
    """Fold BatchNorm, and a Scale after it, into the Convolution before them.

    In deployment, all three are linear: with the training's mean m and variance v,
    y = g (w * x + b - m) / sqrt(v + eps) + h is a convolution with
    g w / sqrt(v + eps). This saves two passes over each feature map.

    Parameters
    ----------
    deploy, weights : Path
        A prototxt and a caffemodel that belong together.

    Returns
    -------
    Folded or None
        None if there is nothing to fold. Outputs are equal up to rounding.
    """
    import_caffe()
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format

    net, stored = caffe_pb2.NetParameter(), caffe_pb2.NetParameter()
    text_format.Merge(deploy.read_text(), net)
    stored.ParseFromString(weights.read_bytes())
    if not fold_messages(net, stored):
        return None
    return Folded(text_format.MessageToString(net), stored.SerializeToString())


def fold_messages(net: Any, stored: Any) -> bool:
    """Fold a network and its weights, two messages NetParameter, in place.

    Returns
    -------
    bool
        Whether there was anything to fold.
    """
    # Which of two layers of one name has the weights, Caffe decides.
    names = Counter(layer.name for layer in stored.layer)
    blobs = {layer.name: layer.blobs for layer in stored.layer if names[layer.name] < 2}
    gone = set()
    for conv, norm, scale in _chains(net):
        if any(layer.name not in blobs for layer in (conv, norm, scale) if layer):
            continue
        factor, shift = _linear(norm, scale, blobs)
        kernels, *bias = (array_of(blob) for blob in blobs[conv.name])
        new = [
            kernels * factor.reshape(-1, *[1] * (kernels.ndim - 1)),
            (bias[0].ravel() * factor if bias else 0) + shift,
        ]
        del blobs[conv.name][:]
        for value in new:
            blob = blobs[conv.name].add()
            blob.shape.dim.extend(value.shape)
            blob.data.extend(value.astype(np.float32).ravel())
        conv.convolution_param.bias_term = True
        conv.top[0] = (scale or norm).top[0]
        gone |= {layer.name for layer in (norm, scale) if layer}
    if not gone:
        return False
    for whole in (net, stored):
        kept = [layer for layer in whole.layer if layer.name not in gone]
        copies = [type(layer).FromString(layer.SerializeToString()) for layer in kept]
        del whole.layer[:]
        whole.layer.extend(copies)
    return True


def _chains(net: Any) -> list[tuple[Any, Any, Any]]:
    """Return each (Convolution, BatchNorm, Scale or None) that no other layer reads.

    None of them shares its weights: what is folded into one layer's memory would
    change the other's.
    """
    if any(layer.include or layer.exclude for layer in net.layer):
        return []  # Some of these layers are not there.
    names = Counter(layer.name for layer in net.layer)
    shared = Counter(param.name for layer in net.layer for param in layer.param)

    def alone(layer: Any) -> bool:
        return names[layer.name] == 1 and not any(
            param.name and shared[param.name] > 1 for param in layer.param
        )

    next_one = only_readers(net).get
    chains = []
    for number, conv in enumerate(net.layer):
        after = next_one(number)
        if after is None or not alone(conv) or not _plain(conv):
            continue
        norm = net.layer[after]
        if norm.type != "BatchNorm" or not alone(norm) or not _by_the_training(norm):
            continue
        last = next_one(after)
        scale = net.layer[last] if last is not None else None
        if scale is not None and not (alone(scale) and _of_channels(scale)):
            scale = None
        chains.append((conv, norm, scale))
    return chains


def _plain(conv: Any) -> bool:
    """Return whether a layer convolves one blob, with the channels on axis 1."""
    return (
        conv.type == "Convolution"
        and len(conv.bottom) == len(conv.top) == 1
        and conv.convolution_param.axis == 1
    )


def _by_the_training(norm: Any) -> bool:
    param = norm.batch_norm_param
    training = norm.HasField("phase") and norm.phase == 0
    return param.use_global_stats or not (
        param.HasField("use_global_stats") or training
    )


def _of_channels(scale: Any) -> bool:
    param = scale.scale_param
    return (
        scale.type == "Scale"
        and len(scale.bottom) == 1
        and param.axis == 1
        and param.num_axes == 1
    )


def _linear(
    norm: Any, scale: Any, blobs: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factor and shift of each channel."""
    # Old files give each array four axes.
    mean, variance, weight = (array_of(blob).ravel() for blob in blobs[norm.name])
    share = 0 if weight.item() == 0 else 1 / weight.item()
    factor = 1 / np.sqrt(variance * share + norm.batch_norm_param.eps)
    shift = -mean * share * factor
    if scale is not None:
        gamma, *beta = (array_of(blob).ravel() for blob in blobs[scale.name])
        factor, shift = factor * gamma, shift * gamma + (beta[0] if beta else 0)
    return factor, shift
