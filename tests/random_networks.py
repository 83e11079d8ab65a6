"""Small random networks of Caffe, translated and folded, compute what Caffe computes.

    python tests/random_networks.py --networks 500 --damaged 500 [--seed 0]

Each network has random layers with random options: shared weights, groups, dilation,
odd sides, blobs that are read twice, layers in place. Its output by pycaffe must equal
that of the folded network, of onnxruntime and of OpenCV, for two sizes of the input,
unless a message refuses it by name; and what the ONNX file says of its output must be
true. Damaged networks (numbers, blobs, names, layers) must end in a translation or in a
message with the name of the file. What Caffe refuses must be refused.
tests/test_random_networks.py runs some of them.
"""

import argparse
import dataclasses
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import conftest  # noqa: F401  It says where the project is.
import numpy as np
import small_unet

from randrop.errors import UserError
from randrop.exchange import messages, onnx_model
from randrop.prediction import folding, without_caffe

RUNTIMES = {
    "onnxruntime": without_caffe.in_onnxruntime,
    "opencv": without_caffe.in_opencv,
}


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


def compare(caffe, folder, seed, runtimes=tuple(RUNTIMES)):
    """Compare all ways to compute a random network; return what was refused.

    Raises
    ------
    AssertionError
    """
    deploy, weights = folder / "deploy.prototxt", folder / "final.caffemodel"
    text, shape = make(seed)
    deploy.write_text(text)
    net = caffe.Net(str(deploy), caffe.TEST)
    small_unet.randomise(net, seed)
    net.save(str(weights))
    rng = np.random.default_rng(seed)
    larger = (*shape[:2], shape[2] + rng.integers(1, 9), shape[3] + rng.integers(1, 9))
    batches = [rng.normal(0, 1, s).astype(np.float32) for s in (shape, larger)]
    expected = [_by_caffe(net, batch) for batch in batches]
    if not all(np.isfinite(values).all() for values in expected):
        # A window outside the sides gives the smallest number that there is.
        model_is_refused(deploy, weights)
        return ["translation"]
    folded = folding.fold(deploy, weights)
    if folded:
        parts = folder / "folded.prototxt", folder / "folded.caffemodel"
        parts[0].write_text(folded.deploy)
        parts[1].write_bytes(folded.weights)
        other = caffe.Net(*map(str, parts), caffe.TEST)
        for batch, values in zip(batches, expected, strict=True):
            _assert_same(_by_caffe(other, batch), values, "folded")
    try:
        model, _, multiple = onnx_model.convert(deploy, weights)
    except UserError as error:
        assert str(error).startswith(f"{deploy}: layer '"), error
        return ["translation"]
    refused = []
    for name in runtimes:
        try:
            forward = RUNTIMES[name](model)
            for batch, values in zip(batches, expected, strict=True):
                found = forward(batch)
                _assert_same(found, values, name)
            if name == "onnxruntime":
                sides = [multiple * (side // multiple + 2) for side in shape[2:]]
                batch = np.zeros((shape[0] + 1, shape[1], *sides), np.float32)
                if "Reshape" not in text:
                    _assert_declared(model, batch, forward(batch))
        except UserError as error:
            assert name == "opencv", error
            refused.append(name)
    return refused


def model_is_refused(deploy, weights):
    """Assert that a network is not translated."""
    try:
        onnx_model.convert(deploy, weights)
    except UserError as error:
        assert "smaller than the stride" in str(error)
        return
    raise AssertionError("translated, though no program computes it")


def _by_caffe(net, batch):
    net.blobs[net.inputs[0]].reshape(*batch.shape)
    net.blobs[net.inputs[0]].data[...] = batch
    return net.forward()[net.outputs[0]].copy()


def _assert_same(found, expected, what):
    assert found.shape == expected.shape, what
    scale = max(1, np.abs(expected).max())
    assert np.abs(found - expected).max() < 1e-4 * scale, what


def _assert_declared(model, batch, found):
    """Assert that the names and numbers of the file's axes are true."""
    graph = model.graph
    axes = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (graph.input[0], graph.output[0])
    ]
    sides = dict(zip(axes[0], batch.shape, strict=True))
    assert len(axes[1]) == found.ndim
    for axis, side in zip(axes[1], found.shape, strict=True):
        known = axis if isinstance(axis, int) else sides.get(axis, side)
        assert known == side, (axes, batch.shape, found.shape)


def damage(seed):
    """Return the text of a random network with some random damage."""
    rng = random.Random(seed)
    net = messages.NetParameter()
    from google.protobuf import text_format

    text_format.Parse(make(seed)[0], net)
    for _ in range(rng.randint(1, 3)):
        layer = rng.choice(list(net.layer) or [net.layer.add()])
        rng.choice([_blobs, _number, _number, _number, _copy, _kind])(rng, net, layer)
    return str(net)


def _blobs(rng, net, layer):
    blobs = rng.choice([layer.bottom, layer.top])
    if blobs and rng.random() < 0.5:
        del blobs[rng.randrange(len(blobs))]
    else:
        blobs.append(rng.choice([b for each in net.layer for b in each.top] or ["x"]))


def _number(rng, net, layer):
    """Set a random number of a layer's options."""
    params = [m for field, m in layer.ListFields() if field.name.endswith("_param")]
    if not params:
        layer.name = rng.choice(["", net.layer[0].name, net.layer[-1].name])
        return
    param = rng.choice(params)
    field = rng.choice(
        [f for f in param.DESCRIPTOR.fields if f.message_type is None]
        or [param.DESCRIPTOR.fields[0]]
    )
    if field.message_type is not None:
        shape = getattr(param, field.name)
        shape = shape.add() if field.is_repeated else shape
        shape.dim.append(rng.choice([-2, -1, 0, 1, 5, 2**40]))
        return
    values = [0, 1, 2, 3, 7, 40, 2**32 - 1, -1, -3]
    if field.enum_type is not None:
        values = [value.number for value in field.enum_type.values]
    value = rng.choice(values)
    try:
        if field.is_repeated:
            getattr(param, field.name).append(value)
        elif rng.random() < 0.3:
            param.ClearField(field.name)
        else:
            kind = bool if field.type == field.TYPE_BOOL else lambda number: number
            setattr(param, field.name, kind(value))
    except ValueError:
        pass  # Negative, for a field that has no sign.


def _copy(rng, net, layer):
    net.layer.add().CopyFrom(layer)


def _kind(rng, net, layer):
    layer.type = rng.choice([*(each.type for each in net.layer), "Reshape", "LRN"])


def assert_damaged_is_refused_or_translated(folder, seed):
    """Translate a damaged network; return the file, and whether it was translated."""
    deploy, weights = folder / "damaged.prototxt", folder / "damaged.caffemodel"
    deploy.write_text(damage(seed))
    weights.write_bytes(_any_weights(deploy))
    try:
        onnx_model.convert(deploy, weights)
    except UserError as error:
        assert str(error).startswith(str(deploy)), error
        assert "\n" not in str(error)
        return deploy, False
    return deploy, True


def _any_weights(deploy):
    """Return weights that fit, if it can be said which do."""
    from randrop.exchange import layers, reading

    net = reading.read_deploy(deploy, "")
    stored = messages.NetParameter()
    try:
        layers.check_layers(net)
        shapes = layers.shapes_of_weights(net)
    except UserError:
        shapes = {}
    for name, wanted in shapes.items():
        layer = stored.layer.add(name=name)
        for shape in wanted:
            blob = layer.blobs.add()
            blob.shape.dim.extend(shape)
            blob.data.extend([0.5] * int(np.prod(shape)))
    return stored.SerializeToString()


def caffe_accepts(caffe, deploy):
    """Return whether Caffe takes a network, which a child of this process tries."""
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            caffe.Net(str(deploy), caffe.TEST).forward()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main():
    """Run and print the counts; return 1 if anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, number in (("networks", 200), ("damaged", 200), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=number)
    options = parser.parse_args()
    os.environ.setdefault("GLOG_minloglevel", "2")
    from randrop.pycaffe.build import import_caffe

    caffe = import_caffe()
    ends, failed = Counter(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(options.seed, options.seed + options.networks):
            try:
                ends.update(compare(caffe, folder, seed) or ["equal"])
            except AssertionError as error:
                failed += 1
                print(f"--seed {seed} --networks 1: {error}", flush=True)
        for seed in range(options.seed, options.seed + options.damaged):
            try:
                deploy, good = assert_damaged_is_refused_or_translated(folder, seed)
                ends["damaged, " + ("translated" if good else "refused")] += 1
                assert not good or caffe_accepts(caffe, deploy), "Caffe refuses it"
            except Exception as error:
                failed += 1
                words = f"{type(error).__name__}: {error}"
                print(f"--seed {seed} --damaged 1: {words}", flush=True)
    print(dict(ends), f"failed: {failed}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
