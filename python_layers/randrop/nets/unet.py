"""U-Net in two dimensions."""

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


def unet(
    channels: int,
    feed: Feed | None = None,
    losses: Sequence[Loss] = (),
    activation: str = "SIGMOID",
    base_channels: int = 16,
    depth: int = 4,
    prior: float = 0.01,
    memory: float = CAFFES_MEMORY,
    ignore_label: int | None = 255,
    watch: Mapping[str, Any] | None = None,
    shape: tuple[int, int, int] = (3, 512, 512),
) -> str:
    """Return the prototxt of a U-Net.

    Each of `depth` levels is twice (3 x 3 convolution, batch normalisation, ReLU);
    channels double after each 2 x 2 max pooling and halve after each 2 x 2
    deconvolution, whose result is joined to the encoder's features of its size.

    Parameters
    ----------
    channels : int
        Of the output: lesion types (SIGMOID) or classes (SOFTMAX).
    feed : Feed, optional
        With it the network is for training and validation (blobs data, label, score,
        loss), without it for deployment (data, prob), where height and width must be
        multiples of 2^(depth - 1).
    losses : sequence of Loss
        Wanted with `feed`.
    activation : {"SIGMOID", "SOFTMAX"}
        What the logits are for.
    base_channels, depth : int
        Channels of the first level; number of levels.
    prior : float
        SIGMOID: probability that the untrained network gives every pixel: rare objects
        want a low one, or the first iterations go into learning that they are rare. It
        also decides how much random drop keeps at the start: at 0.01 schedule LOG keeps
        0.44 % of the negatives, at 0.1 4.6 %.
    memory : float
        BatchNorm's moving_average_fraction: what validation normalises by reaches back
        some 1 / (1 - memory) iterations. A short training wants less than Caffe's
        0.999, or it is judged by the statistics of its beginning.
    ignore_label : int, optional
        Label of the pixels that have none, such as those outside the field of view.
    watch : mapping, optional
        As of `losses.loss_layers`.
    shape : (int, int, int)
        Channels, height and width of the deployed input; it can be reshaped.

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
    check(base_channels >= 1, "base_channels", base_channels, "at least 1")
    check(1 <= depth <= 8, "depth", depth, "from 1 to 8")
    check(0 < prior < 1, "prior", prior, "between 0 and 1")
    check(channels >= 1, "channels", channels, "at least 1")
    caffe = import_caffe()
    net, head = begin(caffe, feed, shape)
    top = _body(caffe, net, base_channels, depth, memory)
    net.score = score(caffe, top, channels, prior if activation == "SIGMOID" else None)
    if feed is None:
        net.prob = output(caffe, net.score, activation)
    else:
        loss_layers(caffe, net, losses, ignore_label, watch)
    return with_feed(head, net)


def _body(caffe: Any, net: Any, base: int, depth: int, memory: float) -> Any:
    layers, params = caffe.layers, caffe.params
    skips = []
    top = net.data
    for level in range(depth):
        if level:
            top = net[f"pool{level}"] = layers.Pooling(
                top, pool=params.Pooling.MAX, kernel_size=2, stride=2
            )
        top = _block(caffe, net, f"down{level}", top, base * 2**level, memory)
        skips.append(top)
    for level in reversed(range(depth - 1)):
        up = net[f"up{level}_deconv"] = layers.Deconvolution(
            top,
            convolution_param={
                "num_output": base * 2**level,
                "kernel_size": 2,
                "stride": 2,
                "weight_filler": {"type": "msra"},
            },
            param=BIAS_DECAYS_NOT,
        )
        top = net[f"up{level}_concat"] = layers.Concat(skips[level], up)
        top = _block(caffe, net, f"up{level}", top, base * 2**level, memory)
    return top


def _block(
    caffe: Any, net: Any, name: str, bottom: Any, channels: int, memory: float
) -> Any:
    top = bottom
    for k in (1, 2):
        top = conv_bn_relu(caffe, net, f"{name}_{{}}{k}", top, channels, memory)
    return top
