"""Which weights a network takes from a file, checked before training starts."""

import logging
import tempfile
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from randrop.data.hdf5 import numbers, opened
from randrop.errors import UserError
from randrop.exchange import reading
from randrop.pycaffe.build import import_caffe
from randrop.training.caffe_log import SAME_NETWORK

log = logging.getLogger("randrop")

Shapes = dict[str, list[tuple[int, ...]]]
"""Layer to the shapes of its blobs."""

_REMEDY = "give the final.caffemodel of a training, or omit --weights"


class Fit(NamedTuple):
    """How a file of weights fits a network.

    Attributes
    ----------
    taken, missing : tuple of str
        Layers of the network that get weights from the file, or keep their random ones.
    unused : tuple of str
        Layers of the file that the network lacks.
    parameters, of : int
        How many parameters are taken, out of how many.
    """

    taken: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    parameters: int
    of: int


def check(path: Path, deploy: str) -> Fit:
    """Compare weights with a network as Caffe does, by layer name, and report the fit.

    Parameters
    ----------
    path : Path
        A caffemodel, or an HDF5 file with a name ending in .h5.
    deploy : str
        The network's prototxt.

    Raises
    ------
    UserError
        If the file is damaged or empty, nothing in it fits, a layer has another
        shape, or a weight is not finite.
    """
    stored = _stored_hdf5(path) if path.suffix == ".h5" else _stored(path)
    if not stored:
        raise UserError(f"--weights {path} contains no layers: {_REMEDY}")
    wanted = shapes_of(deploy)
    check_shapes(stored, wanted, f"--weights {path}")
    taken = tuple(name for name in wanted if name in stored)
    if not taken:
        raise UserError(
            f"--weights {path} has no layer of this network: its layers are "
            f"{_list(tuple(stored))}, the network's {_list(tuple(wanted))}. Caffe "
            f"would train from scratch: {_REMEDY}"
        )
    fit = Fit(
        taken,
        tuple(name for name in wanted if name not in stored),
        tuple(name for name in stored if name not in wanted),
        sum(_size(wanted[name]) for name in taken),
        sum(map(_size, wanted.values())),
    )
    if fit.missing or fit.unused:
        log.warning(
            "%d of %d layers start from %s (%d of %d parameters). From scratch: %s. "
            "Unused in the file: %s",
            *(len(taken), len(wanted), path, fit.parameters, fit.of),
            *(_list(fit.missing) or "none", _list(fit.unused) or "none"),
        )
    else:
        log.info(
            "All %d layers with weights start from %s, %d parameters",
            *(len(taken), path, fit.of),
        )
    return fit


def check_shapes(stored: Shapes, wanted: Shapes, named: str) -> None:
    """Refuse weights of which a layer has another shape than the network's.

    Parameters
    ----------
    stored, wanted : dict of str to list of tuple of int
        Of the weights, and of the network.
    named : str
        The option that names the weights, for the message.

    Raises
    ------
    UserError
    """
    for name in wanted.keys() & stored.keys():
        if not same_shapes(stored[name], wanted[name]):
            raise UserError(
                f"{named} belongs to another network: its layer '{name}' "
                f"has blobs of {shapes_text(stored[name])}, but this network's has "
                f"{shapes_text(wanted[name])}: {SAME_NETWORK}"
            )


def _stored(path: Path) -> Shapes:
    found: Shapes = {}
    net = reading.read_weights(path, _REMEDY, "--weights ")
    for layer in reading.layers_with_weights(net):
        if not isinstance(layer.name, str):
            # Protobuf returns bytes if the text is not UTF-8.
            raise UserError(
                f"--weights {path} is damaged: it contains the layer name "
                f"{layer.name!r}: {_REMEDY}"
            )
        for blob in layer.blobs:
            values = blob.double_data or blob.data
            if not np.isfinite(np.asarray(values, float)).all():
                raise UserError(
                    f"--weights {path}: layer '{layer.name}' has a weight that is not "
                    f"finite, as after a diverged training: {_REMEDY}"
                )
        found[layer.name] = [reading.shape_of(blob) for blob in layer.blobs]
    return found


def _stored_hdf5(path: Path) -> Shapes:
    found: Shapes = {}
    with opened(path) as file:
        layers = file.get("data")
        for name in layers if isinstance(layers, h5py.Group) else ():
            group = layers.get(name)
            if not isinstance(group, h5py.Group) or not all(map(str.isdecimal, group)):
                raise UserError(
                    f"{path}: data/{name} is not a layer as Caffe writes it, a group "
                    f"of arrays 0, 1, ...: {_REMEDY}"
                )
            keys = sorted(group, key=int)
            blobs = [numbers(group, key, path, _REMEDY) for key in keys]
            for blob in blobs:
                if not np.isfinite(blob[()]).all():
                    raise UserError(
                        f"--weights {path}: layer '{name}' has a weight that is not "
                        f"finite: {_REMEDY}"
                    )
            if blobs:
                found[name] = [tuple(blob.shape) for blob in blobs]
    return found


def shapes_of(deploy: str) -> Shapes:
    """Return the shapes of a network, given as prototxt."""
    caffe = import_caffe()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "deploy.prototxt")
        path.write_text(deploy)
        net = caffe.Net(str(path), caffe.TEST)
    return {
        name: [tuple(blob.shape) for blob in blobs]
        for name, blobs in net.params.items()
    }


def same_shapes(stored: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> bool:
    """Return whether shapes are equal to Caffe; old files always have four axes."""
    return len(stored) == len(wanted) and all(
        s == w or (len(s) == 4 and s == (1,) * (4 - len(w)) + w)
        for s, w in zip(stored, wanted, strict=True)
    )


def _size(shapes: list[tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


def shapes_text(shapes: list[tuple[int, ...]]) -> str:
    """Return shapes for a message."""
    return " and ".join("x".join(map(str, shape)) or "one number" for shape in shapes)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
