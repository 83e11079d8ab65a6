"""A network's weights as one vector, and what each part of it is."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.exchange import reading
from randrop.training.snapshots import check_weights
from randrop.training.weights import same_shapes, shapes_text

FILTER, OTHER, STATISTICS = "filter", "other", "statistics"
"""The kinds: kernels; biases and factors of normalisation; its averages."""

_WITH_FILTERS = ("Convolution", "Deconvolution", "InnerProduct")
_REMEDY = "name weights of this very network"


@dataclasses.dataclass(frozen=True)
class Part:
    """A blob of the network, and its place in the vector.

    Attributes
    ----------
    layer : str
    number : int
        Of the blob in its layer.
    shape : tuple of int
    kind : {"filter", "other", "statistics"}
        A kernel; a bias or a factor; an average of batch normalisation.
    axis : int
        Of the output channels in a kernel.
    groups : int
        Of a Deconvolution.
    begin : int
        Where it starts in the vector.
    """

    layer: str
    number: int
    shape: tuple[int, ...]
    kind: str
    axis: int
    groups: int
    begin: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def place(self) -> slice:
        """Where it is in the vector."""
        return slice(self.begin, self.begin + self.size)

    def filters(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the kernel with an axis of filters first, a view of the vector.

        Returns
        -------
        ndarray (groups, filters, ...)
            The axes of a filter follow. Caffe stores a Deconvolution as (in, out,
            height, width), and the channels of a group one after the other.
        """
        kernel = vector[self.place]
        if self.axis == 0:
            return kernel.reshape(1, *self.shape)
        grouped = kernel.reshape(
            self.groups, self.shape[0] // self.groups, *self.shape[1:]
        )
        return np.moveaxis(grouped, 2, 1)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Every blob of a network, in the order of the vector."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """The length of the vector."""
        return sum(part.size for part in self.parts)

    def of_kind(self, *kinds: str) -> Iterator[Part]:
        """Yield the parts of some kinds."""
        return (part for part in self.parts if part.kind in kinds)

    def learned(self) -> NDArray[np.bool_]:
        """Return which elements are learned: all but the averages."""
        mask = np.ones(self.size, bool)
        for part in self.of_kind(STATISTICS):
            mask[part.place] = False
        return mask

    @property
    def normalised(self) -> bool:
        """Whether the network has batch normalisation with averages of its own."""
        return any(True for _ in self.of_kind(STATISTICS))


def layout_of(net: Any, shapes: dict[str, list[tuple[int, ...]]]) -> Layout:
    """Return the layout of a network.

    Parameters
    ----------
    net : NetParameter
    shapes : dict of str to list of tuple
        Layer to the shapes of its blobs, in the order of the network.
    """
    types = {layer.name: layer for layer in net.layer}
    parts: list[Part] = []
    begin = 0
    for name, blobs in shapes.items():
        layer = types[name]
        for number, shape in enumerate(blobs):
            kind = OTHER
            if layer.type == "BatchNorm":
                kind = STATISTICS
            elif layer.type in _WITH_FILTERS and number == 0:
                kind = FILTER
            part = Part(
                name, number, tuple(shape), kind, _axis(layer), _groups(layer), begin
            )
            parts.append(part)
            begin += part.size
    return Layout(tuple(parts))


def _axis(layer: Any) -> int:
    if layer.type == "Deconvolution":
        return 1
    return int(layer.type == "InnerProduct" and layer.inner_product_param.transpose)


def _groups(layer: Any) -> int:
    return layer.convolution_param.group if layer.type == "Deconvolution" else 1


def read(path: Path, layout: Layout) -> NDArray[np.float64]:
    """Read a caffemodel as a vector.

    Averages are divided by their own weight (the third blob of a BatchNorm), which
    becomes 1: then those of two files can be mixed.

    Parameters
    ----------
    path : Path
    layout : Layout

    Returns
    -------
    float64 (layout.size,)

    Raises
    ------
    UserError
        If the file is missing, damaged, of another network, or has a weight that is
        not finite.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: {_REMEDY}")
    check_weights(path)
    net = reading.read_weights(path, _REMEDY)
    stored = {n.name: n.blobs for n in reading.layers_with_weights(net)}
    vector = np.empty(layout.size)
    for part in layout.parts:
        blobs = stored.get(part.layer, ())
        if part.number >= len(blobs):
            raise UserError(
                f"{path} belongs to another network: it has no blob {part.number} of "
                f"layer '{part.layer}': {_REMEDY}"
            )
        blob = blobs[part.number]
        shape = reading.shape_of(blob)
        if not same_shapes([shape], [part.shape]):
            raise UserError(
                f"{path} belongs to another network: layer '{part.layer}' has a blob "
                f"of {shapes_text([shape])} there, and {shapes_text([part.shape])} in "
                f"the network: {_REMEDY}"
            )
        values = blob.double_data or blob.data
        if len(values) != part.size:
            raise UserError(
                f"{path} is truncated: it lacks values of layer '{part.layer}': "
                f"{_REMEDY}"
            )
        vector[part.place] = values
    more = set(stored) - {part.layer for part in layout.parts}
    if more:
        raise UserError(
            f"{path} belongs to another network, which has layers "
            f"{', '.join(sorted(more)[:5])}: {_REMEDY}"
        )
    if not np.isfinite(vector).all():
        raise UserError(
            f"{path} has a weight that is not finite, as after a diverged training: "
            "name earlier weights"
        )
    return _weighed(vector, layout)


def _weighed(vector: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    for part in layout.of_kind(STATISTICS):
        if part.number == 2:
            weight = vector[part.place].copy()
            for other in layout.of_kind(STATISTICS):
                if other.layer == part.layer:
                    # Caffe takes averages of weight 0 as 0.
                    vector[other.place] *= 1 / weight if weight else 0
            vector[part.place] = 1
    return vector
