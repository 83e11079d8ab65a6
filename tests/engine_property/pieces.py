"""The pieces of drawn nets: single layers of every kind, and common combinations.

Each piece takes a draft and one of its blobs, adds layers and returns the new blob.
"""

from math import prod, sqrt

from engine_property.shapes import InvalidNetError

_WEIGHTS = {"type": "uniform", "min": 0.5, "max": 1.5}
_BIAS = {"type": "gaussian", "std": 0.3}


def _filler(fan):
    return {"type": "gaussian", "std": round(sqrt(2 / fan), 4)}


def convolution(draft, x, backwards=False, kernel=None, out=None, **given):
    """Add a convolution of a random or given kind."""
    rng, shape = draft.rng, draft.shapes[x]
    count = len(shape) - 2
    if count < 1:
        raise InvalidNetError
    channels = shape[1]
    out = out or draft.channels()
    groups = [g for g in range(1, 41) if channels % g == 0 and out % g == 0]
    group = rng.choice(groups) if draft.chance(0.35) else 1
    if kernel is None and draft.chance(0.75):
        size = rng.choice((1, 2, 3, 3, 3, 4, 5))
        window = {
            "kernel_size": [size],
            "stride": [rng.choice((1, 1, 1, 2, 3))],
            "pad": [rng.choice((0, size // 2, rng.randint(0, size)))],
            "dilation": [rng.choice((1, 1, 1, 2, 3))],
        }
    elif kernel is None:
        window = {
            "kernel_size": [rng.randint(1, 4) for _ in range(count)],
            "stride": [rng.randint(1, 2) for _ in range(count)],
            "pad": [rng.randint(0, 2) for _ in range(count)],
            "dilation": [rng.randint(1, 2) for _ in range(count)],
        }
    else:
        window = {"kernel_size": [kernel], "pad": [kernel // 2]}
    window = {
        k: [v] if isinstance(v, int) else v for k, v in {**window, **given}.items()
    }
    kernels = window["kernel_size"] * (count // len(window["kernel_size"]) or 1)
    param = {"num_output": out, "group": group, **window}
    param["weight_filler"] = _filler(prod(kernels) * channels / group)
    param["bias_term"] = draft.chance(0.6)
    if param["bias_term"]:
        param["bias_filler"] = _BIAS
    if draft.chance(0.05):
        param["force_nd_im2col"] = True
    kind = "Deconvolution" if backwards else "Convolution"
    extra = {}
    if draft.chance(0.08):
        extra["param"] = [{"lr_mult": 0}] * (1 + param["bias_term"])
    return draft.add(kind, x, convolution_param=param, **extra)


def deconvolution(draft, x):
    return convolution(draft, x, backwards=True)


def pooling(draft, x, **given):
    rng = draft.rng
    pool = rng.choice(("MAX", "MAX", "AVE"))
    if draft.chance(0.1):
        return draft.add(
            "Pooling", x, pooling_param={"pool": pool, "global_pooling": True}
        )
    size = rng.randint(1, 5)
    param = {
        "pool": pool,
        "kernel_size": size,
        "stride": rng.randint(1, 4),
        "pad": rng.randint(0, size - 1) if draft.chance(0.5) else 0,
        **given,
    }
    if draft.chance(0.2):
        param["round_mode"] = "FLOOR"
    if draft.chance(0.05) and param["pool"] == "MAX":
        y, mask = draft.add("Pooling", x, tops=2, pooling_param=param)
        # The backward pass reads it: no layer may work in place on it.
        draft.readers[mask] = 1
        return y
    return draft.add("Pooling", x, pooling_param=param)


def relu(draft, x, inplace=None):
    inplace = draft.chance(0.5) if inplace is None else inplace
    slope = (
        {} if draft.chance(0.5) else {"negative_slope": draft.rng.choice((0.1, 0.5))}
    )
    return draft.add("ReLU", x, inplace=inplace, relu_param=slope)


def batch_norm(draft, x):
    param = {}
    if draft.chance(0.3):
        param["eps"] = draft.rng.choice((1e-3, 0.1))
    if draft.chance(0.2):
        param["use_global_stats"] = draft.chance(0.5)
    if draft.chance(0.2):
        param["moving_average_fraction"] = 0.7
    frozen = {"param": [{"lr_mult": 0}] * 3} if draft.chance(0.3) else {}
    return draft.add(
        "BatchNorm", x, inplace=draft.chance(0.5), batch_norm_param=param, **frozen
    )


def scale(draft, x, **given):
    rng, shape = draft.rng, draft.shapes[x]
    bias = draft.chance(0.6)
    param = {
        "bias_term": bias,
        "filler": _WEIGHTS,
        **({"bias_filler": _BIAS} if bias else {}),
    }
    if not given and draft.chance(0.3):
        axis = rng.randint(0, len(shape) - 1)
        param.update(
            axis=axis,
            num_axes=rng.choice((-1, 0, 1, rng.randint(0, len(shape) - axis))),
        )
    param.update(given)
    return draft.add("Scale", x, inplace=draft.chance(0.6), scale_param=param)


def scale_by(draft, x):
    """Add a Scale (or Bias) whose factors are a second bottom."""
    rng, shape = draft.rng, draft.shapes[x]
    axis = rng.randint(0, len(shape) - 1)
    other = draft.input(of=x, axis=axis, end=rng.randint(axis + 1, len(shape)))
    if draft.chance(0.3):
        other = draft.add("TanH", other)
    param = {"axis": axis}
    if draft.chance(0.25):
        return draft.add("Bias", [x, other], bias_param=param)
    if draft.chance(0.4):
        param.update(bias_term=True, bias_filler=_BIAS)
    return draft.add("Scale", [x, other], inplace=draft.chance(0.3), scale_param=param)


def bn_scale(draft, x):
    x = batch_norm(draft, x)
    return scale(draft, x, axis=1)


def conv_bn_scale_relu(draft, x):
    x = convolution(draft, x)
    x = bn_scale(draft, x)
    return relu(draft, x) if draft.chance(0.8) else x


def other(draft, x):
    """Add a layer that oneDNN does not handle."""
    rng, shape = draft.rng, draft.shapes[x]
    four = len(shape) == 4
    kinds = ["Power", "PReLU", "ELU", "Sigmoid", "TanH", "Dropout", "AbsVal", "BNLL"]
    kinds += ["Bias", "Tile", "Exp"]
    kinds += ["LRN", "LRN", "MVN"] * four
    kind = rng.choice(kinds)
    param, inplace = {}, draft.chance(0.4)
    if kind == "Power":
        param["power_param"] = rng.choice(
            ({"scale": 0.7, "shift": 0.1}, {"power": 2.0, "scale": 0.8}, {})
        )
        inplace = inplace and param["power_param"].get("power", 1) == 1
    elif kind == "PReLU":
        param["prelu_param"] = {"channel_shared": draft.chance(0.3)}
    elif kind == "ELU":
        param["elu_param"] = {"alpha": 0.5}
    elif kind == "Dropout":
        param["dropout_param"] = {"dropout_ratio": rng.choice((0, 0.3))}
    elif kind == "Bias":
        param["bias_param"] = {"filler": _BIAS}
    elif kind == "Tile":
        param["tile_param"] = {"axis": rng.randint(1, len(shape) - 1), "tiles": 2}
        inplace = False
    elif kind == "Exp":
        param["exp_param"] = {"scale": 0.3}
        inplace = False
    elif kind == "LRN":
        within = draft.chance(0.5)
        param["lrn_param"] = {"local_size": rng.choice((3, 5)), "alpha": 0.5}
        param["lrn_param"]["norm_region"] = (
            "WITHIN_CHANNEL" if within else "ACROSS_CHANNELS"
        )
        inplace = False
    elif kind == "MVN":
        inplace = False
        if prod(shape[2:]) < 6:
            raise InvalidNetError
    inplace = inplace and kind not in ("BNLL", "AbsVal")
    return draft.add(kind, x, inplace=inplace, **param)


def softmax(draft, x):
    return draft.add(
        "Softmax", x, softmax_param={"axis": draft.rng.choice((1, 1, 1, 0, 2))}
    )


def flat(draft, x):
    """Add a layer whose top shares the bottom's memory in another shape."""
    shape = draft.shapes[x]
    if draft.chance(0.5):
        return draft.add(
            "Flatten", x, flatten_param={"axis": draft.rng.randint(1, len(shape) - 1)}
        )
    dims = draft.rng.choice(([0, -1], [0, 0, -1], [-1, 0], [0, 0, 1, -1]))
    return draft.add("Reshape", x, reshape_param={"shape": {"dim": dims}})


def inner_product(draft, x):
    out = draft.rng.randint(1, 20)
    param = {
        "num_output": out,
        "weight_filler": _filler(prod(draft.shapes[x][1:])),
        "bias_filler": _BIAS,
    }
    return draft.add("InnerProduct", x, inner_product_param=param)


def reduction(draft, x):
    param = {
        "operation": draft.rng.choice(("SUM", "MEAN", "SUMSQ")),
        "axis": draft.rng.randint(1, 3),
    }
    return draft.add("Reduction", x, reduction_param=param)


def split(draft, x):
    tops = draft.add("Split", x, tops=draft.rng.randint(2, 3))
    return draft.rng.choice(tops)


def slices(draft, x):
    shape = draft.shapes[x]
    axis = draft.rng.choice([i for i, size in enumerate(shape) if size > 1])
    points = sorted(
        draft.rng.sample(
            range(1, shape[axis]), min(draft.rng.randint(1, 2), shape[axis] - 1)
        )
    )
    param = {"axis": axis, "slice_point": points}
    return draft.rng.choice(
        draft.add("Slice", x, tops=len(points) + 1, slice_param=param)
    )


def _partners(draft, x, fits):
    found = [
        b
        for b, shape in draft.shapes.items()
        if b != x and fits(shape) and "input" not in b
    ]
    draft.rng.shuffle(found)
    return found


def concat(draft, x):
    shape, axis = draft.shapes[x], draft.rng.choice((1, 1, 1, 0, 2, 3))
    if axis >= len(shape):
        raise InvalidNetError

    def fits(s):
        return (
            len(s) == len(shape)
            and s[:axis] + s[axis + 1 :] == shape[:axis] + shape[axis + 1 :]
        )

    others = _partners(draft, x, fits)[: draft.rng.randint(1, 3)]
    if not others:
        others = [convolution(draft, x, kernel=3)]
        axis = 1
    bottoms = [x, *others] if draft.chance(0.93) else [x, x, *others]
    draft.rng.shuffle(bottoms)
    return draft.add("Concat", bottoms, concat_param={"axis": axis})


def eltwise(draft, x):
    shape = draft.shapes[x]
    others = _partners(draft, x, lambda s: s == shape)[: draft.rng.randint(1, 3)]
    if not others:
        others = [
            convolution(draft, x, kernel=3, out=shape[1])
            if len(shape) > 2
            else other(draft, x)
        ]
        if draft.shapes[others[0]] != shape:
            raise InvalidNetError
    bottoms = [x, *others]
    draft.rng.shuffle(bottoms)
    param = {"operation": draft.rng.choice(("SUM", "SUM", "PROD", "MAX"))}
    if param["operation"] == "SUM" and draft.chance(0.5):
        param["coeff"] = [draft.rng.choice((-1, 0.5, 2, 1)) for _ in bottoms]
    if param["operation"] == "PROD" and draft.chance(0.3):
        param["stable_prod_grad"] = False
    return draft.add("Eltwise", bottoms, eltwise_param=param)


def crop(draft, x):
    shape = draft.shapes[x]
    like = _partners(
        draft,
        x,
        lambda s: (
            len(s) == len(shape)
            and all(a <= b for a, b in zip(s[2:], shape[2:], strict=True))
        ),
    )
    if not like or len(shape) < 3:
        raise InvalidNetError
    return draft.add("Crop", [x, like[0]], crop_param={"axis": 2, "offset": [0]})


def residual(draft, x):
    """A ResNet block, before or after activation."""
    shape, y = draft.shapes[x], x
    for _ in range(draft.rng.randint(1, 2)):
        for step in draft.rng.sample((bn_scale, relu, None), 3):
            y = (
                step(draft, y)
                if step
                else convolution(draft, y, kernel=3, out=shape[1])
            )
    if y == x:
        y = convolution(draft, y, kernel=1, out=shape[1])
    return draft.add("Eltwise", [x, y], eltwise_param={"operation": "SUM"})


def pool_and(draft, x):
    """A pooling and another reader of the same blob, in either order."""
    readers = [
        lambda: pooling(draft, x, kernel_size=2, stride=2),
        lambda: draft.rng.choice((flat, convolution, convolution))(draft, x),
    ]
    draft.rng.shuffle(readers)
    return draft.rng.choice([reader() for reader in readers])


def siamese(draft, x):
    """The same weights twice, on two engines or one."""
    shape = draft.shapes[x]
    y = convolution(draft, x, kernel=3, out=shape[1])
    first = draft.layers[-1]
    names = [{"name": f"{first['name']}_w"}, {"name": f"{first['name']}_b"}]
    first["param"] = names[: 1 + first["convolution_param"]["bias_term"]]
    z = relu(draft, y, inplace=False) if draft.chance(0.5) else y
    param = {k: v for k, v in first["convolution_param"].items() if k != "engine"}
    return draft.add(
        "Convolution",
        z if draft.chance(0.6) else x,
        convolution_param=param,
        param=first["param"],
    )


def unet_up(draft, x):
    """A transposed convolution, a crop to an earlier blob, and a concat."""
    y = draft.add(
        "Pooling", x, pooling_param={"pool": "MAX", "kernel_size": 2, "stride": 2}
    )
    y = (
        conv_bn_scale_relu(draft, y)
        if draft.chance(0.5)
        else convolution(draft, y, kernel=3)
    )
    y = convolution(draft, y, backwards=True, kernel_size=4, stride=2, pad=0)
    y = draft.add(
        "Crop", [y, x], crop_param={"axis": 2, "offset": [draft.rng.randint(0, 1)]}
    )
    return draft.add("Concat", [x, y] if draft.chance(0.5) else [y, x])


PIECES = [
    (convolution, 10),
    (deconvolution, 3),
    (pooling, 6),
    (relu, 6),
    (batch_norm, 3),
    (scale, 4),
    (scale_by, 2),
    (bn_scale, 5),
    (conv_bn_scale_relu, 5),
    (other, 10),
    (softmax, 1),
    (flat, 1),
    (inner_product, 1),
    (reduction, 1),
    (split, 1),
    (slices, 2),
    (concat, 4),
    (eltwise, 4),
    (crop, 2),
    (residual, 3),
    (pool_and, 4),
    (siamese, 2),
    (unet_up, 2),
]
