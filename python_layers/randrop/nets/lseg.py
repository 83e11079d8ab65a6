"""A deeply supervised network shaped like VGG-16, after L-Seg."""

from collections.abc import Mapping, Sequence
from typing import Any

from randrop.nets.blocks import (
    BIAS_DECAYS_NOT,
    CAFFES_MEMORY,
    check,
    conv_bn_relu,
    output,
    score,
)
from randrop.nets.feeds import Feed, begin, with_feed
from randrop.nets.losses import Loss, loss_layers
from randrop.pycaffe.build import import_caffe

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Of each stage of VGG-16."""

WIDTHS = (1, 2, 4, 8, 8)
"""Channels of each stage, in those of the first."""


def lseg(
    channels: int,
    feed: Feed | None = None,
    losses: Sequence[Loss] = (),
    activation: str = "SIGMOID",
    base_channels: int = 16,
    depth: int = 5,
    prior: float = 0.01,
    memory: float = CAFFES_MEMORY,
    ignore_label: int | None = 255,
    watch: Mapping[str, Any] | None = None,
    shape: tuple[int, int, int] = (3, 512, 512),
    batch_norm: bool = True,
    side_losses: bool = True,
) -> str:
    """Return the prototxt of a network with an output at every scale.

    The stages have the 3 x 3 convolutions of VGG-16, in number and width, with 2 x 2
    max pooling between them. At the end of each stage, a 1 x 1 convolution computes
    logits, and a bilinear deconvolution with fixed weights upsamples them to full size.
    Each class sums its own logits over all stages with learnt weights: lesions of a few
    pixels appear in other stages than large ones. The loss applies to the fused logits
    and to those of every stage.

    Parameters
    ----------
    channels, feed, losses, activation, prior, memory, ignore_label, watch, shape
        As in `unet`; heights and widths are multiples of 2^(depth - 1).
    base_channels : int
        Channels of the first stage; VGG-16 has 64.
    depth : int
        Stages, at most 5.
    batch_norm : bool
        Without it, layers have the names and shapes of VGG-16, so that train.py
        --weights can start from its weights.
    side_losses : bool
        Also put the losses on every stage.

    Returns
    -------
    str
        The text of the prototxt, without a head.

    Raises
    ------
    UserError
        If a parameter is out of range.

    References
    ----------
    S. Guo, T. Li, H. Kang, N. Li, Y. Zhang, K. Wang. L-Seg: an end-to-end unified
    framework for multi-lesion segmentation of fundus images. Neurocomputing 349, 2019,
    doi:10.1016/j.neucom.2019.04.019.
    S. Xie, Z. Tu. Holistically-nested edge detection. ICCV 2015.
    """
    check(base_channels >= 1, "base_channels", base_channels, "at least 1")
    check(1 <= depth <= len(WIDTHS), "depth", depth, f"from 1 to {len(WIDTHS)}")
    check(0 < prior < 1, "prior", prior, "between 0 and 1")
    check(channels >= 1, "channels", channels, "at least 1")
    caffe = import_caffe()
    net, head = begin(caffe, feed, shape)
    sides = _sides(
        caffe, net, channels, base_channels, depth,
        prior if activation == "SIGMOID" else None, memory if batch_norm else None,
    )  # fmt: skip
    net.score = _fused(caffe, net, sides)
    if feed is None:
        net.prob = output(caffe, net.score, activation)
    else:
        loss_layers(caffe, net, losses, ignore_label, watch)
        if side_losses:
            for stage, side in enumerate(sides, 1):
                where = f"_side{stage}"
                loss_layers(caffe, net, losses, ignore_label, of=side, where=where)
    return with_feed(head, net)


def _sides(
    caffe: Any,
    net: Any,
    channels: int,
    base: int,
    depth: int,
    prior: float | None,
    memory: float | None,
) -> list[Any]:
    """Return the logits of every stage at full size."""
    sides = []
    top = net.data
    for stage in range(1, depth + 1):
        if stage > 1:
            top = net[f"pool{stage - 1}"] = caffe.layers.Pooling(
                top, pool=caffe.params.Pooling.MAX, kernel_size=2, stride=2
            )
        for k in range(1, CONVOLUTIONS[stage - 1] + 1):
            name = f"{{}}{stage}_{k}"
            width = base * WIDTHS[stage - 1]
            if memory is not None:
                top = conv_bn_relu(caffe, net, name, top, width, memory)
            else:
                top = _conv_relu(caffe, net, name, top, width)
        side = net[f"side{stage}"] = score(caffe, top, channels, prior)
        sides.append(_enlarged(caffe, net, side, stage, channels))
    return sides


def _conv_relu(caffe: Any, net: Any, name: str, bottom: Any, width: int) -> Any:
    top = net[name.format("conv")] = caffe.layers.Convolution(
        bottom,
        num_output=width,
        kernel_size=3,
        pad=1,
        weight_filler={"type": "msra"},
        param=BIAS_DECAYS_NOT,
    )
    top = net[name.format("relu")] = caffe.layers.ReLU(top, in_place=True)
    return top


def _enlarged(caffe: Any, net: Any, side: Any, stage: int, channels: int) -> Any:
    if stage == 1:
        return side
    stride = 2 ** (stage - 1)
    top = net[f"side{stage}_up"] = caffe.layers.Deconvolution(
        side,
        convolution_param={
            "num_output": channels,
            "group": channels,
            "kernel_size": 2 * stride,
            "stride": stride,
            "pad": stride // 2,
            "bias_term": False,
            "weight_filler": {"type": "bilinear"},
        },
        param={"lr_mult": 0, "decay_mult": 0},
    )
    return top


def _fused(caffe: Any, net: Any, sides: Sequence[Any]) -> Any:
    """Return the weighted sum of each class's logits, initially their mean."""
    share = {"type": "constant", "value": round(1 / len(sides), 6)}
    if len(sides) == 1:
        return caffe.layers.Scale(sides[0], filler=share)
    weighed = []
    for stage, side in enumerate(sides, 1):
        net[f"side{stage}_weight"] = caffe.layers.Scale(side, filler=share)
        weighed.append(net[f"side{stage}_weight"])
    return caffe.layers.Eltwise(*weighed)
