"""Networks, generated with pycaffe's NetSpec, and the solver that trains them."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from randrop.caffe_build import import_caffe
from randrop.errors import UserError


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss layer to put on the logits.

    Attributes
    ----------
    type : str
        The native layer's type.
    field : str
        The name of its parameter field in LayerParameter; empty if it has none.
    params : mapping
        The fields of that message.
    python : bool
        Use the Python twin of `randrop.layers`, which needs no patched Caffe.
    has_mask : bool
        The layer can give a mask of what it keeps as its second top.
    """

    type: str
    field: str = ""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    python: bool = False
    has_mask: bool = False


def unet(
    lesions: Sequence[str],
    data: Mapping[str, Any] | None = None,
    loss: Loss | None = None,
    base_channels: int = 16,
    depth: int = 4,
    prior: float = 0.01,
    ignore_label: int = 255,
    watch: Mapping[str, Any] | None = None,
    size: tuple[int, int] = (512, 512),
) -> str:
    """Return the prototxt of a U-Net with one sigmoid channel a lesion type.

    Each of `depth` levels is twice (3 x 3 convolution, batch normalisation, ReLU);
    channels double after each 2 x 2 max pooling and halve after each 2 x 2
    deconvolution, whose result is joined to the encoder's features of its size.

    Parameters
    ----------
    lesions : sequence of str
        The output channels, in this order.
    data : mapping, optional
        `param_str` of the data layer; with it the network is for training and
        validation (blobs data, label, score, loss), without it for deployment (data,
        prob), where height and width must be multiples of 2^(depth - 1).
    loss : Loss, optional
        Wanted with `data`.
    base_channels, depth : int
        Channels of the first level; number of levels.
    prior : float
        Probability that the untrained network gives every pixel: rare objects want a
        low one, or the first iterations go into learning that they are rare. It also
        decides how much random drop keeps at the start: at 0.01 schedule LOG keeps
        0.44 % of the negatives, at 0.1 4.6 %.
    ignore_label : int
        Label of the pixels outside the field of view.
    watch : mapping, optional
        Adds the top `mask` to a loss that has one, and in training a
        `randrop.watch.KeptShareLayer` on it with this `param_str`.
    size : (int, int)
        Height and width of the deployed input; it can be reshaped.

    Returns
    -------
    str
        The text of the prototxt, without a head.

    Raises
    ------
    UserError
        On parameters out of range.

    References
    ----------
    O. Ronneberger, P. Fischer, T. Brox. U-Net: convolutional networks for biomedical
    image segmentation. MICCAI 2015, doi:10.1007/978-3-319-24574-4_28.
    """
    _check(base_channels >= 1, "base_channels", base_channels, "at least 1")
    _check(1 <= depth <= 8, "depth", depth, "from 1 to 8")
    _check(0 < prior < 1, "prior", prior, "between 0 and 1")
    _check(len(lesions) > 0, "lesions", list(lesions), "at least one lesion type")
    caffe = import_caffe()
    net = caffe.NetSpec()
    head = ""
    if data is None:
        net.data = caffe.layers.Input(
            input_param={"shape": {"dim": [1, 3, *size]}}, ntop=1
        )
    else:
        head, tops = _data_layers(caffe, data)
        net.data, net.label = tops
    _unet_body(caffe, net, len(lesions), base_channels, depth, prior)
    if data is None:
        net.prob = caffe.layers.Sigmoid(net.score)
    elif loss is not None:
        _loss_layer(caffe, net, loss, ignore_label, watch)
    text = net.to_proto()
    if data is not None:
        del text.layer[0]
    return head + str(text)


def _unet_body(
    caffe: Any, net: Any, channels_out: int, base: int, depth: int, prior: float
) -> None:
    layers, params = caffe.layers, caffe.params
    skips = []
    top = net.data
    for level in range(depth):
        channels = base * 2**level
        if level:
            top = net[f"pool{level}"] = layers.Pooling(
                top, pool=params.Pooling.MAX, kernel_size=2, stride=2
            )
        top = _block(caffe, net, f"down{level}", top, channels)
        skips.append(top)
    for level in reversed(range(depth - 1)):
        channels = base * 2**level
        up = net[f"up{level}_deconv"] = layers.Deconvolution(
            top,
            convolution_param={
                "num_output": channels,
                "kernel_size": 2,
                "stride": 2,
                "weight_filler": {"type": "msra"},
            },
            param=[{"lr_mult": 1}, {"lr_mult": 1, "decay_mult": 0}],
        )
        top = net[f"up{level}_concat"] = layers.Concat(skips[level], up)
        top = _block(caffe, net, f"up{level}", top, channels)
    bias = round(math.log(prior / (1 - prior)), 4)
    net.score = layers.Convolution(
        top,
        num_output=channels_out,
        kernel_size=1,
        weight_filler={"type": "gaussian", "std": 0.01},
        bias_filler={"type": "constant", "value": bias},
        param=[{"lr_mult": 1}, {"lr_mult": 1, "decay_mult": 0}],
    )


