"""Several networks as one network of Caffe: the mean of their outputs.

Any program that runs a caffemodel then runs the ensemble, without a word of ours.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from randrop.errors import UserError
from randrop.exchange import reading
from randrop.exchange.messages import NetParameter

_REMEDY = "give deploy files and weights of scripts/train.py"


def merge(members: Sequence[tuple[Path, Path]]) -> reading.Network:
    """Return the network whose output is the mean of those of its members.

    Parameters
    ----------
    members : sequence of (Path, Path)
        Deploy file and caffemodel of each. They have the same inputs, and one output
        of the same shape.

    Returns
    -------
    reading.Network
        The layers, blobs and shared parameters of member k begin with `net<k>_`; inputs
        and the output have the names that they have in the first member.

    Raises
    ------
    UserError
        If there are fewer than two, a file cannot be read, a member has parameters that
        we do not know, inputs differ, or a member has not one output.
    """
    if len(members) < 2:
        raise UserError(f"there are {len(members)} networks: merge at least two")
    whole, weights = NetParameter(), NetParameter()
    outputs: list[str] = []
    first: list[Any] = []
    name = ""
    for k, (deploy, caffemodel) in enumerate(members, 1):
        if unknown := reading.unknown_field(deploy):
            raise UserError(f"{deploy} cannot be merged: {unknown}")
        one = reading.read(deploy, caffemodel, _REMEDY)
        inputs = [layer for layer in one.net.layer if layer.type == "Input"]
        if not inputs or one.net.input:
            raise UserError(f"{deploy} has no layer of type Input: {_REMEDY}")
        if k == 1:
            first = inputs
            whole.layer.extend(inputs)
        elif inputs != first:
            raise UserError(
                f"{deploy} has other inputs than {members[0][0]}: merge networks of "
                "the same input"
            )
        shared = {top for layer in inputs for top in layer.top}
        own = _output(one.net, shared, deploy)
        name = name or own
        outputs.append(_own(k, own))
        for layer in one.net.layer:
            if layer.type != "Input":
                whole.layer.append(_renamed(layer, k, shared))
        known = {layer.name for layer in one.net.layer}
        for layer in reading.layers_with_weights(one.weights):
            # The caffemodel of a training also has the layers of its data and loss.
            if layer.name in known:
                kept = weights.layer.add(name=_own(k, layer.name), type=layer.type)
                kept.blobs.extend(layer.blobs)
    mean = whole.layer.add(name=name, type="Eltwise", bottom=outputs, top=[name])
    # Rounded down: the mean of ones must not be above 1.
    share = np.nextafter(np.float32(1 / len(members)), np.float32(0))
    mean.eltwise_param.operation = 1  # SUM
    mean.eltwise_param.coeff.extend([float(share)] * len(members))
    return reading.Network(whole, weights)


def parts(weights: Any) -> list[Any]:
    """Return the weights of each member of a merged network, under their old names."""
    found: dict[int, Any] = {}
    for layer in reading.layers_with_weights(weights):
        match = re.fullmatch(r"net([1-9][0-9]*)_(.+)", layer.name, re.DOTALL)
        if match:
            network = found.setdefault(int(match[1]), NetParameter())
            kept = network.layer.add(name=match[2], type=layer.type)
            kept.blobs.extend(layer.blobs)
    return [found[k] for k in sorted(found)]


def text_of(net: Any) -> str:
    """Return a network as a prototxt."""
    return text_format.MessageToString(net)


def _own(k: int, name: str) -> str:
    return f"net{k}_{name}"


def _output(net: Any, inputs: set[str], deploy: Path) -> str:
    """Return the only blob that nobody reads."""
    tops = [top for layer in net.layer for top in layer.top]
    # A layer in place reads the blob that it makes.
    read = {
        bottom
        for layer in net.layer
        for bottom in layer.bottom
        if bottom not in layer.top
    }
    last = sorted(set(tops) - read - inputs)
    if len(last) != 1:
        raise UserError(
            f"{deploy} has {len(last)} outputs ({', '.join(last)}): merge networks "
            "with one"
        )
    return last[0]


def _renamed(layer: Any, k: int, shared: set[str]) -> Any:
    new = type(layer).FromString(layer.SerializeToString())
    new.name = _own(k, layer.name)
    for names in (new.bottom, new.top):
        for i, blob in enumerate(names):
            names[i] = blob if blob in shared else _own(k, blob)
    for param in new.param:
        if param.name:
            param.name = _own(k, param.name)
    return new
