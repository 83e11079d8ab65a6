"""A graph of ONNX in the making."""

from collections.abc import Mapping
from fractions import Fraction
from math import lcm
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from randrop.errors import UserError
from randrop.exchange.reading import Arrays

Shape = tuple[int, ...]


class LayerError(UserError):
    """A layer that cannot be translated."""


class FitError(LayerError):
    """A network that its weights do not fit."""


class Tensor(NamedTuple):
    """A value in the graph.

    Attributes
    ----------
    name : str
    shape : tuple of int
        For the input shape that the deploy file declares.
    scale : Fraction
        Its sides as a share of the input's.
    """

    name: str
    shape: Shape
    scale: Fraction


class Graph:
    """A graph in the making.

    Attributes
    ----------
    blobs : dict of str to Tensor
        What each of Caffe's blobs holds after the last layer: layers that work in place
        reuse names.
    multiple : int
        The input's sides must be multiples of this.
    fixed : bool
        Whether a layer fixes the sides of the input.
    """

    def __init__(self, arrays: Mapping[str, Arrays]) -> None:
        self.arrays = arrays
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Tensor] = []
        self.blobs: dict[str, Tensor] = {}
        self.unread: dict[str, Tensor] = {}
        self.multiple = 1
        self.fixed = False
        self._names: set[str] = set()

    def name(self, wanted: str) -> str:
        """Return `wanted`, or with a number if it is taken."""
        found, count = wanted, 1
        while found in self._names:
            count += 1
            found = f"{wanted}_{count}"
        self._names.add(found)
        return found

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add an array, numbers as float32, and return its name."""
        kind = np.int64 if values.dtype.kind == "i" else np.float32
        name = self.name(name)
        values = np.ascontiguousarray(values, kind)
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = self.name(name)
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=output, **attributes)
        )
        return output

    def input(self, blob: str, shape: Shape) -> None:
        """Add an input of the network."""
        tensor = Tensor(self.name(blob), shape, Fraction(1))
        self.inputs.append(tensor)
        self.blobs[blob] = self.unread[blob] = tensor

    def bottom(self, layer: Any, number: int = 0) -> Tensor:
        """Return what a layer reads.

        Raises
        ------
        LayerError
        """
        blob = layer.bottom[number] if number < len(layer.bottom) else ""
        if blob not in self.blobs:
            raise LayerError(
                f"layer {layer.name!r} reads {blob!r}, which no layer makes"
            )
        self.unread.pop(blob, None)
        return self.blobs[blob]

    def top(self, layer: Any, name: str, shape: Shape, scale: Fraction) -> None:
        """Set what a layer makes."""
        if len(layer.top) != 1:
            raise LayerError(f"layer {layer.name!r} has {len(layer.top)} tops, not one")
        tensor = Tensor(name, shape, scale)
        self.blobs[layer.top[0]] = self.unread[layer.top[0]] = tensor
        self.multiple = lcm(self.multiple, scale.denominator)

    def weights(self, layer: Any, *wanted: Shape) -> Arrays:
        """Return a layer's weights in the wanted shapes; old files add leading ones.

        Raises
        ------
        FitError
        """
        arrays = self.arrays.get(layer.name)
        if not arrays:
            raise FitError(f"the weights have no data for layer {layer.name}")
        fits = len(arrays) == len(wanted) and all(
            have.shape == want or have.shape == (1,) * (4 - len(want)) + want
            for have, want in zip(arrays, wanted, strict=True)
        )
        if not fits:
            have, want = (
                " and ".join(
                    "x".join(map(str, shape)) or "one number" for shape in shapes
                )
                for shapes in ([values.shape for values in arrays], wanted)
            )
            raise FitError(
                f"layer {layer.name!r} has blobs of {have} in the weights, but of "
                f"{want} in the network"
            )
        return [
            values.reshape(want) for values, want in zip(arrays, wanted, strict=True)
        ]


def model(graph: Graph, name: str) -> onnx.ModelProto:
    """Return a graph with one input and one output as a model of IR 8 and opset 13.

    Raises
    ------
    LayerError
        If it has more inputs or outputs.
    """
    if len(graph.inputs) != 1 or len(graph.unread) != 1:
        raise LayerError(
            f"the network has inputs {[t.name for t in graph.inputs]} and outputs "
            f"{list(graph.unread)}, not one each"
        )
    ((blob, last),) = graph.unread.items()
    if not graph.nodes:
        raise LayerError("the network has no layer that computes")
    blob = _rename(graph, last.name, blob)
    first = graph.inputs[0]
    made = helper.make_graph(
        graph.nodes,
        name,
        [_value(first.name, first.shape, _axes(first.shape, graph.fixed))],
        [_value(blob, last.shape, _axes(last.shape, graph.fixed, last.scale))],
        graph.constants,
    )
    opset = helper.make_opsetid("", 13)
    return helper.make_model(
        made, opset_imports=[opset], ir_version=8, producer_name="randrop"
    )


def _rename(graph: Graph, old: str, new: str) -> str:
    """Give the network's output the name of Caffe's blob; return the name."""
    if new == graph.inputs[0].name:
        return old  # All layers work in place.
    if old != new:
        names = {old: new, new: graph.name(new)}
        for node in graph.nodes:
            for each in (node.input, node.output):
                each[:] = [names.get(name, name) for name in each]
    return new


def _axes(shape: Shape, fixed: bool, scale: Fraction = Fraction(1)) -> list[Any]:
    names = {4: ["height", "width"], 5: ["depth", "height", "width"]}
    spatial: list[Any] = names.get(len(shape), list(shape[2:]))
    if fixed:
        spatial = list(shape[2:])
    elif scale != 1:
        spatial = [f"output_{axis}" for axis in spatial]
    return ["batch", *shape[1:2], *spatial]


def _value(name: str, shape: Shape, axes: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)
