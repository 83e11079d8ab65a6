"""The network of the exponential logarithmic loss, for volumes."""

from collections.abc import Sequence
from typing import Any

from randrop.nets.blocks import BIAS_DECAYS_NOT, check, conv_bn_relu, output, score
from randrop.nets.feeds import Feed, VolumeFeed, begin, with_feed
from randrop.nets.losses import Loss, loss_layers
from randrop.pycaffe.build import import_caffe


def explog3d(
    channels: int,
    feed: Feed | None = None,
    losses: Sequence[Loss] = (),
    shape: tuple[int, int, int, int] = (1, 32, 32, 32),
    base_channels: int = 8,
    convolutions: Sequence[int] = (1, 2, 2),
    noise: float = 0.1,
    dropout: float = 0.5,
    memory: float = 0.95,
    ignore_label: int | None = None,
) -> str:
    """Return the prototxt of an encoder and decoder for volumes.

    A block repeats (3 x 3 x 3 convolution, batch normalisation, ReLU) k times and adds
    a 1 x 1 x 1 convolution of its input. Channels double after each max pooling by 2
    and halve after each upsampling by 2, whose output is concatenated with the encoder
    features of the same size. The outputs of all decoder levels are upsampled to the
    input size and concatenated for the last 1 x 1 x 1 convolution (deep supervision).

    Caffe's Pooling handles two axes. Max pooling over three axes equals pooling over
    the last two and then over the first, so each is two Pooling layers between Reshape
    layers, which copy nothing: (C D) x H x W is pooled by 2 x 2, then D x (H W) by
    2 x 1. Upsampling repeats each voxel: a Deconvolution with one group per channel and
    fixed weights of 1.

    Parameters
    ----------
    channels : int
        Classes, including the background.
    feed : Feed, optional
        As in `unet`. Noise and dropout apply in training only.
    losses : sequence of Loss
        Required with `feed`.
    shape : (int, int, int, int)
        Channels, depth, height and width of the input; the last three are multiples of
        2^(levels - 1). The network supports this size only.
    base_channels : int
        Channels of the first level.
    convolutions : sequence of int
        k of each level's blocks, from the highest resolution to the lowest.
    noise : float
        Standard deviation of the Gaussian noise on the input.
    dropout : float
        Fraction of the lowest-resolution level's features to drop.
    memory : float
        As in `unet`.
    ignore_label : int, optional
        Marks voxels without a label.

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
    K. C. L. Wong et al. 3D segmentation with exponential logarithmic loss for highly
    unbalanced object sizes. MICCAI 2018, arXiv:1809.00076, section 2.3.
    """
    levels = len(convolutions)
    check(channels >= 2, "channels", channels, "at least 2")
    check(base_channels >= 1, "base_channels", base_channels, "at least 1")
    check(
        levels >= 1 and min(convolutions) >= 1,
        "convolutions", convolutions, "at least 1 for each level",
    )  # fmt: skip
    check(
        all(n % 2 ** (levels - 1) == 0 for n in shape[1:]) and len(shape) == 4,
        "shape", shape, f"channels and three multiples of {2 ** (levels - 1)}",
    )  # fmt: skip
    caffe = import_caffe()
    net, head = begin(caffe, feed, shape)
    top = net.data
    if feed is not None and noise > 0:
        images = feed.share if isinstance(feed, VolumeFeed) else feed.batch
        drawn, top = _noisy(caffe, net, (images, feed.batch), shape, noise)
        head += drawn
    net.joined = _body(
        caffe, net, top, shape[1:], base_channels, convolutions, dropout, memory
    )
    net.score = score(caffe, net.joined, channels, None)
    if feed is None:
        net.prob = output(caffe, net.score, "SOFTMAX")
    else:
        loss_layers(caffe, net, losses, ignore_label)
    return with_feed(head, net, ("data", "label", "noise"))


def _noisy(
    caffe: Any, net: Any, images: Sequence[int], shape: Sequence[int], deviation: float
) -> tuple[str, Any]:
    """Return the layers that draw noise (none in validation), and the noisy data.

    `images` are the numbers of them in training and in validation.
    """
    text = ""
    for phase, batch, filler in (
        (caffe.TRAIN, images[0], {"type": "gaussian", "std": deviation}),
        (caffe.TEST, images[1], {"type": "constant", "value": 0}),
    ):
        spec = caffe.NetSpec()
        spec.noise = caffe.layers.DummyData(
            shape={"dim": [batch, *shape]},
            data_filler=filler,
            include={"phase": phase},
        )
        text += str(spec.to_proto())
    net.noise = caffe.layers.Input()
    net.noisy = caffe.layers.Eltwise(net.data, net.noise)
    return text, net.noisy


