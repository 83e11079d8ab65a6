"""Caffe's layers as nodes of ONNX."""

from collections import Counter
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop.exchange import rules
from randrop.exchange.graph import (
    Axis,
    FitError,
    Graph,
    LayerError,
    Shape,
    Tensor,
    called,
)
from randrop.exchange.reading import Arrays
from randrop.exchange.rules import demand_use as _only

Translation = Callable[[Graph, Any], None]


def translate(net: Any, arrays: Mapping[str, Arrays]) -> Graph:
    """Return the graph of a network.

    Parameters
    ----------
    net : NetParameter
        As `check_layers` accepts it.
    arrays : mapping of str to list of ndarray
        The weights of each layer.

    Raises
    ------
    LayerError
        Names a layer that cannot be translated, or whose weights are missing or have
        another shape.
    """
    return _fill(Graph(arrays), net)


def shapes_of_weights(net: Any) -> dict[str, list[Shape]]:
    """Return the shapes of each layer's weights.

    Raises
    ------
    LayerError
        As `translate`.
    """
    graph = _Asking({})
    _fill(graph, net)
    return graph.asked


class _Asking(Graph):
    """A graph that is built to see which weights it takes."""

    def __init__(self, arrays: Mapping[str, Arrays]) -> None:
        super().__init__(arrays)
        self.asked: dict[str, list[Shape]] = {}

    def weights(self, layer: Any, *wanted: Shape) -> Arrays:
        self.asked[layer.name] = list(wanted)
        return [np.zeros(shape) for shape in wanted]


def _fill(graph: Graph, net: Any) -> Graph:
    """Add all layers of a network to a graph and return it."""
    shapes = [tuple(shape.dim) for shape in net.input_shape]
    if net.input_dim:
        dims = list(net.input_dim)
        shapes = [tuple(dims[i : i + 4]) for i in range(0, len(dims), 4)]
    if len(shapes) != len(net.input):
        raise LayerError(f"{len(net.input)} inputs have {len(shapes)} shapes")
    for blob, shape in zip(net.input, shapes, strict=True):
        graph.input(blob, shape)
    graph.names = Counter(layer.name for layer in net.layer)
    for graph.number, layer in enumerate(net.layer):
        LAYERS[layer.type](graph, layer)
    return graph


def check_layers(net: Any) -> None:
    """Refuse a network with layers that `translate` does not know, or Caffe refuses.

    Raises
    ------
    LayerError
    """
    if net.layers:
        raise LayerError(
            "it is in the format of 2014 (layers { type: CONVOLUTION }): convert it by "
            "Caffe's program upgrade_net_proto_text, which 'make "
            "upgrade_net_proto_text' makes in Caffe's build folder"
        )
    for layer in net.layer:
        if layer.type not in LAYERS:
            raise LayerError(
                f"{called(layer)} has the type {layer.type}, which is not "
                f"translated: replace it by layers of {', '.join(sorted(LAYERS))}"
            )
        if layer.include or layer.exclude:
            raise LayerError(
                f"{called(layer)} has include or exclude: a deploy file has the "
                "layers of the deployed network alone"
            )
        rules.check(layer)


def _along(layer: Any, param: Any, name: str, axes: int, default: int) -> list[int]:
    """Return kernel_size, stride, pad or dilation for each spatial axis."""
    short = name.removesuffix("_size")
    names = [f"{short}_h", f"{short}_w"]
    if name != "dilation" and any(param.HasField(n) for n in names):
        _only(layer, axes == 2, f"{names[0]} for {axes} axes")
        return [getattr(param, n) for n in names]
    given = getattr(param, name)
    values = list(given) if not isinstance(given, int) else [given]
    if not values:
        values = [default]
    _only(layer, len(values) in (1, axes), f"{len(values)} values of {name}")
    return values * axes if len(values) == 1 else values


def _input(graph: Graph, layer: Any) -> None:
    shapes = [tuple(shape.dim) for shape in layer.input_param.shape]
    if len(shapes) == 1:
        shapes *= len(layer.top)
    if len(shapes) != len(layer.top):
        raise LayerError(f"{called(layer)} gives no shape for each top")
    for blob, shape in zip(layer.top, shapes, strict=True):
        graph.input(blob, shape)


