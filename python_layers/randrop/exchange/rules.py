"""What Caffe asks of a layer before it looks at numbers: blobs and options."""

from typing import Any

from randrop.exchange.graph import LayerError, called

_MANY = {"Concat": 1, "Eltwise": 2}
"""Layers with several bottoms: how many at least. All others have one."""

_IN_PLACE = ("BatchNorm", "Dropout", "ReLU", "Scale", "Sigmoid", "Softmax", "TanH")
_LARGEST = 2**31 - 1


def check(layer: Any) -> None:
    """Refuse a layer that Caffe refuses, or whose result it does not define.

    Raises
    ------
    LayerError
    """
    _check_blobs(layer)
    if layer.type in ("Convolution", "Deconvolution"):
        _check_convolution(layer)
    elif layer.type == "Pooling":
        _check_pooling(layer)
    elif layer.type == "Eltwise":
        _check_eltwise(layer)
    elif layer.type == "Concat":
        param = layer.concat_param
        both = param.HasField("axis") and param.HasField("concat_dim")
        demand(layer, not both, "both axis and concat_dim")
    elif layer.type == "Reshape":
        dims = list(layer.reshape_param.shape.dim)
        demand(layer, dims.count(-1) < 2, "two axes of -1, of which one can be found")
        demand(layer, min(dims, default=0) >= -1, f"an axis of {min(dims, default=0)}")


def demand(layer: Any, holds: bool, what: str) -> None:
    """Refuse a layer unless a condition holds, saying what it has.

    Raises
    ------
    LayerError
    """
    if not holds:
        raise LayerError(
            f"{called(layer)} has {what}, which Caffe refuses: write what the network "
            "was trained with"
        )


def whole(layer: Any, axis: int, axes: int) -> int:
    """Return an axis that may count from the end.

    Raises
    ------
    LayerError
        If there is no such axis.
    """
    demand(layer, -axes <= axis < axes, f"axis {axis} of {axes}")
    return axis % axes


def _check_blobs(layer: Any) -> None:
    bottoms, tops = len(layer.bottom), len(layer.top)
    if layer.type == "Input":
        demand(layer, bottoms == 0 and tops > 0, f"{bottoms} bottoms and {tops} tops")
        return
    least = _MANY.get(layer.type, 1)
    fits = bottoms >= least if layer.type in _MANY else bottoms == 1
    if not fits or tops != 1:
        words = f"{least} or more" if layer.type in _MANY else "one"
        scale = layer.type == "Scale" and bottoms == 2
        raise LayerError(
            f"{called(layer)} has two bottoms, which is not translated: remove it and "
            "train again"
            if scale
            else f"{called(layer)} has {bottoms} bottoms and {tops} tops, not {words} "
            "and one"
        )
    if layer.top[0] in layer.bottom and layer.type not in _IN_PLACE:
        raise LayerError(
            f"{called(layer)} writes into {layer.top[0]!r}, which it reads: give its "
            "top another name, since Caffe computes something else than it says"
        )
    by_batch = layer.type == "Dropout" or (
        layer.type == "BatchNorm" and not layer.batch_norm_param.use_global_stats
    )
    if layer.type == "BatchNorm":
        learns = [p for p in layer.param if not p.HasField("lr_mult") or p.lr_mult]
        demand(layer, not learns, "param without lr_mult: 0")
    training = by_batch and layer.HasField("phase") and layer.phase == 0
    demand_use(layer, not training, "phase: TRAIN")


def demand_use(layer: Any, holds: bool, what: str) -> None:
    """Refuse what Caffe computes and we do not translate.

    Raises
    ------
    LayerError
    """
    if not holds:
        raise LayerError(
            f"{called(layer)} has {what}, which is not translated: "
            "remove it and train again"
        )


def _check_convolution(layer: Any) -> None:
    param = layer.convolution_param
    demand(layer, 0 < param.num_output <= _LARGEST, f"num_output {param.num_output}")
    group = param.group
    divides = 0 < group <= _LARGEST and param.num_output % group == 0
    demand(layer, divides, f"group {group} for num_output {param.num_output}")
    demand(layer, min(param.dilation, default=1) > 0, "dilation 0")
    for name, least in (("kernel", 1), ("stride", 1), ("pad", 0)):
        given = getattr(param, "kernel_size" if name == "kernel" else name)
        _check_sides(layer, param, name, list(given), least, name == "pad")


def _check_pooling(layer: Any) -> None:
    param = layer.pooling_param
    sides = {}
    for name, least in (("kernel", 1), ("stride", 1), ("pad", 0)):
        whole_name = "kernel_size" if name == "kernel" else name
        given = [getattr(param, whole_name)] if param.HasField(whole_name) else []
        _check_sides(layer, param, name, given, least, False)
        both = [getattr(param, f"{name}_h"), getattr(param, f"{name}_w")]
        sides[name] = given * 2 or (both if any(both) else [])
    if param.global_pooling:
        demand(layer, not sides["kernel"], "global_pooling and a kernel")
        alone = not any(sides["pad"]) and set(sides["stride"]) <= {1}
        demand(layer, alone, "global_pooling and stride or pad")
        return
    demand(layer, bool(sides["kernel"]), "no kernel_size")
    fits = all(
        pad < kernel for pad, kernel in zip(sides["pad"], sides["kernel"], strict=False)
    )
    demand(layer, fits, "pad as large as kernel_size")
    narrow = any(
        kernel < stride
        for kernel, stride in zip(sides["kernel"], sides["stride"], strict=False)
    )
    # Caffe adds a last window outside, of the smallest number that there is.
    demand_use(layer, not narrow, "a kernel smaller than the stride")


def _check_sides(
    layer: Any, param: Any, name: str, given: list[int], least: int, alone: bool
) -> None:
    """Check a number for all sides, or one for each of two."""
    names = [f"{name}_h", f"{name}_w"]
    there = [n for n in names if param.HasField(n)]
    demand(layer, not (given and there), f"both {name} and {' and '.join(there)}")
    if there and not alone:
        demand(layer, len(there) == 2, f"{there[0]} without the other side")
    values = given or [getattr(param, n) for n in there]
    for value in values:
        demand(layer, least <= value <= _LARGEST, f"{name} {value}")


def _check_eltwise(layer: Any) -> None:
    param, count = layer.eltwise_param, len(layer.eltwise_param.coeff)
    demand(
        layer,
        count in (0, len(layer.bottom)),
        f"{count} coeff for {len(layer.bottom)} bottoms",
    )
    demand(layer, not count or param.operation != 0, "coeff for a product")
