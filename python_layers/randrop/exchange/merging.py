"""Several networks as one network of Caffe: the mean of their outputs.

A member may work at a reduced size: the network then averages its input over blocks of
pixels, and interpolates that member's output.

Any program that runs a caffemodel then runs the ensemble, without a word of ours.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from randrop.errors import UserError
from randrop.exchange import reading
from randrop.exchange.messages import NetParameter

FACTORS = (1, 2, 4, 8)
"""By how much a member may reduce its input."""

_REMEDY = "give deploy files and weights of scripts/train.py"


def merge(
    members: Sequence[tuple[Path, Path]],
    factors: Sequence[int] = (),
    shares: Sequence[float] = (),
) -> reading.Network:
    """Return the network whose output is the mean of those of its members.

    Parameters
    ----------
    members : sequence of (Path, Path)
        Deploy file and caffemodel of each. They have the same inputs, and one output
        of the same shape.
    factors : sequence of int, optional
        By how much each member reduces its input: 1, 2, 4 or 8; by default 1.
    shares : sequence of float, optional
        Weight of each in the mean; by default all alike.

    Returns
    -------
    reading.Network
        The layers, blobs and shared parameters of member k begin with `net<k>_`; inputs
        and the output have the names that they have in the first member.

    Raises
    ------
    UserError
        If there are fewer than two, a factor or weight is out of range, a file cannot
        be read, a member has parameters that we do not know, inputs differ, or a member
        has not one output.
    """
    if len(members) < 2:
        raise UserError(f"there are {len(members)} networks: merge at least two")
    factors, coefficients = checked(len(members), factors, shares)
    weighed = list(zip(factors, coefficients, strict=True))
    whole, weights = NetParameter(), NetParameter()
    outputs: list[str] = []
    first: list[Any] = []
    name = ""
    terms = []
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
        terms.append(_term(one.net.name or f"net{k}", *weighed[k - 1]))
        name = name or own
        names = {top: top for top in shared}
        if factors[k - 1] > 1:
            names = {top: _own(k, f"reduced_{top}") for top in sorted(shared)}
            whole.layer.extend(
                _reduction(top, new, factors[k - 1]) for top, new in names.items()
            )
        for layer in one.net.layer:
            if layer.type != "Input":
                whole.layer.append(_renamed(layer, k, names))
        outputs.append(_own(k, own))
        known = {layer.name for layer in one.net.layer}
        for layer in reading.layers_with_weights(one.weights):
            # The caffemodel of a training also has the layers of its data and loss.
            if layer.name in known:
                kept = weights.layer.add(name=_own(k, layer.name), type=layer.type)
                kept.blobs.extend(layer.blobs)
        if factors[k - 1] > 1:
            channels = _channels(one, own, deploy)
            outputs[-1] = _interpolate(
                whole, weights, outputs[-1], channels, factors[k - 1]
            )
    mean = whole.layer.add(name=name, type="Eltwise", bottom=outputs, top=[name])
    mean.eltwise_param.operation = 1  # SUM
    mean.eltwise_param.coeff.extend(coefficients)
    # Programs know a network by its caffemodel, which has neither factors nor weights.
    whole.name = weights.name = f"({' + '.join(terms)})"
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


def checked(
    count: int, factors: Sequence[int], shares: Sequence[float]
) -> tuple[list[int], list[float]]:
    """Return the factor of each member, and its coefficient in the sum.

    Raises
    ------
    UserError
        As of `merge`.
    """
    factors, shares = list(factors) or [1] * count, list(shares) or [1.0] * count
    for what, found in (("factors", factors), ("weights", shares)):
        if len(found) != count:
            raise UserError(f"{len(found)} {what} are given for {count} networks")
    if unknown := [factor for factor in factors if factor not in FACTORS]:
        raise UserError(
            f"a network cannot reduce its input by {unknown[0]}: "
            f"{', '.join(map(str, FACTORS))} are possible"
        )
    if bad := [share for share in shares if not 0 < share < np.inf]:
        raise UserError(f"a weight is {bad[0]:g}: give numbers above 0")
    # A sum of large ones would be infinite.
    shares = [share / max(shares) for share in shares]
    total = sum(shares)
    # Rounded down: the mean of ones must not be above 1.
    coefficients = [
        float(np.nextafter(np.float32(share / total), np.float32(0)))
        for share in shares
    ]
    if min(coefficients) < np.finfo(np.float32).tiny:
        raise UserError(
            f"the smallest weight is {min(shares):g} of the largest: give weights that "
            "differ less, or omit that network"
        )
    return factors, coefficients


def _term(name: str, factor: int, coefficient: float) -> str:
    reduced = f" at 1/{factor}" if factor > 1 else ""
    return f"{coefficient:.9g} {name}{reduced}"


def _reduction(blob: str, top: str, factor: int) -> Any:
    """Return the layer that averages blocks of the input."""
    layer = NetParameter().layer.add(name=top, type="Pooling", bottom=[blob], top=[top])
    layer.pooling_param.pool = 1  # AVE
    layer.pooling_param.kernel_size = layer.pooling_param.stride = factor
    return layer


def _interpolate(
    whole: Any, weights: Any, blob: str, channels: int, factor: int
) -> str:
    """Add the layer that enlarges a blob bilinearly; return the name of its top."""
    name = f"{blob}_enlarged"
    layer = whole.layer.add(name=name, type="Deconvolution", bottom=[blob], top=[name])
    layer.param.add(lr_mult=0)
    param = layer.convolution_param
    param.num_output = param.group = channels
    param.kernel_size.append(2 * factor)
    param.stride.append(factor)
    param.pad.append(factor // 2)
    param.bias_term = False
    distance = np.abs(np.arange(2 * factor) + 0.5 - factor)
    line = 1 - distance / factor  # exact, as the factor is a power of two
    kernel = np.tile(np.outer(line, line).ravel(), channels)
    stored = weights.layer.add(name=name, type="Deconvolution").blobs.add()
    stored.shape.dim.extend([channels, 1, 2 * factor, 2 * factor])
    stored.data.extend(kernel.tolist())
    return name


def _channels(one: reading.Network, own: str, deploy: Path) -> int:
    """Return the number of channels of a network's output."""
    stored = {layer.name: layer for layer in reading.layers_with_weights(one.weights)}
    blob = own
    for layer in reversed(one.net.layer):
        if blob not in layer.top:
            continue
        if layer.type in ("Convolution", "Deconvolution") and layer.name in stored:
            return int(layer.convolution_param.num_output)
        if not layer.bottom:
            break
        blob = layer.bottom[0]
    raise UserError(f"{deploy} has no convolution before its output: {_REMEDY}")


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


def _renamed(layer: Any, k: int, inputs: Mapping[str, str]) -> Any:
    new = type(layer).FromString(layer.SerializeToString())
    new.name = _own(k, layer.name)
    for names in (new.bottom, new.top):
        for i, blob in enumerate(names):
            names[i] = inputs.get(blob) or _own(k, blob)
    for param in new.param:
        if param.name:
            param.name = _own(k, param.name)
    return new
