"""The top shapes of Caffe's layers, so that a drawn net is valid.

A layer is a JSON-like dict: name, type, bottom and top (lists of names), and its
parameters under their prototxt names.
"""

from math import ceil, floor, prod


class InvalidNetError(Exception):
    """Caffe would refuse the net, or its behaviour is undefined."""


def need(condition):
    if not condition:
        raise InvalidNetError


def _each(value, count, default):
    """Return a repeated parameter's value for each spatial axis."""
    if value is None or value == []:
        return [default] * count
    values = value if isinstance(value, list) else [value]
    need(len(values) in (1, count))
    return values * count if len(values) == 1 else values


def _windows(p, count):
    return zip(
        _each(p["kernel_size"], count, None),
        _each(p.get("stride"), count, 1),
        _each(p.get("pad"), count, 0),
        _each(p.get("dilation"), count, 1),
        strict=True,
    )


def _convolution(layer, bottoms, backwards=False):
    p = layer["convolution_param"]
    shape = bottoms[0]
    axis = p.get("axis", 1)
    need(all(b == shape for b in bottoms) and len(shape) > axis)
    channels, out, group = shape[axis], p["num_output"], p.get("group", 1)
    need(channels % group == 0 and out % group == 0)
    sizes = shape[axis + 1 :]
    windows = list(_windows(p, len(sizes)))
    made = []
    for size, (kernel, stride, pad, dilation) in zip(sizes, windows, strict=True):
        reach = dilation * (kernel - 1) + 1
        if backwards:
            made.append(stride * (size - 1) + reach - 2 * pad)
        else:
            need(size + 2 * pad >= reach)
            made.append((size + 2 * pad - reach) // stride + 1)
        need(made[-1] > 0)
    kernels = tuple(window[0] for window in windows)
    two = (channels, out // group) if backwards else (out, channels // group)
    params = [(*two, *kernels)]
    if p.get("bias_term", True):
        params.append((out,))
    return [(*shape[:axis], out, *made)] * len(bottoms), params


def _deconvolution(layer, bottoms):
    return _convolution(layer, bottoms, backwards=True)


def _pooling(layer, bottoms):
    p, (shape,) = layer["pooling_param"], bottoms
    need(len(shape) == 4)
    if p.get("global_pooling"):
        made = [1, 1]
    else:
        made = []
        ends = floor if p.get("round_mode") == "FLOOR" else ceil
        padded = any(_each(p.get("pad"), 2, 0))
        for size, (kernel, stride, pad, _) in zip(
            shape[2:], _windows(p, 2), strict=True
        ):
            need(pad < kernel <= size + 2 * pad)
            count = ends((size + 2 * pad - kernel) / stride) + 1
            if padded and (count - 1) * stride >= size + pad:
                count -= 1
            # A window entirely outside the map makes Caffe write before its memory.
            need(count > 0 and (count - 1) * stride - pad < size)
            made.append(count)
    return [(*shape[:2], *made)] * len(layer["top"]), []


def _same(layer, bottoms):
    return [bottoms[0]], []


def _softmax(layer, bottoms):
    need(layer.get("softmax_param", {}).get("axis", 1) < len(bottoms[0]))
    return [bottoms[0]], []


def _batch_norm(layer, bottoms):
    (shape,) = bottoms
    need(len(shape) > 1)
    # With few values, the variance is so small that all is rounding.
    need(prod(shape) // shape[1] >= 6)
    return [shape], [(shape[1],), (shape[1],), (1,)]


def _span(layer, bottoms, name):
    """Return the shapes for Scale and Bias, which work on some axes."""
    p, shape = layer.get(f"{name}_param", {}), bottoms[0]
    axis = p.get("axis", 1)
    need(axis < len(shape))
    if len(bottoms) == 2:
        need(shape[axis : axis + len(bottoms[1])] == bottoms[1])
        over, params = bottoms[1], []
    else:
        count = p.get("num_axes", 1)
        over = shape[axis:] if count == -1 else shape[axis : axis + count]
        need(count == -1 or len(over) == count)
        params = [over]
    if p.get("bias_term"):
        params.append(over)
    return [shape], params


def _prelu(layer, bottoms):
    (shape,) = bottoms
    need(1 < len(shape) <= 4)
    shared = layer.get("prelu_param", {}).get("channel_shared")
    return [shape], [() if shared else (shape[1],)]


def _inner_product(layer, bottoms):
    p, (shape,) = layer["inner_product_param"], bottoms
    return [(shape[0], p["num_output"])], [
        (p["num_output"], prod(shape[1:])),
        (p["num_output"],),
    ]


def _concat(layer, bottoms):
    axis = layer.get("concat_param", {}).get("axis", 1)
    first = bottoms[0]
    need(axis < len(first))
    for b in bottoms:
        need(len(b) == len(first))
        need(all(x == y for i, (x, y) in enumerate(zip(b, first)) if i != axis))  # noqa: B905
    total = sum(b[axis] for b in bottoms)
    return [(*first[:axis], total, *first[axis + 1 :])], []


def _eltwise(layer, bottoms):
    need(len(bottoms) > 1 and all(b == bottoms[0] for b in bottoms))
    coefficients = layer["eltwise_param"].get("coeff", [])
    need(len(coefficients) in (0, len(bottoms)))
    return [bottoms[0]], []


def _slice(layer, bottoms):
    p, (shape,) = layer["slice_param"], bottoms
    axis = p.get("axis", 1)
    points = [0, *p["slice_point"], shape[axis]]
    sizes = [b - a for a, b in zip(points, points[1:])]  # noqa: B905, RUF007
    need(min(sizes) > 0)
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes], []


def _crop(layer, bottoms):
    p, (shape, wanted) = layer.get("crop_param", {}), bottoms
    axis = p.get("axis", 2)
    need(len(shape) == len(wanted) and axis < len(shape))
    offset = p.get("offset", [0])
    offset = offset if isinstance(offset, list) else [offset]
    need(len(offset) in (1, len(shape) - axis))
    for i in range(axis, len(shape)):
        at = offset[i - axis] if len(offset) > 1 else offset[0]
        need(at + wanted[i] <= shape[i])
    return [(*shape[:axis], *wanted[axis:])], []


def _flatten(layer, bottoms):
    p, (shape,) = layer.get("flatten_param", {}), bottoms
    axis, end = p.get("axis", 1), p.get("end_axis", -1) % len(shape)
    need(axis <= end)
    return [(*shape[:axis], prod(shape[axis : end + 1]), *shape[end + 1 :])], []


def _reshape(layer, bottoms):
    dims, (shape,) = layer["reshape_param"]["shape"]["dim"], bottoms
    need(all(d != 0 or i < len(shape) for i, d in enumerate(dims)))
    made = [shape[i] if d == 0 else d for i, d in enumerate(dims)]
    if -1 in made:
        rest = prod(d for d in made if d != -1)
        need(prod(shape) % rest == 0)
        made[made.index(-1)] = prod(shape) // rest
    need(prod(made) == prod(shape))
    return [tuple(made)], []


def _reduction(layer, bottoms):
    axis = layer.get("reduction_param", {}).get("axis", 0)
    need(axis < len(bottoms[0]))
    return [bottoms[0][:axis]], []


def _tile(layer, bottoms):
    p, (shape,) = layer["tile_param"], bottoms
    axis = p.get("axis", 1)
    need(axis < len(shape))
    return [(*shape[:axis], shape[axis] * p["tiles"], *shape[axis + 1 :])], []


def _of_images(layer, bottoms):
    need(len(bottoms[0]) == 4)
    return [bottoms[0]], []


def _split(layer, bottoms):
    return [bottoms[0]] * len(layer["top"]), []


def _loss_like(layer, bottoms):
    need(bottoms[0] == bottoms[1])
    return [()], []


def _softmax_loss(layer, bottoms):
    shape, label = bottoms
    need(len(shape) > 1 and label == (shape[0], 1, *shape[2:]))
    return [()], []


def _recurrent(layer, bottoms):
    return [(*bottoms[0][:2], layer["recurrent_param"]["num_output"])], []


def _pyramid(layer, bottoms):
    (shape,) = bottoms
    levels = layer["spp_param"]["pyramid_height"]
    return [(shape[0], shape[1] * sum(4**i for i in range(levels)))], []


_SHAPES = {
    "LSTM": _recurrent,
    "RNN": _recurrent,
    "SPP": _pyramid,
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "Pooling": _pooling,
    "BatchNorm": _batch_norm,
    "Scale": lambda layer, bottoms: _span(layer, bottoms, "scale"),
    "Bias": lambda layer, bottoms: _span(layer, bottoms, "bias"),
    "PReLU": _prelu,
    "InnerProduct": _inner_product,
    "Concat": _concat,
    "Eltwise": _eltwise,
    "Slice": _slice,
    "Crop": _crop,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Reduction": _reduction,
    "Tile": _tile,
    "LRN": _of_images,
    "MVN": _of_images,
    "Split": _split,
    "Softmax": _softmax,
    "EuclideanLoss": _loss_like,
    "SigmoidCrossEntropyLoss": _loss_like,
    "SoftmaxWithLoss": _softmax_loss,
    **dict.fromkeys(
        ("ReLU", "Power", "ELU", "Sigmoid", "TanH", "Dropout", "AbsVal", "BNLL", "Exp"),
        _same,
    ),
}


def layer_shapes(layer, bottoms):
    """Return the shapes of a layer's tops and of its parameters.

    Raises
    ------
    InvalidNetError
        If the layer does not accept such bottoms.
    """
    tops, params = _SHAPES[layer["type"]](layer, bottoms)
    need(all(prod(shape) > 0 for shape in tops))
    return [tuple(shape) for shape in tops], params


def input_shape(layer, shapes, given):
    """Return the shape of an Input layer: given, or like part of another blob."""
    like = layer.get("like")
    if like is None:
        return tuple(given.get(layer["name"], layer["shape"]))
    shape = shapes[like["of"]]
    if like.get("label"):
        return (shape[0], 1, *shape[2:])
    return shape[like.get("axis", 0) : like.get("end", len(shape))]


def net_shapes(layers, given=()):
    """Return the shapes of all blobs of a net, and of the parameters of its layers.

    Parameters
    ----------
    layers : list of dict
        The net.
    given : dict of str to tuple of int, optional
        Other shapes for some Input layers.

    Raises
    ------
    InvalidNetError
        If a layer does not accept its bottoms.
    """
    shapes, params = {}, {}
    for layer in layers:
        if layer["type"] == "Input":
            tops = [input_shape(layer, shapes, dict(given))]
            need(prod(tops[0]) > 0 or tops[0] == ())
        else:
            need(all(name in shapes for name in layer["bottom"]))
            bottoms = [tuple(shapes[name]) for name in layer["bottom"]]
            tops, params[layer["name"]] = layer_shapes(layer, bottoms)
        shapes.update(zip(layer["top"], tops, strict=True))
    return shapes, params