def _block(caffe: Any, net: Any, name: str, bottom: Any, channels: int) -> Any:
    layers = caffe.layers
    top = bottom
    for k in (1, 2):
        top = net[f"{name}_conv{k}"] = layers.Convolution(
            top,
            num_output=channels,
            kernel_size=3,
            pad=1,
            bias_term=False,
            weight_filler={"type": "msra"},
        )
        top = net[f"{name}_bn{k}"] = layers.BatchNorm(top, in_place=True)
        top = net[f"{name}_scale{k}"] = layers.Scale(
            top,
            bias_term=True,
            in_place=True,
            param=[{"lr_mult": 1, "decay_mult": 0}, {"lr_mult": 1, "decay_mult": 0}],
        )
        top = net[f"{name}_relu{k}"] = layers.ReLU(top, in_place=True)
    return top


def _data_layers(caffe: Any, data: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the prototxt of the TRAIN and TEST data layers, and their tops."""
    text = ""
    for phase, subset in ((caffe.TRAIN, "train"), (caffe.TEST, "validation")):
        options = {**data, "subset": subset}
        if phase == caffe.TEST:
            options["augment"] = False
            options.pop("first_patch", None)
        else:
            options.pop("cycle", None)
        spec = caffe.NetSpec()
        spec.data, spec.label = tops = caffe.layers.Python(
            module="randrop.data.layer",
            layer="LesionPatchDataLayer",
            param_str=json.dumps(options),
            include={"phase": phase},
            ntop=2,
        )
        text += str(spec.to_proto())
    return text, tops


def _loss_layer(
    caffe: Any,
    net: Any,
    loss: Loss,
    ignore_label: int,
    watch: Mapping[str, Any] | None,
) -> None:
    with_mask = watch is not None and loss.has_mask
    tops = 2 if with_mask else 1
    weights = [1, 0][:tops]
    if loss.python:
        top = caffe.layers.Python(
            net.score,
            net.label,
            module="randrop.layers",
            layer=f"{loss.type}Layer",
            param_str=json.dumps({**loss.params, "ignore_label": ignore_label}),
            loss_weight=weights,
            ntop=tops,
        )
    else:
        fields = {loss.field: _by_number(caffe, loss)} if loss.field else {}
        top = getattr(caffe.layers, loss.type)(
            net.score,
            net.label,
            loss_param={"ignore_label": ignore_label},
            loss_weight=weights,
            ntop=tops,
            **fields,
        )
    if with_mask:
        net.loss, net.mask = top
        # A blob that nothing takes would be printed, pixel by pixel, by the solver.
        net.silence = caffe.layers.Silence(
            net.mask, ntop=0, include={"phase": caffe.TEST}
        )
        net.watch = caffe.layers.Python(
            net.mask,
            net.score,
            net.label,
            module="randrop.watch",
            layer="KeptShareLayer",
            param_str=json.dumps(dict(watch)),
            include={"phase": caffe.TRAIN},
            ntop=0,
        )
    else:
        net.loss = top


def _by_number(caffe: Any, loss: Loss) -> dict[str, Any]:
    """Return the parameters with names of enum values as numbers, as NetSpec wants."""
    descriptor = caffe.proto.caffe_pb2.LayerParameter.DESCRIPTOR
    if loss.field not in descriptor.fields_by_name:
        raise UserError(
            f"this Caffe knows no field {loss.field}: patch it with "
            "scripts/patch_caffe.py, or use the Python layer (--python-layer)"
        )
    message = descriptor.fields_by_name[loss.field].message_type
    values = {}
    for name, value in loss.params.items():
        enum = message.fields_by_name[name].enum_type
        values[name] = enum.values_by_name[value].number if enum else value
    return values


def _check(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise UserError(f"{name} is {value}: it must be {wanted}")


def solver(
    net: str,
    iterations: int,
    test_iterations: int,
    snapshot_prefix: str,
    learning_rate: float = 1e-3,
    test_interval: int = 200,
    snapshot: int = 1000,
    seed: int = 1,
    gpu: bool = False,
) -> str:
    """Return the prototxt of a solver that trains from scratch.

    Adam, whose steps do not depend on the size of the loss: sums over pixels and means
    train alike. The rate falls linearly to 0. Caffe adds weight decay to the gradient
    before Adam normalises it: beside the gradient of a loss summed over pixels, 1e-5 is
    next to nothing; for a mean, lower it by the number of pixels.
    """
    return "\n".join(
        [
            f"net: {_quoted(net)}",
            'type: "Adam"',
            f"base_lr: {learning_rate:g}",
            'lr_policy: "poly"',
            "power: 1",
            "momentum: 0.9",
            "momentum2: 0.999",
            "weight_decay: 1e-5",
            f"max_iter: {iterations}",
            f"test_iter: {test_iterations}",
            f"test_interval: {test_interval}",
            "test_initialization: false",
            "display: 10",
            "average_loss: 10",
            f"snapshot: {snapshot}",
            f"snapshot_prefix: {_quoted(snapshot_prefix)}",
            f"random_seed: {seed}",
            f"solver_mode: {'GPU' if gpu else 'CPU'}",
            "",
        ]
    )


def _quoted(text: str) -> str:
    """Return a string as prototxt writes it, which is as JSON does but for Unicode."""
    return json.dumps(text, ensure_ascii=False)
