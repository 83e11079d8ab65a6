"""Draws nets from pieces, layer by layer."""

from math import prod

from engine_property.pieces import PIECES
from engine_property.shapes import InvalidNetError, input_shape, layer_shapes

# Layers whose backward pass reads their top: an in-place layer on it breaks them.
_READS_TOP = {"Sigmoid", "TanH", "ELU", "Softmax", "LRN", "Exp", "Power", "Eltwise"}
_WITH_ENGINE = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "Pooling": "pooling_param",
    "ReLU": "relu_param",
    "Softmax": "softmax_param",
}
_OURS = {*_WITH_ENGINE, "BatchNorm", "Scale", "Concat", "Eltwise", "Split"}


class Draft:
    """A net that grows layer by layer.

    Parameters
    ----------
    rng : random.Random
        The source of randomness.
    dimensions : int
        Number of spatial axes of the data.
    caffes : float
        The share of layers with `engine: CAFFE`.
    """

    def __init__(self, rng, dimensions, caffes):
        self.rng, self.dimensions, self.caffes = rng, dimensions, caffes
        self.layers, self.shapes, self.readers, self.makers = [], {}, {}, {}
        self.count = 0

    def chance(self, share):
        return self.rng.random() < share

    def _name(self, kind):
        self.count += 1
        return f"{kind.lower()}{self.count}"

    def open(self):
        """Return the blobs that no layer has read yet."""
        return [name for name in self.shapes if not self.readers.get(name)]

    def input(self, shape=None, **like):
        name = self._name("input")
        layer = {"name": name, "type": "Input", "top": [name]}
        if shape is None:
            layer["like"] = like
        else:
            layer["shape"] = list(shape)
        if like.get("label"):
            layer["kind"] = "labels"
        self.shapes[name] = tuple(input_shape(layer, self.shapes, {}))
        self.layers.append(layer)
        return name

    def add(self, kind, bottoms, tops=1, inplace=False, **params):
        """Add a layer and return the names of its tops (one: its name)."""
        bottoms = [bottoms] if isinstance(bottoms, str) else list(bottoms)
        name = self._name(kind)
        made = [name] if tops == 1 else [f"{name}_{i}" for i in range(tops)]
        if inplace and self.may_overwrite(bottoms[0]):
            made = [bottoms[0]]
        layer = {"name": name, "type": kind, "bottom": bottoms, "top": made, **params}
        if kind in _OURS and self.chance(self.caffes):
            key = _WITH_ENGINE.get(kind)
            if key and self.chance(0.5):
                layer[key] = {**layer.get(key, {}), "engine": "CAFFE"}
            else:
                layer["randrop_engine_param"] = {"engine": "CAFFE"}
        shapes, _ = layer_shapes(layer, [self.shapes[b] for b in bottoms])
        if any(prod(shape) > 60000 for shape in shapes):
            raise InvalidNetError
        for b in bottoms:
            self.readers[b] = self.readers.get(b, 0) + (made != [b])
        self.shapes.update(zip(made, shapes, strict=True))
        self.makers.update(dict.fromkeys(made, layer))
        self.layers.append(layer)
        return made[0] if tops == 1 else made

    def may_overwrite(self, blob):
        maker = self.makers.get(blob)
        if maker is None or self.readers.get(blob):
            return False
        # In-place ReLU and similar layers also read what they have written.
        own = maker["top"] == maker["bottom"]
        slopes = maker["type"] in ("ReLU", "PReLU")
        return maker["type"] not in _READS_TOP and not (own and slopes)

    def channels(self):
        usual = (1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 24, 32, 40)
        return self.rng.choice(usual) if self.chance(0.7) else self.rng.randint(1, 40)


def draw_layers(rng):
    """Return a net's layers and the names of its outputs."""
    dimensions = rng.choice((2, 2, 2, 2, 2, 3, 3, 1))
    draft = Draft(rng, dimensions, rng.choice((0, 0, 0.3, 0.5, 0.8)))
    top = {1: 30, 2: 15, 3: 8}[dimensions]
    sizes = [rng.randint(4, top) for _ in range(dimensions)]
    draft.input((rng.randint(1, 3), draft.channels(), *sizes))
    kinds, weights = zip(*PIECES, strict=True)
    wanted, tries = rng.randint(2, 11), 0
    while len(draft.layers) < wanted + 1 and tries < 200:
        tries += 1
        before = (
            list(draft.layers),
            dict(draft.shapes),
            dict(draft.readers),
            dict(draft.makers),
        )
        named = [
            b
            for b in draft.shapes
            if not draft.layers or b == "input1" or "input" not in b
        ]
        x = rng.choice(named) if rng.random() < 0.25 else named[-1]
        if x == "input1" and len(named) > 1 and rng.random() < 0.7:
            x = named[-1]
        try:
            rng.choices(kinds, weights)[0](draft, x)
        except (InvalidNetError, IndexError, ValueError):
            draft.layers, draft.shapes, draft.readers, draft.makers = before
    return draft