def _convolution(graph: Graph, layer: Any) -> None:
    param, bottom = layer.convolution_param, graph.bottom(layer)
    axes = len(bottom.shape) - 2
    _only(layer, param.axis in (1, -1 - axes), f"axis {param.axis}")
    _only(layer, axes > 0, "an input without sides")
    kernel = _along(layer, param, "kernel_size", axes, 0)
    stride = _along(layer, param, "stride", axes, 1)
    pad = _along(layer, param, "pad", axes, 0)
    dilation = _along(layer, param, "dilation", axes, 1)
    turned = layer.type == "Deconvolution"
    inputs, outputs = graph.channels(layer), param.num_output
    rules.demand(layer, inputs % param.group == 0, f"group {param.group} of {inputs}")
    pair = (inputs, outputs) if turned else (outputs, inputs)
    wanted = [(pair[0], pair[1] // param.group, *kernel)]
    if param.bias_term:
        wanted.append((outputs,))
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    change = Axis.enlarged if turned else Axis.convolved
    steps = list(zip([2 * p for p in pad], extents, stride, strict=True))
    sides = [
        change(Axis.fixed(side), *step).offset
        for side, step in zip(bottom.shape[2:], steps, strict=True)
    ]
    spatial = [
        change(axis, *step) for axis, step in zip(bottom.axes[2:], steps, strict=True)
    ]
    if min(sides) < 1:
        raise LayerError(f"{called(layer)} has no output for {bottom.shape}")
    weights = graph.weights(layer, *wanted)
    if turned:
        # OpenCV ignores dilation here, and writes beyond its memory if the padding cuts
        # more than a kernel: zeros in the kernel say the same.
        border = [max(0, p - e + 1) for p, e in zip(pad, extents, strict=True)]
        weights[0] = _spread(weights[0], dilation, border)
        kernel, dilation = list(weights[0].shape[2:]), [1] * axes
        pad = [p + b for p, b in zip(pad, border, strict=True)]
    names = [
        graph.constant(f"{layer.name}.{what}", values)
        for what, values in zip(("weight", "bias"), weights, strict=False)
    ]
    output = graph.node(
        "ConvTranspose" if turned else "Conv",
        [bottom.name, *names],
        layer.name,
        kernel_shape=kernel,
        strides=stride,
        pads=pad * 2,
        dilations=dilation,
        group=param.group,
    )
    axes_made = [bottom.axes[0], Axis.fixed(outputs), *spatial]
    graph.top(layer, output, (bottom.shape[0], outputs, *sides), axes_made)


def _spread(
    kernels: NDArray[Any], dilation: list[int], border: list[int]
) -> NDArray[Any]:
    """Return kernels with the zeros between their numbers, and zeros around them."""
    sides = [d * (k - 1) + 1 for k, d in zip(kernels.shape[2:], dilation, strict=True)]
    wide = np.zeros((*kernels.shape[:2], *sides), kernels.dtype)
    wide[(..., *[slice(None, None, d) for d in dilation])] = kernels
    return np.pad(wide, [(0, 0), (0, 0), *((b, b) for b in border)])


def _pooling(graph: Graph, layer: Any) -> None:
    param, bottom = layer.pooling_param, graph.bottom(layer)
    axes = len(bottom.shape) - 2
    _only(layer, axes == 2, f"{axes} axes")
    _only(layer, param.pool in (0, 1), "stochastic pooling")
    kind = "MaxPool" if param.pool == 0 else "AveragePool"
    if param.global_pooling:
        output = graph.node(f"Global{kind}", [bottom.name], layer.name)
        ones = [Axis.fixed(1)] * 2
        graph.top(layer, output, (*bottom.shape[:2], 1, 1), [*bottom.axes[:2], *ones])
        return
    kernel, stride, pad = (
        _along(layer, param, name, 2, 0) for name in ("kernel_size", "stride", "pad")
    )
    # With padding, Caffe drops a last window that begins outside, as ONNX does only in
    # some runtimes; and Caffe's mean counts padding in another way.
    whole = stride == [1, 1] and kind == "MaxPool"
    _only(layer, not any(pad) or whole, "pad")
    steps = list(zip([2 * p for p in pad], kernel, stride, strict=True))
    sides = [
        Axis.fixed(side).pooled(*step).offset
        for side, step in zip(bottom.shape[2:], steps, strict=True)
    ]
    if min(sides) < 1:
        raise LayerError(f"{called(layer)} has no output for {bottom.shape}")
    spatial = [
        axis.pooled(*step) for axis, step in zip(bottom.axes[2:], steps, strict=True)
    ]
    output = graph.node(
        kind,
        [bottom.name],
        layer.name,
        kernel_shape=kernel,
        strides=stride,
        pads=pad * 2,
        ceil_mode=1,
    )
    shape = (*bottom.shape[:2], *sides)
    graph.top(layer, output, shape, [*bottom.axes[:2], *spatial])


def _linear(
    graph: Graph, layer: Any, factor: NDArray[Any], shift: NDArray[Any] | None
) -> None:
    """Add the multiplication and addition of one number for each channel."""
    bottom = graph.bottom(layer)
    shape = (-1, *[1] * (len(bottom.shape) - 2))
    factors = graph.constant(f"{layer.name}.factor", factor.reshape(shape))
    output = graph.node("Mul", [bottom.name, factors], layer.name)
    if shift is not None:
        shifts = graph.constant(f"{layer.name}.shift", shift.reshape(shape))
        output = graph.node("Add", [output, shifts], f"{layer.name}_sum")
    graph.top(layer, output, bottom.shape, bottom.axes)


def _batch_norm(graph: Graph, layer: Any) -> None:
    param = layer.batch_norm_param
    by_training = param.use_global_stats or not param.HasField("use_global_stats")
    _only(layer, by_training, "use_global_stats: false")
    count = graph.channels(layer)
    mean, variance, weight = graph.weights(layer, (count,), (count,), (1,))
    share = 0 if weight.item() == 0 else 1 / weight.item()
    if not (variance * share + param.eps > 0).all():
        raise FitError(f"{called(layer)} has a negative variance in the weights")
    factor = 1 / np.sqrt(variance * share + param.eps)
    _linear(graph, layer, factor, -mean * share * factor)


def _scale(graph: Graph, layer: Any) -> None:
    param = layer.scale_param
    _only(layer, (param.axis, param.num_axes) == (1, 1), "other axes than channels")
    count = graph.channels(layer)
    wanted = [(count,)] * (2 if param.bias_term else 1)
    factor, *shift = graph.weights(layer, *wanted)
    _linear(graph, layer, factor, shift[0] if shift else None)


def _elementwise(kind: str) -> Translation:
    def add(graph: Graph, layer: Any) -> None:
        bottom = graph.bottom(layer)
        output = graph.node(kind, [bottom.name], layer.name)
        graph.top(layer, output, bottom.shape, bottom.axes)

    return add


def _relu(graph: Graph, layer: Any) -> None:
    bottom, slope = graph.bottom(layer), layer.relu_param.negative_slope
    how = ("LeakyRelu", {"alpha": slope}) if slope else ("Relu", {})
    output = graph.node(how[0], [bottom.name], layer.name, **how[1])
    graph.top(layer, output, bottom.shape, bottom.axes)


def _softmax(graph: Graph, layer: Any) -> None:
    bottom = graph.bottom(layer)
    axis = rules.whole(layer, layer.softmax_param.axis, len(bottom.shape))
    output = graph.node("Softmax", [bottom.name], layer.name, axis=axis)
    graph.top(layer, output, bottom.shape, bottom.axes)


def _bottoms(graph: Graph, layer: Any) -> list[Tensor]:
    return [graph.bottom(layer, number) for number in range(len(layer.bottom))]


def _concat(graph: Graph, layer: Any) -> None:
    param, bottoms = layer.concat_param, _bottoms(graph, layer)
    axis = param.concat_dim if param.HasField("concat_dim") else param.axis
    axis = rules.whole(layer, axis, len(bottoms[0].shape))
    others = {b.shape[:axis] + b.shape[axis + 1 :] for b in bottoms}
    if len(others) > 1 or len({len(b.shape) for b in bottoms}) > 1:
        raise LayerError(_differ(layer, bottoms))
    names = [b.name for b in bottoms]
    how: dict[str, Any] = {"axis": axis} if len(names) > 1 else {}
    output = graph.node("Concat" if how else "Identity", names, layer.name, **how)
    shape, axes = list(bottoms[0].shape), list(bottoms[0].axes)
    shape[axis] = sum(b.shape[axis] for b in bottoms)
    axes[axis] = Axis.sum(b.axes[axis] for b in bottoms)
    graph.top(layer, output, tuple(shape), axes)


def _differ(layer: Any, bottoms: list[Tensor]) -> str:
    shapes = " and ".join("x".join(map(str, b.shape)) for b in bottoms)
    return f"{called(layer)} gets shapes that do not match: {shapes}"


def _eltwise(graph: Graph, layer: Any) -> None:
    param, bottoms = layer.eltwise_param, _bottoms(graph, layer)
    if len({b.shape for b in bottoms}) > 1:
        raise LayerError(_differ(layer, bottoms))
    names = [b.name for b in bottoms]
    # Caffe ignores the factors of a maximum.
    for index, factor in enumerate(param.coeff if param.operation == 1 else ()):
        if factor != 1:
            value = graph.constant(f"{layer.name}.coeff", np.array([factor]))
            what = f"{layer.name}_part"
            names[index] = graph.node("Mul", [names[index], value], what)
    kind = ("Mul", "Add", "Max")[param.operation]
    # Two at a time: every program reads that.
    output = names[0]
    for name in names[1:]:
        output = graph.node(kind, [output, name], layer.name)
    graph.top(layer, output, bottoms[0].shape, bottoms[0].axes)


def _reshape(graph: Graph, layer: Any) -> None:
    param, bottom = layer.reshape_param, graph.bottom(layer)
    _only(layer, (param.axis, param.num_axes) == (0, -1), "axis or num_axes")
    dims = list(param.shape.dim)
    _only(layer, len(dims) > 1, f"{len(dims)} axes")
    beyond = 0 in dims[len(bottom.shape) :]
    rules.demand(layer, not beyond, f"0 for an axis that {bottom.shape} lacks")
    known = [bottom.shape[i] if d == 0 else d for i, d in enumerate(dims)]
    if -1 in known:
        known[known.index(-1)] = prod(bottom.shape) // -prod(known)
    if prod(known) != prod(bottom.shape):
        raise LayerError(f"{called(layer)} cannot give {bottom.shape} {dims}")
    flat = -1 not in dims and not _per_image(bottom, dims)
    graph.fixed = graph.fixed or flat or any(d > 0 for d in dims[2:])
    _only(layer, dims[0] in (0, -1), "a fixed number of images")
    shape = graph.constant(f"{layer.name}.shape", np.array(dims))
    output = graph.node("Reshape", [bottom.name, shape], layer.name)
    found = Axis.fixed if _per_image(bottom, dims) else lambda _: Axis.unknown()
    axes = [
        bottom.axes[i] if d == 0 else Axis.fixed(d) if d > 0 else found(known[i])
        for i, d in enumerate(dims)
    ]
    graph.top(layer, output, tuple(known), axes)


def _per_image(bottom: Tensor, dims: list[int]) -> bool:
    """Return whether all axes but those that are copied are the same for all inputs."""
    changing = {i for i, axis in enumerate(bottom.axes) if axis.scale}
    return changing <= {i for i, d in enumerate(dims) if d == 0}


def _nothing(graph: Graph, layer: Any) -> None:
    """Pass the value on: a layer that works in training alone."""
    bottom = graph.bottom(layer)
    graph.top(layer, bottom.name, bottom.shape, bottom.axes)


LAYERS: dict[str, Translation] = {
    "BatchNorm": _batch_norm,
    "Concat": _concat,
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "Dropout": _nothing,
    "Eltwise": _eltwise,
    "Input": _input,
    "Pooling": _pooling,
    "ReLU": _relu,
    "Reshape": _reshape,
    "Scale": _scale,
    "Sigmoid": _elementwise("Sigmoid"),
    "Softmax": _softmax,
    "TanH": _elementwise("Tanh"),
}
