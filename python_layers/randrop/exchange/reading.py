"""Reading a deployed network of Caffe and its weights, without Caffe."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.exchange.messages import NetParameter
from randrop.files import reading
from randrop.training.snapshots import check_weights

Arrays = list[NDArray[np.float64]]
"""The weights of a layer."""


class Network(NamedTuple):
    """A network and its weights, as messages."""

    net: Any
    weights: Any


def read(deploy: Path, weights: Path, remedy: str) -> Network:
    """Read a deploy file and a caffemodel.

    Raises
    ------
    UserError
        If a file cannot be read or is damaged; ends with `remedy`.
    """
    return Network(read_deploy(deploy, remedy), read_weights(weights, remedy))


def read_deploy(deploy: Path, remedy: str) -> Any:
    """Return the network of a prototxt; fields that we do not know are left out.

    `unknown_field` tells whether there are any.

    Raises
    ------
    UserError
        If the file cannot be read or is no prototxt.
    """
    text = reading.read_text(deploy, remedy)
    net = NetParameter()
    try:
        text_format.Parse(text, net, allow_unknown_field=True)
    except text_format.ParseError as error:
        raise UserError(
            f"{deploy} is no network of Caffe ({error}): {remedy}"
        ) from error
    return net


def unknown_field(deploy: Path) -> str:
    """Return what the parser says of the first unknown field, or nothing."""
    try:
        text_format.Parse(reading.read_text(deploy), NetParameter())
    except text_format.ParseError as error:
        return str(error)
    return ""


def read_weights(path: Path, remedy: str, option: str = "") -> Any:
    """Return the network of a caffemodel as a message.

    Parameters
    ----------
    path : Path
    remedy : str
        Ends the messages of errors.
    option : str
        Begins them, as in "--weights ".

    Raises
    ------
    UserError
        If it cannot be read or parsed, or differs from the digest beside it.
    """
    check_weights(path)
    net = NetParameter()
    try:
        net.ParseFromString(reading.read_bytes(path, remedy))
    except DecodeError as error:
        raise UserError(
            f"{option}{path} is not a caffemodel, or is truncated ({error}): {remedy}"
        ) from error
    return net


def layers_with_weights(net: Any) -> list[Any]:
    """Return the layers that hold arrays; old files call them `layers`."""
    return [layer for layer in (*net.layer, *net.layers) if layer.blobs]


def shape_of(blob: Any) -> tuple[int, ...]:
    """Return the shape of a BlobProto, also of the old form with four axes."""
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    return (blob.num, blob.channels, blob.height, blob.width)


def array_of(blob: Any) -> NDArray[np.float64]:
    """Return a blob's values in its shape.

    Raises
    ------
    ValueError
        If it has another number of values than its shape says.
    """
    # A damaged file may have any bits, which NumPy warns about.
    with np.errstate(invalid="ignore"):
        values = np.array(blob.double_data or blob.data, np.float64)
    return values.reshape(shape_of(blob))


def arrays(weights: Any, path: Path, remedy: str) -> dict[str, Arrays]:
    """Return the arrays of each layer of a caffemodel.

    Raises
    ------
    UserError
        If one is truncated or not finite.
    """
    found = {}
    for layer in layers_with_weights(weights):
        try:
            found[layer.name] = [array_of(blob) for blob in layer.blobs]
        except ValueError as error:
            raise UserError(
                f"{path}: layer {layer.name!r} lacks values ({error}): {remedy}"
            ) from error
        if not all(np.isfinite(values).all() for values in found[layer.name]):
            raise UserError(
                f"{path}: layer {layer.name!r} has a weight that is not finite, as "
                f"after a diverged training: {remedy}"
            )
    return found
