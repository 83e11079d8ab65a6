"""Weights of a PyTorch module for the same network in Caffe."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.exchange import layers, reading
from randrop.exchange.graph import LayerError
from randrop.exchange.messages import NetParameter
from randrop.exchange.reading import Arrays
from randrop.exchange.wiring import only_readers
from randrop.files import reading as files

State = dict[str, NDArray[Any]]
"""A state_dict: name to array, in the order of the module."""

NPZ = (
    "python3 -c \"import numpy, torch; s = torch.load('FILE', map_location='cpu'); "
    "numpy.savez('weights.npz', **{k: v.double().numpy() for k, v in "
    "s.get('state_dict', s).items()})\""
)
"""A command that needs PyTorch, but not this project."""

_STATISTICS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


class Module(NamedTuple):
    """A part of the state with weights: one convolution or one normalisation."""

    name: str
    arrays: State


class Step(NamedTuple):
    """What of the state a layer takes."""

    layer: str
    kind: str
    module: str
    shape: tuple[int, ...]


class Imported(NamedTuple):
    """Weights for Caffe."""

    weights: bytes  # the caffemodel
    steps: list[Step]


def read_state(path: Path) -> State:
    """Read a state_dict from .npz, or from a file of torch.save if torch is there.

    Raises
    ------
    UserError
        If it is damaged, has no arrays, or needs torch where there is none.
    """
    files.check_regular(path)
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = dict(stored)
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing") from error
        except Exception as error:  # zipfile, zlib, NumPy: each has its own.
            raise UserError(
                f"{path} is damaged or holds objects ({error}): write it with {NPZ}"
            ) from error
    else:
        found = _by_torch(path)
    if not found:
        raise UserError(f"{path} has no weights: write it with {NPZ}")
    for name, values in found.items():
        if values.dtype.kind not in "fiu":
            raise UserError(
                f"{path}: {name} is of {values.dtype}, not real numbers, which Caffe's "
                "weights are"
            )
        with np.errstate(over="ignore"):
            finite = np.isfinite(values.astype(np.float32)).all()
        if not finite:
            raise UserError(
                f"{path}: {name} has values that are no finite numbers of 32 bits, as "
                "after a diverged training: give the weights of an earlier epoch"
            )
    return found


def _by_torch(path: Path) -> State:
    if not path.exists():
        raise UserError(f"{path} is missing")
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"reading {path} takes PyTorch, which is not installed here: where it is, "
            f"run {NPZ}, and give weights.npz"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip, torch: each has its own.
        words = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).partition("\n")[0]
        raise UserError(
            f"{path} is no state_dict ({words}): save model.state_dict(), not the model"
        ) from error
    # Trainers put the state beside other things.
    nested = [v for v in content.values() if _is_state(v)] if _is_dict(content) else []
    if not _is_state(content) and len(nested) != 1:
        raise UserError(
            f"{path} has {len(nested)} state_dicts, not one: save model.state_dict()"
        )
    state = content if _is_state(content) else nested[0]
    return {name: value.double().numpy() for name, value in state.items()}


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_state(value: Any) -> bool:
    return (
        _is_dict(value)
        and len(value) > 0
        and all(hasattr(tensor, "numpy") for tensor in value.values())
    )


def modules(state: State) -> list[Module]:
    """Return the parts of a state in its order."""
    found: dict[str, State] = {}
    for key, values in state.items():
        name, _, what = key.rpartition(".")
        found.setdefault(name, {})[what] = values
    return [Module(name, arrays) for name, arrays in found.items()]


def convert(
    state: State, deploy: Path, given: Mapping[str, str] | None = None
) -> Imported:
    """Return the weights of a PyTorch module as those of a network of Caffe.

    Each layer of the network, in its order, takes the first unused part of the state
    of its kind and shape. So parts of one shape must have one order in both, as when
    the module creates them in the order in which it uses them.

    Parameters
    ----------
    state : dict of str to ndarray
    deploy : Path
        The network, with layers of Caffe 1.0.
    given : mapping of str to str, optional
        Layer to the part that it takes, against the order.

    Raises
    ------
    UserError
        If a layer finds no part, or a part is left over; names them with shapes. Also
        if layers that share weights would get different ones.
    """
    remedy = "give the deploy file of the same network"
    net = reading.read_deploy(deploy, remedy)
    try:
        layers.check_layers(net)
        wanted = layers.shapes_of_weights(net)
    except LayerError as error:
        raise UserError(f"{deploy}: {error}") from error
    parts = _Parts(modules(state), given or {}, wanted, deploy)
    made: dict[str, Arrays] = {}
    normalised = _normalised(net)
    for layer in net.layer:
        if layer.name not in wanted or layer.name in made:
            continue
        shapes = wanted[layer.name]
        if layer.type in ("Convolution", "Deconvolution"):
            values = _fixed(layer, shapes)
            if values is None:
                after = normalised.get(layer.name)
                values, bias = parts.convolution(layer, shapes, after is not None)
                if bias is not None:
                    parts.shifts[after.name] = bias
            made[layer.name] = values
        elif layer.type == "BatchNorm":
            scale = _scale_of(net, layer)
            part = parts.normalisation(layer, shapes[0], scale is not None)
            mean, variance = part["running_mean"], part["running_var"]
            made[layer.name] = [
                mean - parts.shifts.pop(layer.name, 0),
                variance,
                np.ones(1),
            ]
            if scale is not None:
                ones, zeros = np.ones(shapes[0]), np.zeros(shapes[0])
                pair = [part.get("weight", ones), part.get("bias", zeros)]
                made[scale.name] = pair[: len(wanted[scale.name])]
                if len(wanted[scale.name]) == 1 and pair[1].any():
                    raise UserError(
                        f"{deploy}: layer {scale.name!r} has no bias, but "
                        f"{parts.steps[-1].module} adds one: give the layer "
                        "scale_param { bias_term: true }"
                    )
        else:
            raise UserError(
                f"{deploy}: layer {layer.name!r} is a {layer.type} without batch "
                "normalisation before it, which a state_dict has no name for: only "
                "convolutions and batch normalisation are converted"
            )
    parts.check_all_used()
    try:
        layers.translate(net, made)
    except LayerError as error:
        raise UserError(f"{deploy}: {error}") from error
    return Imported(_written(net, made), parts.steps)


class _Parts:
    """The parts of a state that no layer has taken yet."""

    def __init__(
        self,
        parts: list[Module],
        given: Mapping[str, str],
        wanted: Mapping[str, Any],
        deploy: Path,
    ) -> None:
        self.left = {part.name: part.arrays for part in parts}
        self.given = dict(given)
        self.deploy = deploy
        self.steps: list[Step] = []
        self.shifts: dict[str, NDArray[Any]] = {}
        for layer, name in given.items():
            if layer not in wanted or name not in self.left:
                raise UserError(
                    f"--map {layer}={name}: the network has "
                    f"{_few(wanted)}, the weights {_few(self.left)}"
                )
        self.reserved = set(given.values())

    def convolution(
        self, layer: Any, shapes: list[tuple[int, ...]], normalised: bool
    ) -> tuple[Arrays, NDArray[Any] | None]:
        """Return the arrays of a convolution, and a bias for the layer after it."""

        def fits(arrays: State) -> bool:
            names = set(arrays) <= {"weight", "bias"} and "weight" in arrays
            bias = len(shapes) == 2 or normalised or "bias" not in arrays
            return names and arrays["weight"].shape == shapes[0] and bias

        arrays = self._take(layer, fits, shapes[0])
        bias = arrays.get("bias")
        if len(shapes) == 1:
            return [arrays["weight"]], bias
        return [
            arrays["weight"],
            np.zeros(shapes[1]) if bias is None else bias,
        ], None

    def normalisation(self, layer: Any, shape: tuple[int, ...], scaled: bool) -> State:
        """Return the arrays of a batch normalisation."""

        def fits(arrays: State) -> bool:
            statistics = {"running_mean", "running_var"} <= set(arrays) <= _STATISTICS
            plain = scaled or "weight" not in arrays
            return statistics and plain and arrays["running_mean"].shape == shape

        return self._take(layer, fits, shape)

    def _take(self, layer: Any, fits: Any, shape: tuple[int, ...]) -> State:
        name = self.given.get(layer.name)
        if name is None:
            free = (n for n in self.left if n not in self.reserved)
            name = next((n for n in free if fits(self.left[n])), None)
        if name is None or name not in self.left or not fits(self.left[name]):
            form = "x".join(map(str, shape))
            raise UserError(
                f"{self.deploy}: no weights fit layer {layer.name!r}, a {layer.type} "
                f"of {form}; left are {_few(self._shapes())}: is it the same network? "
                "--map LAYER=NAME chooses against the order"
            )
        self.steps.append(Step(layer.name, layer.type, name, shape))
        return self.left.pop(name)

    def check_all_used(self) -> None:
        """Refuse parts that no layer took."""
        if self.left:
            raise UserError(
                f"{self.deploy} has no layer for {_few(self._shapes())}: the module is "
                "another network (normalisation without running statistics cannot be "
                "converted)"
            )

    def _shapes(self) -> Iterator[str]:
        for name, arrays in self.left.items():
            first = next(iter(arrays.values()))
            form = "x".join(map(str, first.shape)) or "one number"
            yield f"{name or 'a parameter'} ({form})"


def _few(names: Any) -> str:
    names = list(names)
    return (", ".join(names[:6]) + (", ..." if len(names) > 6 else "")) or "none"


def _normalised(net: Any) -> dict[str, Any]:
    """Return the BatchNorm that alone reads a layer, by the layer's name."""
    pairs = (
        (net.layer[number].name, net.layer[after])
        for number, after in only_readers(net).items()
    )
    return {name: layer for name, layer in pairs if layer.type == "BatchNorm"}


def _scale_of(net: Any, norm: Any) -> Any:
    """Return the Scale that alone reads a BatchNorm, or None."""
    number = [layer.name for layer in net.layer].index(norm.name)
    after = only_readers(net).get(number)
    layer = None if after is None else net.layer[after]
    return layer if layer is not None and layer.type == "Scale" else None


def _fixed(layer: Any, shapes: list[tuple[int, ...]]) -> Arrays | None:
    """Return the weights of an upsampling that repeats pixels, which never learns."""
    filler = layer.convolution_param.weight_filler
    rates = [param.lr_mult for param in layer.param]
    if rates == [0] and filler.type == "constant" and len(shapes) == 1:
        return [np.full(shapes[0], filler.value)]
    return None


def _written(net: Any, made: Mapping[str, Arrays]) -> bytes:
    stored = NetParameter(name=net.name)
    for layer in net.layer:
        if layer.name in made:
            copy = stored.layer.add(name=layer.name, type=layer.type)
            for values in made[layer.name]:
                blob = copy.blobs.add()
                blob.shape.dim.extend(values.shape)
                blob.data.extend(np.asarray(values, np.float32).ravel().tolist())
    return stored.SerializeToString()
