"""Every loss: its native layer, function, options and names. All else follows from it.

The Python twins, `train.py --loss`, proto/LAYERS.md, the benchmark lists and the test
family are derived from the two tables at the end of this file.

Options and their values are those of the native layers' messages (proto/), plus
`ignore_label` and `normalization` of loss_param. An option that has no effect given the
others is refused: whoever sets it expects one. The tests draw from the values in
`examples`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from randrop import losses
from randrop.files.schema import (
    Int32,
    Model,
    NotNegative,
    Percent,
    Positive,
    Share,
    UInt64,
)

Balance = Literal["PER_CHANNEL", "PER_IMAGE", "BATCH"]
Activation = Literal["SOFTMAX", "SIGMOID"]
ACTIVATIONS: tuple[Activation, ...] = ("SIGMOID", "SOFTMAX")

_GAMMAS = [0.0, 0.3, 1.0, 2.0, 3.5]
_PERCENTS = [0.01, 1.0, 10.0, 33.3, 50.0, 99.9, 100.0]


class Options(Model):
    """Options of every loss."""

    ignore_label: Int32 | None = Field(default=None, examples=[255, -1, 77])

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the fields without effect, the condition, and the consequence."""
        yield from ()

    @model_validator(mode="after")
    def _refuse_idle(self) -> "Options":
        given = {
            name for name in self.model_fields_set if getattr(self, name) is not None
        }
        for fields, why in self.idle():
            found = [name for name in fields if name in given]
            if found:
                raise PydanticCustomError(
                    "idle", "gives {fields}, without effect {why}",
                    {"fields": " and ".join(found), "why": why},
                )  # fmt: skip
        return self


class NormalizedOptions(Options):
    """Options of a loss that is a sum and thus has a divisor."""

    normalization: Literal["FULL", "VALID", "BATCH_SIZE", "NONE"] | None = None


class RandomDropOptions(NormalizedOptions):
    """Options of SigmoidRandomDropCELoss."""

    schedule_type: Literal["LINEAR", "SQU", "LOG", "NONE"] = "LOG"
    seed: UInt64 | None = Field(default=None, examples=[0, 7, 2**40])
    first_iteration: UInt64 = Field(default=0, examples=[0, 5])
    balance: Balance = "PER_CHANNEL"
    drop_in_test: bool = False

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield what NONE, which drops nothing, does not use."""
        if self.schedule_type == "NONE":
            yield (
                ("seed", "first_iteration", "drop_in_test"),
                "with schedule_type NONE, which drops nothing: leave it out, or choose "
                "LINEAR, SQU or LOG",
            )


class SigmoidTopKOptions(NormalizedOptions):
    """Options of SigmoidTopKCELoss."""

    selection: Literal["EXACT", "BIN", "PERCENT"] = "EXACT"
    negatives_per_positive: Positive = Field(
        default=20, examples=[0.1, 1.0, 2.5, 20.0, 1e9]
    )
    positive_weight: NotNegative = Field(default=1, examples=[0.0, 1.0, 3.0])
    balance: Balance = "PER_CHANNEL"
    k_percent: Percent = Field(default=10, examples=_PERCENTS)

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the group options for PERCENT, `k_percent` for the others."""
        if self.selection == "PERCENT":
            yield (
                ("negatives_per_positive", "positive_weight", "balance"),
                "with selection PERCENT: leave it out, or choose selection EXACT or "
                "BIN",
            )
        else:
            yield (
                ("k_percent",),
                f"with selection {self.selection}: add selection PERCENT, or give "
                "negatives_per_positive instead",
            )


class SoftmaxTopKOptions(NormalizedOptions):
    """Options of SoftmaxTopKLoss."""

    k_percent: Percent = Field(default=10, examples=_PERCENTS)


