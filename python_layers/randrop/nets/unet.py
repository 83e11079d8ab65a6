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
    max_channels: int | None = None,
    prior: float = 0.01,
    memory: float = CAFFES_MEMORY,
    ignore_label: int | None = 255,
    watch: Mapping[str, Any] | None = None,
    shape: tuple[int, int, int] = (3, 512, 512),
) -> str:
    """Return the prototxt of a U-Net.

    Each of `depth` levels applies (3 x 3 convolution, batch normalisation, ReLU) twice.
    Channels double after each 2 x 2 max pooling and halve after each 2 x 2
    deconvolution, whose output is concatenated with the encoder features of its size.

    Parameters
    ----------
    channels : int
        Channels of the output: lesion types (SIGMOID) or classes (SOFTMAX).
    feed : Feed, optional
        With a feed, the network is for training and validation (blobs data, label,
        score, loss); without, for deployment (data, prob), where height and width must
        be multiples of 2^(depth - 1).
    losses : sequence of Loss
        Required with `feed`.
    activation : {"SIGMOID", "SOFTMAX"}
        The activation of the logits.
    base_channels, depth : int
        Channels of the first level; number of levels.
    max_channels : int, optional
        No level has more. The deep levels have most of the weights, but little of the
        arithmetic: a limit makes a wide network's file small.
    prior : float
        SIGMOID: the untrained network's probability for every pixel. Rare objects need
        a low one, or the first iterations only learn that they are rare. It also
        determines how much random drop keeps at the start: schedule LOG keeps 0.44 % of
        the negatives at 0.01, and 4.6 % at 0.1.
    memory : float
        BatchNorm's moving_average_fraction: the statistics that validation uses cover
        about the last 1 / (1 - memory) iterations. A short training needs less than
        Caffe's 0.999, or validation uses statistics from its start.
    ignore_label : int, optional
        Marks pixels without a label, such as those outside the field of view.
    watch : mapping, optional
        As in `losses.loss_layers`.
    shape : (int, int, int)
        Channels, height and width of the deployed input; it can be reshaped.

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
    O. Ronneberger, P. Fischer, T. Brox. U-Net: convolutional networks for biomedical
    image segmentation. MICCAI 2015, doi:10.1007/978-3-319-24574-4_28.
    """
    check(base_channels >= 1, "base_channels", base_channels, "at least 1")
    check(1 <= depth <= 8, "depth", depth, "from 1 to 8")
    if max_channels is not None:
        wanted = f"at least the {base_channels} of the first level"
        check(max_channels >= base_channels, "max_channels", max_channels, wanted)
    check(0 < prior < 1, "prior", prior, "between 0 and 1")
    check(channels >= 1, "channels", channels, "at least 1")
    caffe = import_caffe()
    net, head = begin(caffe, feed, shape)
    widths = [base_channels * 2**level for level in range(depth)]
    if max_channels is not None:
        widths = [min(width, max_channels) for width in widths]
    top = _body(caffe, net, widths, memory)
    net.score = score(caffe, top, channels, prior if activation == "SIGMOID" else None)
    if feed is None:
        net.prob = output(caffe, net.score, activation)
    else:
        loss_layers(caffe, net, losses, ignore_label, watch)
    return with_feed(head, net)


def _body(caffe: Any, net: Any, widths: Sequence[int], memory: float) -> Any:
    layers, params = caffe.layers, caffe.params
    skips = []
    top = net.data
    for level, width in enumerate(widths):
        if level:
            top = net[f"pool{level}"] = layers.Pooling(
                top, pool=params.Pooling.MAX, kernel_size=2, stride=2
            )
        top = _block(caffe, net, f"down{level}", top, width, memory)
        skips.append(top)
    for level in reversed(range(len(widths) - 1)):
        up = net[f"up{level}_deconv"] = layers.Deconvolution(
            top,
            convolution_param={
                "num_output": widths[level],
                "kernel_size": 2,
                "stride": 2,
                "weight_filler": {"type": "msra"},
            },
            param=BIAS_DECAYS_NOT,
        )
        top = net[f"up{level}_concat"] = layers.Concat(skips[level], up)
        top = _block(caffe, net, f"up{level}", top, widths[level], memory)
    return top


def _block(
    caffe: Any, net: Any, name: str, bottom: Any, channels: int, memory: float
) -> Any:
    top = bottom
    for k in (1, 2):
        top = conv_bn_relu(caffe, net, f"{name}_{{}}{k}", top, channels, memory)
    return top
