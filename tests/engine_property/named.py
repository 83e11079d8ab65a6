"""Nets that once were wrong through oneDNN, by name, and similar nets."""

_WEIGHTS = {"type": "uniform", "min": 0.5, "max": 1.5}
_BIAS = {"type": "gaussian", "std": 0.3}
_CAFFE = {"randrop_engine_param": {"engine": "CAFFE"}}


class Net:
    """A net in a few lines: each layer reads the previous one."""

    def __init__(self, *shape):
        self.layers = [
            {"name": "data", "type": "Input", "top": ["data"], "shape": list(shape)}
        ]
        self.last = "data"

    def add(self, kind, bottom=None, inplace=False, tops=None, name=None, **params):
        name = name or f"{kind.lower()}{len(self.layers)}"
        bottom = bottom or self.last
        bottoms = [bottom] if isinstance(bottom, str) else bottom
        top = tops or ([bottoms[0]] if inplace else [name])
        self.layers.append(
            {"name": name, "type": kind, "bottom": bottoms, "top": top, **params}
        )
        self.last = top[0]
        return self.last

    def conv(self, out, kernel=3, bottom=None, deconvolution=False, **params):
        filler = {"type": "gaussian", "std": 0.2}
        param = {"num_output": out, "kernel_size": kernel, "pad": kernel // 2}
        param |= {"weight_filler": filler, "bias_filler": _BIAS, **params}
        kind = "Deconvolution" if deconvolution else "Convolution"
        return self.add(kind, bottom, convolution_param=param)

    def scale(self, inplace=True, bottom=None, **more):
        param = {"bias_term": True, "filler": _WEIGHTS, "bias_filler": _BIAS}
        return self.add("Scale", bottom, inplace, scale_param=param, **more)

    def pool(self, pool="MAX", kernel=2, stride=2, bottom=None, **params):
        param = {"pool": pool, "kernel_size": kernel, "stride": stride, **params}
        return self.add("Pooling", bottom, pooling_param=param)

    def case(self, look=(), passes=2, force_backward=True, loud=False, **more):
        """Return a case of some passes, with reads between forward and backward."""
        read = {b for layer in self.layers for b in layer.get("bottom", [])}
        tops = dict.fromkeys(t for layer in self.layers for t in layer["top"])
        outputs = [t for t in tops if t not in read]
        if self.last not in outputs:
            outputs.append(self.last)
        steps = []
        for turn in range(passes):
            inputs = [x["top"][0] for x in self.layers if x["type"] == "Input"]
            steps.append(_fill("data", inputs, 10 * turn))
            steps.append({"op": "forward", "net": 0, "loud": loud})
            steps += [{"op": "look", "at": [[0, *at]]} for at in look]
            steps.append(_fill("diff", outputs, 10 * turn + 5))
            # Weights keep the gradients of all passes: each has its own layouts.
            steps.append({"op": "backward", "net": 0})
        steps.append({"op": "all", "net": 0, "k": 1})
        net = {"layers": self.layers, "phase": "TRAIN"}
        if force_backward:
            net["force_backward"] = True
        nets = [{**net, "outputs": outputs}]
        return {"seed": 1, "data_seed": 1, "nets": nets, "steps": steps, **more}


def _fill(what, names, k):
    blobs = [{"at": [0, name, what], "k": k + i} for i, name in enumerate(names)]
    return {"op": "fill", "blobs": blobs}


_OTHERS = {
    "power": {"type": "Power", "power_param": {"scale": 0.7, "shift": 0.1}},
    "prelu": {"type": "PReLU"},
    "elu": {"type": "ELU"},
    "sigmoid": {"type": "Sigmoid"},
    "tanh": {"type": "TanH"},
    "dropout": {"type": "Dropout", "dropout_param": {"dropout_ratio": 0}},
    "lrn": {"type": "LRN", "lrn_param": {"local_size": 3}},
    "absval": {"type": "AbsVal"},
    "bias": {"type": "Bias", "bias_param": {"filler": _BIAS}},
    "batch-norm-caffe": {"type": "BatchNorm", **_CAFFE},
}


def _other(net, other, bottom=None):
    params = dict(_OTHERS[other])
    return net.add(params.pop("type"), bottom, **params)


def _before_scale(other, channels):
    """A layer of Caffe's own, then Scale in place, then a convolution."""
    net = Net(2, 3, 14, 12)
    net.conv(channels)
    _other(net, other)
    net.scale()
    net.conv(8)
    return net.case()


def _before_scale_on_data(other, channels):
    """As above, with nothing before it."""
    net = Net(2, channels, 14, 12)
    _other(net, other)
    net.scale()
    net.conv(8)
    return net.case()


def _crop_before_scale():
    net = Net(2, 3, 14, 12)
    net.conv(8)
    small = net.conv(4, kernel=5, pad=0, bottom="data")
    net.add("Crop", ["convolution1", small], crop_param={"axis": 2, "offset": [1]})
    net.scale()
    net.conv(8)
    return net.case()


def _pool_looked_at(what="data", channels=8, **params):
    """A max pooling whose bottom is read between the passes."""
    net = Net(2, 3, 15, 13)
    net.conv(channels)
    net.pool(kernel=3, **params)
    net.conv(8)
    return net.case(look=[("convolution1", what)])


def _data_bn(channels=3, loss=True):
    """The start of ResNet v2."""
    net = Net(2, channels, 14, 12)
    net.add("BatchNorm")
    net.scale()
    x = net.conv(8)
    if loss:
        net.add("Input", name="wanted", like={"of": x})
        del net.layers[-1]["bottom"]
        net.add("EuclideanLoss", [x, "wanted"])
    return net.case(force_backward=not loss)


def _dense(growth):
    """DenseNet: BatchNorm and Scale on a Concat that other layers also read."""
    net = Net(2, 3, 12, 12)
    x = net.conv(16)
    for _ in range(4):
        net.add("BatchNorm", x)
        net.scale()
        net.add("ReLU", inplace=True)
        y = net.conv(growth)
        x = net.add("Concat", [x, y])
    return net.case()


def _pool_first(other, first="pool", channels=8):
    """ENet's start: one blob for a pooling and a convolution, in either order."""
    net = Net(2, 3, 16, 16)
    net.conv(channels)
    x = _other(net, other) if other else net.last
    made = {}
    for reader in (first, "conv" if first == "pool" else "pool"):
        made[reader] = (
            net.pool(bottom=x) if reader == "pool" else net.conv(8, bottom=x, stride=2)
        )
    net.add("Concat", [made["conv"], made["pool"]])
    return net.case()


def _pool_and_view(kind, channels=8, first="pool"):
    """A convolution read by a pooling and by a layer that shares its memory."""
    net = Net(2, 3, 16, 16)
    x = net.conv(channels)
    for reader in (first, "view" if first == "pool" else "pool"):
        if reader == "pool":
            net.pool(bottom=x, kernel=3)
        elif kind == "Flatten":
            net.add("Flatten", x)
        else:
            net.add("Reshape", x, reshape_param={"shape": {"dim": [0, -1, 4]}})
    # pycaffe's forward() reads the outputs.
    return net.case(loud=True)


def _unet_batch_norm_caffe(channels=16):
    """A U-Net whose BatchNorms have `engine: CAFFE` (docs/explanation/engine.md)."""
    net = Net(2, 3, 24, 24)

    def block(out, bottom=None):
        net.conv(out, bottom=bottom)
        net.add("BatchNorm", inplace=True, **_CAFFE)
        net.scale()
        return net.add("ReLU", inplace=True)

    skip = block(channels)
    net.pool()
    block(2 * channels)
    up = net.conv(
        channels, kernel=2, deconvolution=True, stride=2, pad=0, bias_term=False
    )
    block(channels, bottom=net.add("Concat", [skip, up]))
    net.conv(2, kernel=1)
    return net.case()


def _recurrent(kind):
    """Caffe's LSTM and RNN contain nets of their own, with Scale, Slice and Split."""
    net = Net(4, 2, 6)
    net.layers.append({"name": "go", "type": "Input", "top": ["go"], "shape": [4, 2]})
    filler = {"type": "gaussian", "std": 0.3}
    param = {"num_output": 5, "weight_filler": filler, "bias_filler": filler}
    net.add(kind, ["data", "go"], recurrent_param=param)
    return net.case()


def _spp():
    """Spatial pyramid pooling creates its own poolings, a Split and a Concat."""
    net = Net(2, 3, 13, 11)
    net.conv(8)
    net.add("SPP", spp_param={"pyramid_height": 3, "pool": "MAX"})
    return net.case()


def _shared_scale():
    """Two Scales that share weights, on two engines."""
    net = Net(2, 8, 9, 7)
    specs = [{"name": "w"}, {"name": "b"}]
    net.conv(8)
    net.scale(inplace=False, param=specs)
    net.add("TanH")
    net.scale(inplace=False, param=specs, **_CAFFE)
    net.conv(4)
    return net.case()


NAMED = {}
for _name in _OTHERS:
    for _channels in (3, 8, 16):
        NAMED[f"{_name}-scale-conv-{_channels}"] = lambda n=_name, c=_channels: (
            _before_scale_on_data(n, c)
        )
    NAMED[f"conv-{_name}-scale-conv"] = lambda n=_name: _before_scale(n, 8)
for _name in ("prelu", "lrn", "elu", "dropout", "tanh", None):
    for _first in ("pool", "conv"):
        NAMED[f"{_name or 'conv'}-{_first}-listed-first"] = lambda n=_name, f=_first: (
            _pool_first(n, f)
        )
for _kind in ("Flatten", "Reshape"):
    for _first in ("pool", "view"):
        for _channels in (3, 8, 16):
            NAMED[f"pool-and-{_kind.lower()}-{_first}-first-{_channels}"] = (
                lambda k=_kind, f=_first, c=_channels: _pool_and_view(k, c, f)
            )
NAMED |= {
    "crop-scale-conv": _crop_before_scale,
    "pool-bottom-looked-at": _pool_looked_at,
    "pool-bottom-looked-at-3": lambda: _pool_looked_at(channels=3),
    "pool-bottom-diff-looked-at": lambda: _pool_looked_at("diff"),
    "pool-average-bottom-looked-at": lambda: _pool_looked_at(pool="AVE"),
    "data-bn": _data_bn,
    "data-bn-8": lambda: _data_bn(8),
    "data-bn-forced": lambda: _data_bn(3, loss=False),
    "densenet-growth-12": lambda: _dense(12),
    "densenet-growth-8": lambda: _dense(8),
    "unet-batch-norm-caffe": _unet_batch_norm_caffe,
    "unet-batch-norm-caffe-3": lambda: _unet_batch_norm_caffe(3),
    "lstm": lambda: _recurrent("LSTM"),
    "rnn": lambda: _recurrent("RNN"),
    "spatial-pyramid": _spp,
    "shared-scale": _shared_scale,
}
