"""Every loss: its native layer, function and names. All else follows from it.

The Python twins, `train.py --loss`, proto/LAYERS.md, the benchmark lists and the test
family are derived from the two tables in this file. The options of the layers are in
options.py.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from randrop import losses
from randrop.losses.options import (
    Activation,
    DiceOptions,
    ExpLogOptions,
    NormalizedOptions,
    Options,
    RandomDropOptions,
    SigmoidFocalOptions,
    SigmoidTopKOptions,
    SoftmaxFocalOptions,
    SoftmaxTopKOptions,
    TopKDiceOptions,
    TverskyOptions,
)

ACTIVATIONS: tuple[Activation, ...] = ("SIGMOID", "SOFTMAX")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A native loss layer.

    Attributes
    ----------
    type : str
        Its name in a prototxt; its twin has the class `<type>Layer`.
    function : callable
        Its definition in `randrop.losses`.
    field : str
        Its message in LayerParameter.
    options : type of Options
        The fields that it takes from that message and from loss_param.
    about : str
        A one-sentence description.
    activations : tuple of str
        The activations it supports. With two, the option `activation` selects one.
    mask : bool
        Whether its second top is a mask of the elements used.
    cells : bool
        Whether it takes the cells of lesions as a third bottom.
    other_types : tuple of str
        Other names of the same layer.
    examples : tuple of mapping
        Options that select different computations; the tests run all of them.
    """

    type: str
    function: Callable[..., losses.LossResult]
    field: str
    options: type[Options]
    about: str
    activations: tuple[Activation, ...]
    mask: bool = False
    cells: bool = False
    other_types: tuple[str, ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ({},)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The fields of its own message."""
        common = NormalizedOptions.model_fields
        return tuple(name for name in self.options.model_fields if name not in common)


@dataclasses.dataclass(frozen=True)
class Name:
    """A loss as the command line names it.

    Attributes
    ----------
    about : str
        One line of help.
    sigmoid, softmax : str
        The layer's type for either activation; empty where there is none.
    params : mapping
        The options that the name implies; more may be given.
    short : str
        The option that an unnamed value sets.
    implies : mapping
        What giving `short` also sets, in a layer that has such an option.
    cells : bool
        Whether it takes the cells of lesions, unless cells=false is given.
    timed : mapping
        The suffix that the benchmarks append to the name, by activation.
    """

    about: str
    sigmoid: str = ""
    softmax: str = ""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    short: str = ""
    implies: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cells: bool = False
    timed: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def layer(self, activation: str) -> str:
        """Return the layer's type, empty if there is none."""
        return self.sigmoid if activation == "SIGMOID" else self.softmax


LAYERS: dict[str, Layer] = {
    layer.type: layer
    for layer in (
        Layer(
            "SigmoidRandomDropCELoss",
            losses.random_drop,
            "randrop_loss_param",
            RandomDropOptions,
            "Random drop loss; with `schedule_type: NONE` class-balanced "
            "cross-entropy.",
            ("SIGMOID",),
            mask=True,
            other_types=(
                "SigmoidRandomDropCELossParameter",
                "SigmoidRandomDropCrossEntropyLoss",
            ),
            examples=tuple(
                {"schedule_type": name} for name in ("LINEAR", "SQU", "LOG", "NONE")
            ),
        ),
        Layer(
            "SigmoidTopKCELoss",
            losses.sigmoid_top_k,
            "randrop_topk_param",
            SigmoidTopKOptions,
            "Top-k and bin loss over a sigmoid.",
            ("SIGMOID",),
            mask=True,
            examples=(
                {"negatives_per_positive": 1.0},
                {"selection": "BIN", "negatives_per_positive": 1.0},
                {"selection": "PERCENT", "k_percent": 40.0},
            ),
        ),
        Layer(
            "SoftmaxTopKLoss",
            losses.softmax_top_k,
            "randrop_topk_param",
            SoftmaxTopKOptions,
            "Mean cross-entropy of the hardest pixels of a softmax.",
            ("SOFTMAX",),
            mask=True,
            examples=({"k_percent": 40.0},),
        ),
        Layer(
            "SigmoidFocalCELoss",
            losses.sigmoid_focal,
            "randrop_focal_param",
            SigmoidFocalOptions,
            "Focal loss over a sigmoid.",
            ("SIGMOID",),
            other_types=("SigmoidFocalLoss",),
            examples=({}, {"alpha_mode": "PER_IMAGE", "gamma": 0.5}),
        ),
        Layer(
            "SoftmaxFocalCELoss",
            losses.softmax_focal,
            "randrop_focal_param",
            SoftmaxFocalOptions,
            "Focal loss over a softmax.",
            ("SOFTMAX",),
            other_types=("SoftmaxFocalLoss",),
        ),
        Layer(
            "SoftDiceLoss",
            losses.dice,
            "randrop_dice_param",
            DiceOptions,
            "Soft Dice loss.",
            ("SOFTMAX", "SIGMOID"),
            other_types=("DiceLoss",),
            examples=(
                {},
                {"activation": "SIGMOID", "batch": True},
                {"gamma": 1.5},
                {"activation": "SIGMOID", "gamma": 0.5, "weight_cross": 0.7},
            ),
            cells=True,
        ),
        Layer(
            "TopKDiceLoss",
            losses.top_k_dice,
            "randrop_dice_param",
            TopKDiceOptions,
            "Soft Dice loss of the hardest pixels.",
            ("SOFTMAX", "SIGMOID"),
            mask=True,
            examples=({}, {"activation": "SIGMOID", "region": "FOREGROUND"}),
        ),
        Layer(
            "ExpLogLoss",
            losses.exp_log,
            "randrop_explog_param",
            ExpLogOptions,
            "Exponential logarithmic loss.",
            ("SOFTMAX",),
        ),
        Layer(
            "TverskyLoss",
            losses.tversky,
            "randrop_tversky_param",
            TverskyOptions,
            "Tversky and focal Tversky loss.",
            ("SOFTMAX", "SIGMOID"),
            examples=({}, {"activation": "SIGMOID", "gamma": 0.75, "batch": True}),
            cells=True,
        ),
    )
}
"""The native layers, by their types."""

NAMES: dict[str, Name] = {
    "cross-entropy": Name("Caffe's own", "SigmoidCrossEntropyLoss", "SoftmaxWithLoss"),
    "random-drop": Name(
        "easy negatives dropped at random",
        "SigmoidRandomDropCELoss",
        short="schedule_type",
        timed={
            "SIGMOID": (
                "LINEAR",
                "SQU",
                "LOG",
                "LOG,keep=UNIFORM",
                "LOG,keep=HARDEST",
            )
        },
    ),
    "class-balanced": Name(
        "cross-entropy balanced by class counts",
        "SigmoidRandomDropCELoss",
        params={"schedule_type": "NONE"},
    ),
    "top-k": Name(
        "the hardest negatives; top-k:5, the hardest 5 % of all pixels",
        "SigmoidTopKCELoss",
        "SoftmaxTopKLoss",
        short="k_percent",
        # A percentage alone is unambiguous; a softmax supports nothing else.
        implies={"selection": "PERCENT"},
        timed={"SIGMOID": ("", "selection=PERCENT")},
    ),
    "bin": Name(
        "the hardest negatives, in whole bins of p",
        "SigmoidTopKCELoss",
        params={"selection": "BIN"},
        short="negatives_per_positive",
    ),
    "focal": Name(
        "larger weights for hard pixels",
        "SigmoidFocalCELoss",
        "SoftmaxFocalCELoss",
        short="gamma",
    ),
    "dice": Name("overlap of each class", "SoftDiceLoss", "SoftDiceLoss"),
    "pm-dice": Name(
        "Dice in which a pixel weighs |y - p|^gamma",
        "SoftDiceLoss",
        "SoftDiceLoss",
        params={"gamma": 2.0},
        short="gamma",
    ),
    "cc-dice-ce": Name(
        "Dice and cross-entropy, over the cells of the lesions",
        "SoftDiceLoss",
        "SoftDiceLoss",
        params={"smooth": 0.0, "squared": False, "weight_cross": 1.0},
        cells=True,
    ),
    "top-k-dice": Name(
        "Dice of the hardest pixels", "TopKDiceLoss", "TopKDiceLoss", short="k_percent"
    ),
    "tversky": Name(
        "overlap with separate weights for misses and false alarms",
        "TverskyLoss",
        "TverskyLoss",
        short="alpha",
    ),
    "exp-log": Name("powers of log Dice and of cross-entropy", softmax="ExpLogLoss"),
    "weighted-cross-entropy": Name(
        "class weights: the root of the inverse frequency",
        softmax="ExpLogLoss",
        params={"weight_dice": 0, "weight_cross": 1, "gamma_cross": 1},
    ),
}
"""The losses by the names of the command line."""


def options_of(layer: str) -> type[Options]:
    """Return the options of a layer; Caffe's own layers take the common ones."""
    return LAYERS[layer].options if layer in LAYERS else NormalizedOptions


def timed(activation: str) -> tuple[str, ...]:
    """Return the losses that the benchmarks time, in command-line form."""
    return tuple(
        f"{name}:{rest}" if rest else name
        for name, of in NAMES.items()
        if of.layer(activation)
        for rest in of.timed.get(activation, ("",))
    )