def _body(
    caffe: Any,
    net: Any,
    top: Any,
    size: Sequence[int],
    base: int,
    convolutions: Sequence[int],
    dropout: float,
    memory: float,
) -> Any:
    def block(name: str, bottom: Any, channels: int, convolutions: int) -> Any:
        return _block(caffe, net, name, bottom, channels, convolutions, memory)

    skips, decoded = [], []
    levels = len(convolutions)
    sizes = [[n // 2**level for n in size] for level in range(levels)]
    for level in range(levels):
        if level:
            top = _pool(caffe, net, f"pool{level}", top, sizes[level - 1])
        top = block(f"down{level}", top, base * 2**level, convolutions[level])
        skips.append(top)
    if dropout > 0:
        top = net.dropout = caffe.layers.Dropout(
            top, dropout_ratio=dropout, in_place=True
        )
    decoded.append(top)
    for level in reversed(range(levels - 1)):
        half = net[f"up{level}_half"] = _one(caffe, top, base * 2**level)
        up = _up(caffe, net, f"up{level}", half, base * 2**level, 2)
        joined = net[f"up{level}_concat"] = caffe.layers.Concat(skips[level], up)
        top = block(f"up{level}", joined, base * 2**level, convolutions[level])
        decoded.append(top)
    # A 1 x 1 convolution first reduces the others to the channels of the widest.
    widest = [top]
    for level, features in zip(range(levels - 1, 0, -1), decoded, strict=False):
        few = net[f"deep{level}_conv"] = _one(caffe, features, base)
        widest.append(_up(caffe, net, f"deep{level}", few, base, 2**level))
    return caffe.layers.Concat(*widest) if len(widest) > 1 else widest[0]


def _block(
    caffe: Any,
    net: Any,
    name: str,
    bottom: Any,
    channels: int,
    convolutions: int,
    memory: float,
) -> Any:
    top = bottom
    for k in range(1, convolutions + 1):
        top = conv_bn_relu(caffe, net, f"{name}_{{}}{k}", top, channels, memory)
    skip = net[f"{name}_skip"] = _one(caffe, bottom, channels)
    top = net[f"{name}_sum"] = caffe.layers.Eltwise(top, skip)
    return top


def _one(caffe: Any, bottom: Any, channels: int) -> Any:
    return caffe.layers.Convolution(
        bottom,
        num_output=channels,
        kernel_size=1,
        weight_filler={"type": "msra"},
        param=BIAS_DECAYS_NOT,
    )


def _pool(caffe: Any, net: Any, name: str, bottom: Any, size: Sequence[int]) -> Any:
    """Max pooling by 2 of bottom, given its spatial size."""
    d, h, w = size

    def reshape(kind: str, top: Any, *shape: int) -> Any:
        net[f"{name}_{kind}"] = caffe.layers.Reshape(
            top, reshape_param={"shape": {"dim": [0, *shape]}}
        )
        return net[f"{name}_{kind}"]

    def pool(kind: str, top: Any, height: int, width: int) -> Any:
        net[f"{name}_{kind}"] = caffe.layers.Pooling(
            top,
            pool=caffe.params.Pooling.MAX,
            kernel_h=height,
            kernel_w=width,
            stride_h=height,
            stride_w=width,
        )
        return net[f"{name}_{kind}"]

    slices = reshape("slices", bottom, -1, h, w)
    plane = pool("plane", slices, 2, 2)
    rows = reshape("rows", plane, -1, d, h * w // 4)
    line = pool("line", rows, 2, 1)
    return reshape("volume", line, -1, d // 2, h // 2, w // 2)


def _up(
    caffe: Any, net: Any, name: str, bottom: Any, channels: int, factor: int
) -> Any:
    """Repeat each voxel `factor` times along each axis."""
    net[f"{name}_repeat"] = caffe.layers.Deconvolution(
        bottom,
        convolution_param={
            "num_output": channels,
            "group": channels,
            "kernel_size": factor,
            "stride": factor,
            "bias_term": False,
            "weight_filler": {"type": "constant", "value": 1},
        },
        param=[{"lr_mult": 0, "decay_mult": 0}],
    )
    return net[f"{name}_repeat"]
