"""The parameters of the losses as a prototxt or the command line may give them.

Fields and their values are those of the native layers' messages (proto/), and
`ignore_label` and `normalization` of loss_param. Defaults are those of the functions in
`randrop.losses`. An option that has no effect beside the others is refused: whoever
gives it believes that it has one.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

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


class LossParams(Model):
    """What every loss takes."""

    ignore_label: Int32 | None = None

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield fields that have no effect beside the others, and when, and so what."""
        yield from ()

    @model_validator(mode="after")
    def _refuse_idle(self) -> "LossParams":
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


class NormalizedParams(LossParams):
    """Those of a loss that is a sum, and so has a divisor."""

    normalization: Literal["FULL", "VALID", "BATCH_SIZE", "NONE"] | None = None


class RandomDropParams(NormalizedParams):
    """Of SigmoidRandomDropCELoss."""

    schedule_type: Literal["LINEAR", "SQU", "LOG", "NONE"] = "LOG"
    seed: UInt64 | None = None
    first_iteration: UInt64 = 0
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


class SigmoidTopKParams(NormalizedParams):
    """Of SigmoidTopKCELoss."""

    selection: Literal["EXACT", "BIN", "PERCENT"] = "EXACT"
    negatives_per_positive: Positive = 20
    positive_weight: NotNegative = 1
    balance: Balance = "PER_CHANNEL"
    k_percent: Percent = 10

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield those of groups, or that of a share."""
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


class SoftmaxTopKParams(NormalizedParams):
    """Of SoftmaxTopKLoss."""

    k_percent: Percent = 10


class SigmoidFocalParams(NormalizedParams):
    """Of SigmoidFocalCELoss."""

    gamma: NotNegative = 2
    alpha: Share = 0.25
    alpha_mode: Literal["FIXED", "PER_IMAGE", "PER_CHANNEL"] = "FIXED"

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield alpha where it is counted."""
        if self.alpha_mode != "FIXED":
            yield (
                ("alpha",),
                f"with alpha_mode {self.alpha_mode}, which counts it: leave one of "
                "them out",
            )


class SoftmaxFocalParams(NormalizedParams):
    """Of SoftmaxFocalCELoss."""

    gamma: NotNegative = 2
    class_alpha: list[NotNegative] = Field(default=[])


class DiceParams(LossParams):
    """Of SoftDiceLoss."""

    activation: Activation = "SOFTMAX"
    smooth: NotNegative = 1
    squared: bool = True
    include_background: bool = True
    batch: bool = False

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield what a sigmoid has not: a background."""
        if self.activation == "SIGMOID":
            yield (
                ("include_background",),
                "with activation SIGMOID, where every channel is a foreground: leave "
                "it out",
            )


class TopKDiceParams(DiceParams):
    """Of TopKDiceLoss."""

    k_percent: Percent = 50
    region: Literal["ALL", "FOREGROUND"] = "ALL"


class ExpLogParams(LossParams):
    """Of ExpLogLoss."""

    weight_dice: NotNegative = 0.8
    weight_cross: NotNegative = 0.2
    gamma_dice: Positive = 0.3
    gamma_cross: Positive = 0.3
    epsilon: Positive = 1
    label_frequency: list[NotNegative] = Field(default=[])
    batch: bool = False

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the parameters of a term of weight 0."""
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


BY_TYPE: dict[str, type[LossParams]] = {
    "SigmoidRandomDropCELoss": RandomDropParams,
    "SigmoidTopKCELoss": SigmoidTopKParams,
    "SoftmaxTopKLoss": SoftmaxTopKParams,
    "SigmoidFocalCELoss": SigmoidFocalParams,
    "SoftmaxFocalCELoss": SoftmaxFocalParams,
    "SoftDiceLoss": DiceParams,
    "TopKDiceLoss": TopKDiceParams,
    "ExpLogLoss": ExpLogParams,
}
"""A layer's type to its parameters."""


def model_of(layer: str) -> type[LossParams]:
    """Return the parameters of a layer, for Caffe's own those that all losses have."""
    return BY_TYPE.get(layer, NormalizedParams)
