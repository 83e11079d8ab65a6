"""A graph of ONNX in the making."""

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import lcm, prod
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


_MOST = 2**31 - 1  # numbers in a blob of Caffe


class Axis(NamedTuple):
    """A side for every size of the input: a share of one of its sides, and more.

    Attributes
    ----------
    of : str
        The input's axis, or "" if it is none of them.
    scale : Fraction
        Exact where the input's sides are multiples of its denominator.
    offset : int
    """

    of: str
    scale: Fraction
    offset: int

    @classmethod
    def fixed(cls, side: int) -> "Axis":
        """Return a side that is always the same."""
        return cls("", Fraction(0), side)

    @classmethod
    def unknown(cls) -> "Axis":
        """Return a side that depends on several of the input's."""
        return cls("", Fraction(1), 0)

    @classmethod
    def sum(cls, axes: "Iterable[Axis]") -> "Axis":
        """Return the side of several tensors one after the other."""
        axes = list(axes)
        of = {axis.of for axis in axes if axis.scale}
        if len(of) > 1:
            return cls.unknown()
        scale = sum((axis.scale for axis in axes), Fraction(0))
        return cls(of.pop() if of else "", scale, sum(axis.offset for axis in axes))

    def convolved(self, padding: int, extent: int, stride: int) -> "Axis":
        """Return the side after a convolution."""
        offset = (self.offset + padding - extent) // stride + 1
        return Axis(self.of, self.scale / stride, offset)

    def pooled(self, padding: int, extent: int, stride: int) -> "Axis":
        """Return the side after pooling, whose last window may be cut."""
        offset = -(-(self.offset + padding - extent) // stride) + 1
        return Axis(self.of, self.scale / stride, offset)

    def enlarged(self, padding: int, extent: int, stride: int) -> "Axis":
        """Return the side after a transposed convolution."""
        offset = stride * (self.offset - 1) + extent - padding
        return Axis(self.of, self.scale * stride, offset)


class Tensor(NamedTuple):
    """A value in the graph.

    Attributes
    ----------
    name : str
    shape : tuple of int
        For the input shape that the deploy file declares.
    axes : tuple of Axis
        For other shapes.
    """

    name: str
    shape: Shape
    axes: tuple[Axis, ...]


def called(layer: Any) -> str:
    """Return how a message calls a layer; Caffe does not ask for names."""
    return f"layer {layer.name!r}" if layer.name else f"a {layer.type} without a name"


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
    names : Counter of str
        How many layers have each name.
    number : int
        Of the layer that is being added.
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
        self.names: Counter[str] = Counter()
        self.number = 0
        self._readers: dict[str, set[int]] = {}
        self._names: set[str] = set()
        self._shared: dict[str, tuple[Any, NDArray[Any]]] = {}

    def name(self, wanted: str) -> str:
        """Return `wanted`, or with a number if it is taken."""
        wanted = wanted or "layer"
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
        """Add an input of the network.

        Raises
        ------
        LayerError
            If it is too large for Caffe, empty, or made twice.
        """
        self._check(f"input {blob!r}", blob, shape)
        if len(shape) < 2:
            raise LayerError(f"input {blob!r} has {len(shape)} axes, not two or more")
        sides = {4: ["height", "width"], 5: ["depth", "height", "width"]}
        names = ["batch", "", *sides.get(len(shape), [""] * (len(shape) - 2))]
        axes = tuple(
            Axis(name, Fraction(1), 0) if name else Axis.fixed(side)
            for name, side in zip(names, shape, strict=True)
        )
        tensor = Tensor(self.name(blob), shape, axes)
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
            raise LayerError(f"{called(layer)} reads {blob!r}, which no layer makes")
        self.unread.pop(blob, None)
        self._readers.setdefault(blob, set()).add(self.number)
        return self.blobs[blob]

    def channels(self, layer: Any) -> int:
        """Return on how many channels a layer with weights works.

        Raises
        ------
        LayerError
        """
        bottom = self.bottom(layer)
        # A layer before it made channels of pixels.
        self.fixed = self.fixed or bottom.axes[1].scale != 0
        return bottom.shape[1]

    def top(self, layer: Any, name: str, shape: Shape, axes: Iterable[Axis]) -> None:
        """Set what a layer makes.

        Raises
        ------
        LayerError
            If it is too large for Caffe, empty, or made twice.
        """
        (blob,) = layer.top
        in_place = list(layer.bottom[:1]) == [blob]
        if in_place and len(self._readers[blob]) > 1:
            raise LayerError(
                f"{called(layer)} changes {blob!r}, which another layer reads, too: "
                "Caffe refuses this; give its top another name"
            )
        self._readers.pop(blob, None)
        self._check(called(layer), "" if in_place else blob, shape)
        tensor = Tensor(name, shape, tuple(axes))
        self.blobs[blob] = self.unread[blob] = tensor
        scales = (axis.scale.denominator for axis in tensor.axes)
        self.multiple = lcm(self.multiple, *scales)

    def _check(self, maker: str, blob: str, shape: Shape) -> None:
        if blob in self.blobs:
            raise LayerError(f"{maker} makes {blob!r}, which was made before it")
        if min(shape) < 1 or prod(shape) > _MOST:
            form = "x".join(map(str, shape))
            raise LayerError(f"{maker} would make {form} numbers, which Caffe cannot")

    def weights(self, layer: Any, *wanted: Shape) -> Arrays:
        """Return a layer's weights in the wanted shapes; old files add leading ones.

        Raises
        ------
        FitError
        LayerError
            If the name of the layer does not say which weights it has.
        """
        if self.names[layer.name] > 1:
            name = f"are called {layer.name!r}" if layer.name else "have no name"
            raise LayerError(
                f"{self.names[layer.name]} layers {name}, of which Caffe gives weights "
                "to the first alone: give each its name, and train again"
            )
        arrays = self.arrays.get(layer.name)
        if not arrays:
            name = layer.name or called(layer)
            raise FitError(f"the weights have no data for layer {name}")
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
                f"{called(layer)} has blobs of {have} in the weights, but of {want} in "
                "the network"
            )
        found = [
            values.reshape(want) for values, want in zip(arrays, wanted, strict=True)
        ]
        for param, values in zip(layer.param, found, strict=False):
            if param.name:
                self._check_shared(layer, param.name, values)
        return found

    def _check_shared(self, layer: Any, name: str, values: NDArray[Any]) -> None:
        """Refuse other values than a layer before has in the memory that they share."""
        other, known = self._shared.setdefault(name, (layer, values))
        if known.size != values.size or (known.ravel() != values.ravel()).any():
            raise FitError(
                f"{called(layer)} shares the weights {name!r} with {called(other)}, "
                "but the file has two values for them"
            )


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
        [_value(first, first.name, graph.fixed)],
        [_value(last, blob, graph.fixed)],
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


def _value(tensor: Tensor, name: str, fixed: bool) -> Any:
    """Return what the file says of an input or output."""
    sides: list[str | int] = []
    for index, (side, axis) in enumerate(zip(tensor.shape, tensor.axes, strict=True)):
        if not axis.scale or (fixed and axis.of not in ("", "batch")):
            sides.append(side)
        elif axis.of and (axis.scale, axis.offset) == (1, 0):
            sides.append(axis.of)
        else:
            sides.append(f"output_{axis.of or index}")
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)
