"""The building blocks of the networks."""

import math
from typing import Any

from randrop.errors import UserError

CAFFES_MEMORY = 0.999
"""BatchNorm's moving_average_fraction unless a prototxt says otherwise."""

BIAS_DECAYS_NOT = [{"lr_mult": 1}, {"lr_mult": 1, "decay_mult": 0}]


def check(holds: bool, name: str, value: Any, wanted: str) -> None:
    """Raise a UserError that names the parameter unless the condition holds."""
    if not holds:
        raise UserError(f"{name} is {value}: it must be {wanted}")


def conv_bn_relu(
    caffe: Any, net: Any, name: str, bottom: Any, channels: int, memory: float
) -> Any:
    """Add (convolution of size 3, batch normalisation, ReLU).

    Parameters
    ----------
    caffe : module
    net : NetSpec
    name : str
        A pattern for the layer's kind: "down0_{}1" gives down0_conv1, down0_bn1,
        down0_scale1 and down0_relu1.
    bottom : Top
    channels : int
    memory : float
        BatchNorm's moving_average_fraction.
    """
    layers = caffe.layers
    average = {"moving_average_fraction": memory}
    top = net[name.format("conv")] = layers.Convolution(
        bottom,
        num_output=channels,
        kernel_size=3,
        pad=1,
        bias_term=False,
        weight_filler={"type": "msra"},
    )
    top = net[name.format("bn")] = layers.BatchNorm(
        top, in_place=True, **({} if memory == CAFFES_MEMORY else average)
    )
    top = net[name.format("scale")] = layers.Scale(
        top,
        bias_term=True,
        in_place=True,
        param=[{"lr_mult": 1, "decay_mult": 0}, {"lr_mult": 1, "decay_mult": 0}],
    )
    top = net[name.format("relu")] = layers.ReLU(top, in_place=True)
    return top


def score(caffe: Any, bottom: Any, channels: int, prior: float | None) -> Any:
    """Return the 1 x 1 convolution that computes the logits.

    `prior` is the probability that the untrained sigmoid outputs; None gives all
    classes of a softmax the same probability.
    """
    # Small weights keep the output near the prior; without a prior they are not needed.
    weights: dict[str, Any] = {"type": "msra"}
    bias = 0.0
    if prior is not None:
        weights = {"type": "gaussian", "std": 0.01}
        bias = round(math.log(prior / (1 - prior)), 4)
    return caffe.layers.Convolution(
        bottom,
        num_output=channels,
        kernel_size=1,
        weight_filler=weights,
        bias_filler={"type": "constant", "value": bias},
        param=BIAS_DECAYS_NOT,
    )


def output(caffe: Any, bottom: Any, activation: str) -> Any:
    """Return the layer that turns logits into probabilities."""
    if activation == "SIGMOID":
        return caffe.layers.Sigmoid(bottom)
    return caffe.layers.Softmax(bottom)
