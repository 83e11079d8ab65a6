"""Small networks of random layers with random options, for tests/random_networks.py."""

import dataclasses
import random

import conftest  # noqa: F401  It says where the project is.

from randrop.exchange import messages


@dataclasses.dataclass
class Blob:
    """A blob with what changed its sides: two of one history fit at every size."""

    name: str
    channels: int
    sides: tuple[int, int]
    history: tuple = ()
    used: bool = False


class Maker:
    """A network in the making; only layers that Caffe accepts."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.net = messages.NetParameter(name=f"random {seed}")
        sides = (self.rng.choice([12, 13, 16, 19, 24]), self.rng.choice([12, 15, 17]))
        self.shape = (self.rng.choice([1, 2]), self.rng.choice([2, 3, 4]), *sides)
        layer = self.net.layer.add(name="data", type="Input", top=["data"])
        layer.input_param.shape.add(dim=self.shape)
        self.blobs = [Blob("data", self.shape[1], sides)]

    @property
    def last(self):
        return self.blobs[-1]

    def layer(self, kind, bottoms=None, **changes):
        """Add a layer that reads the last blob; in place, if that may be."""
        bottoms = bottoms or [self.last]
        name = f"{kind.lower()}{len(self.net.layer)}"
        top = name
        alone = len(bottoms) == 1 and not bottoms[0].used and bottoms[0].name != "data"
        if changes.pop("in_place", False) and alone and self.rng.random() < 0.5:
            top = bottoms[0].name
        for blob in bottoms:
            blob.used = blob.used or top != blob.name
        layer = self.net.layer.add(
            name=name, type=kind, bottom=[blob.name for blob in bottoms], top=[top]
        )
        if top == bottoms[0].name:
            self.blobs = [blob for blob in self.blobs if blob is not bottoms[0]]
        made = dataclasses.replace(bottoms[0], name=top, used=False, **changes)
        self.blobs.append(made)
        return layer

    def convolution(self):
        """Add a convolution, sometimes with the weights of another."""
        rng, blob = self.rng, self.last
        turned = rng.random() < 0.25
        group = rng.choice(
            [g for g in (1, 1, 2, blob.channels) if not blob.channels % g]
        )
        outputs = group * rng.choice([1, 2, 3])
        kernel = rng.choice([(1, 1), (3, 3), (3, 1), (2, 2), (5, 3)])
        stride = rng.choice([(1, 1), (1, 1), (2, 2), (2, 1)])
        pad, dilation = rng.choice([0, 0, 1, 2]), rng.choice([1, 1, 2])
        extents = [dilation * (k - 1) + 1 for k in kernel]
        sides = tuple(
            s * (n - 1) + e - 2 * pad if turned else (n + 2 * pad - e) // s + 1
            for n, e, s in zip(blob.sides, extents, stride, strict=True)
        )
        if min(sides) < 3 or max(sides) > 60:
            return
        change = (turned, kernel, stride, pad, dilation)
        same = sides == blob.sides and stride == (1, 1)
        history = blob.history if same else (*blob.history, change)
        layer = self.layer(
            "Deconvolution" if turned else "Convolution",
            channels=outputs,
            sides=sides,
            history=history,
        )
        param = layer.convolution_param
        param.num_output, param.group, param.bias_term = outputs, group, True
        param.bias_term = rng.random() < 0.6
        param.kernel_h, param.kernel_w = kernel
        param.stride_h, param.stride_w = stride
        param.pad.append(pad)
        param.dilation.append(dilation)
        if rng.random() < 0.7:
            self.normalisation()

    def twins(self):
        """Add two convolutions with the same weights, one after the other."""
        names = [f"w{len(self.net.layer)}", f"b{len(self.net.layer)}"]
        shared = names[: self.rng.choice([1, 2])]
        for _ in range(2):
            layer = self.layer("Convolution")
            layer.convolution_param.num_output = self.last.channels
            layer.convolution_param.kernel_size.append(3)
            layer.convolution_param.pad.append(1)
            for name in shared:
                layer.param.add(name=name)
            self.normalisation()

    def normalisation(self):
        """Add a batch normalisation, often with the layer that scales it."""
        layer = self.layer("BatchNorm", in_place=True)
        layer.batch_norm_param.eps = self.rng.choice([1e-5, 1e-3])
        if self.rng.random() < 0.7:
            self.scale()

    def scale(self):
        layer = self.layer("Scale", in_place=True)
        layer.scale_param.bias_term = self.rng.random() < 0.5

    def pooling(self):
        """Add a pooling, also of windows that leave numbers out."""
        rng, blob = self.rng, self.last
        kernel, stride = rng.choice([2, 2, 3, 4]), rng.choice([1, 2, 2])
        if rng.random() < 0.1:
            kernel, stride = 1, 2
        sides = tuple(-(-(n - kernel) // stride) + 1 for n in blob.sides)
        if min(sides) < 2:
            return
        history = (*blob.history, ("pool", kernel, stride))
        layer = self.layer("Pooling", sides=sides, history=history)
        layer.pooling_param.pool = rng.choice([0, 1])
        layer.pooling_param.kernel_size = kernel
        layer.pooling_param.stride = stride

    def elementwise(self):
        kind = self.rng.choice(["ReLU", "Sigmoid", "TanH", "Dropout", "Softmax"])
        layer = self.layer(kind, in_place=True)
        if kind == "ReLU":
            layer.relu_param.negative_slope = self.rng.choice([0, 0.2])
        if kind == "Softmax":
            layer.softmax_param.axis = self.rng.choice([1, 1, -3, 2, -1])

    def fitting(self, channels):
        """Return a blob that fits the last one, perhaps itself."""
        fits = [
            blob
            for blob in self.blobs
            if (blob.history, blob.sides) == (self.last.history, self.last.sides)
            and (channels is None or blob.channels == channels)
        ]
        return self.rng.choice(fits)

    def eltwise(self):
        bottoms = [self.last, self.fitting(self.last.channels)]
        layer = self.layer("Eltwise", bottoms)
        param = layer.eltwise_param
        param.operation = self.rng.choice([0, 1, 2])
        if param.operation and self.rng.random() < 0.6:
            param.coeff.extend(self.rng.choice([1, 0.5, -2]) for _ in bottoms)

    def concat(self):
        axis = self.rng.choice([1, 1, 1, -3, 2, 3, 0])
        other = self.fitting(None if axis in (1, -3) else self.last.channels)
        bottoms = [self.last, other] if self.rng.random() < 0.8 else [self.last]
        channels, sides, history = bottoms[0].channels, bottoms[0].sides, ()
        if axis in (1, -3):
            channels, history = sum(b.channels for b in bottoms), self.last.history
        else:
            history = (*self.last.history, ("concat", axis, len(bottoms)))
            if axis > 1:
                sides = list(sides)
                sides[axis - 2] *= len(bottoms)
        layer = self.layer(
            "Concat", bottoms, channels=channels, sides=tuple(sides), history=history
        )
        layer.concat_param.axis = axis

    def ending(self):
        """Sometimes end in one number a channel, or in another form."""
        choice = self.rng.random()
        if choice < 0.1:
            layer = self.layer("Pooling", sides=(1, 1), history=("all",))
            layer.pooling_param.pool = self.rng.choice([0, 1])
            layer.pooling_param.global_pooling = True
        elif choice < 0.2:
            layer = self.layer("Reshape", history=("form",))
            dims = self.rng.choice([(0, -1), (0, 0, -1), (0, 1, -1, 0), (-1, 1, 0, 0)])
            layer.reshape_param.shape.dim.extend(dims)
        elif choice < 0.6:
            self.layer("Sigmoid", in_place=True)


def make(seed):
    """Return the text of a network, and the shape of its input."""
    maker = Maker(seed)
    steps = (
        *(maker.convolution,) * 4,
        *(maker.normalisation, maker.scale, maker.pooling, maker.elementwise),
        *(maker.elementwise, maker.eltwise, maker.concat, maker.twins),
    )
    for _ in range(maker.rng.randint(3, 9)):
        maker.rng.choice(steps)()
    maker.ending()
    # Blobs that nobody reads would be outputs.
    _keep_what_is_read(maker.net, maker.last.name)
    return str(maker.net), maker.shape


def _keep_what_is_read(net, output):
    wanted, kept = {output}, []
    for layer in reversed(net.layer):
        if layer.top[0] in wanted:
            wanted |= set(layer.bottom)
            kept.append(layer.SerializeToString())
    del net.layer[:]
    for content in reversed(kept):
        net.layer.add().ParseFromString(content)