class SigmoidFocalOptions(NormalizedOptions):
    """Options of SigmoidFocalCELoss."""

    gamma: NotNegative = Field(default=2, examples=_GAMMAS)
    alpha: Share = Field(default=0.25, examples=[0.0, 0.25, 1.0])
    alpha_mode: Literal["FIXED", "PER_IMAGE", "PER_CHANNEL"] = "FIXED"

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield alpha where it is computed from counts."""
        if self.alpha_mode != "FIXED":
            yield (
                ("alpha",),
                f"with alpha_mode {self.alpha_mode}, which counts it: leave one of "
                "them out",
            )


class SoftmaxFocalOptions(NormalizedOptions):
    """Options of SoftmaxFocalCELoss."""

    gamma: NotNegative = Field(default=2, examples=_GAMMAS)
    class_alpha: list[NotNegative] = Field(default=[], examples=[[0.7]])


class DiceOptions(Options):
    """Options of SoftDiceLoss."""

    activation: Activation = "SOFTMAX"
    smooth: NotNegative = Field(default=1, examples=[0.0, 1e-3, 1.0])
    squared: bool = True
    # False with one class leaves nothing to average; a separate test covers it.
    include_background: bool = Field(default=True, examples=[True])
    batch: bool = False

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield include_background: a sigmoid has no background class."""
        if self.activation == "SIGMOID":
            yield (
                ("include_background",),
                "with activation SIGMOID, where every channel is a foreground: leave "
                "it out",
            )


class TopKDiceOptions(DiceOptions):
    """Options of TopKDiceLoss."""

    k_percent: Percent = Field(default=50, examples=_PERCENTS)
    region: Literal["ALL", "FOREGROUND"] = "ALL"


class ExpLogOptions(Options):
    """Options of ExpLogLoss."""

    weight_dice: NotNegative = Field(default=0.8, examples=[0.0, 0.8])
    weight_cross: NotNegative = Field(default=0.2, examples=[0.0, 0.2])
    gamma_dice: Positive = Field(default=0.3, examples=[0.3, 1.0, 2.0])
    gamma_cross: Positive = Field(default=0.3, examples=[0.3, 1.0, 1.5])
    epsilon: Positive = Field(default=1, examples=[1e-3, 1.0])
    label_frequency: list[NotNegative] = Field(default=[])
    batch: bool = False

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the options of a term of weight 0."""
        if self.weight_dice == 0:
            yield (
                ("gamma_dice", "epsilon", "batch"),
                "with weight_dice 0: leave it out, or give the Dice term a weight",
            )
        if self.weight_cross == 0:
            yield (
                ("gamma_cross", "label_frequency"),
                "with weight_cross 0: leave it out, or give the cross term a weight",
            )


class TverskyOptions(Options):
    """Options of TverskyLoss."""

    activation: Activation = "SOFTMAX"
    alpha: NotNegative = Field(default=0.3, examples=[0.0, 0.3, 0.5])
    beta: NotNegative = Field(default=0.7, examples=[0.0, 0.5, 2.0])
    gamma: Positive = Field(default=1, examples=[0.75, 1.0, 2.0])
    smooth: NotNegative = Field(default=1, examples=[0.0, 1e-3, 1.0])
    include_background: bool = Field(default=True, examples=[True])
    batch: bool = False

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield include_background: a sigmoid has no background class."""
        yield from DiceOptions.idle(self)  # type: ignore[arg-type]


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
    timed : mapping
        The suffix that the benchmarks append to the name, by activation.
    """

    about: str
    sigmoid: str = ""
    softmax: str = ""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    short: str = ""
    implies: Mapping[str, Any] = dataclasses.field(default_factory=dict)
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
            examples=({}, {"activation": "SIGMOID", "batch": True}),
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
        timed={"SIGMOID": ("LINEAR", "SQU", "LOG")},
    ),
    "class-balanced": Name(
        "cross-entropy balanced by the counts of the classes",
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
        "the hardest negatives by whole bins",
        "SigmoidTopKCELoss",
        params={"selection": "BIN"},
        short="negatives_per_positive",
    ),
    "focal": Name(
        "hard pixels weigh more",
        "SigmoidFocalCELoss",
        "SoftmaxFocalCELoss",
        short="gamma",
    ),
    "dice": Name("overlap of each class", "SoftDiceLoss", "SoftDiceLoss"),
    "top-k-dice": Name(
        "Dice of the hardest pixels", "TopKDiceLoss", "TopKDiceLoss", short="k_percent"
    ),
    "tversky": Name(
        "overlap in which misses and false alarms weigh differently",
        "TverskyLoss",
        "TverskyLoss",
        short="alpha",
    ),
    "exp-log": Name("powers of log Dice and of cross-entropy", softmax="ExpLogLoss"),
    "weighted-cross-entropy": Name(
        "a class weighs the root of its inverse frequency",
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
