"""The options of every loss: types, ranges, defaults, and what has no effect when.

Options and their values are those of the native layers' messages (proto/), plus
`ignore_label` and `normalization` of loss_param. An option that has no effect given the
others is refused: whoever sets it expects one. The tests draw from the values in
`examples`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

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
from randrop.losses.philox import TILE

Balance = Literal["PER_CHANNEL", "PER_IMAGE", "BATCH"]
Activation = Literal["SOFTMAX", "SIGMOID"]

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
                has = "has" if len(found) == 1 else "have"
                raise PydanticCustomError(
                    "idle", "{fields} {has} no effect {why}",
                    {"fields": " and ".join(found), "has": has, "why": why},
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
    keep: Literal["BY_DIFFICULTY", "UNIFORM", "HARDEST"] = "BY_DIFFICULTY"
    first_element: UInt64 = Field(default=0, multiple_of=TILE, examples=[0, 2**38])

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield what NONE, which drops nothing, and HARDEST do not use."""
        if self.schedule_type == "NONE":
            yield (
                ("seed", "first_iteration", "first_element", "drop_in_test", "keep"),
                "with schedule_type NONE, which drops nothing: remove it, or choose "
                "LINEAR, SQU or LOG",
            )
        elif self.keep == "HARDEST":
            yield (
                ("seed", "first_iteration", "first_element"),
                "with keep HARDEST, which leaves nothing to chance: remove it, or "
                "choose keep UNIFORM or BY_DIFFICULTY",
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
                "with selection PERCENT: remove it, or choose selection EXACT or BIN",
            )
        else:
            yield (
                ("k_percent",),
                f"with selection {self.selection}: add selection PERCENT, or use "
                "negatives_per_positive",
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
                f"with alpha_mode {self.alpha_mode}, which computes alpha from "
                "counts: remove one of them",
            )


class SoftmaxFocalOptions(NormalizedOptions):
    """Options of SoftmaxFocalCELoss."""

    gamma: NotNegative = Field(default=2, examples=_GAMMAS)
    class_alpha: list[NotNegative] = Field(default=[], examples=[[0.7]])


class OverlapOptions(Options):
    """What the options of the losses with an `include_background` have in common."""

    if TYPE_CHECKING:
        # Each declares it itself: messages name a class's own options first.
        activation: Activation

    def idle(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield include_background: a sigmoid has no background class."""
        if self.activation == "SIGMOID":
            yield (
                ("include_background",),
                "with activation SIGMOID, where every channel is foreground: remove it",
            )


class CommonDiceOptions(OverlapOptions):
    """Options of SoftDiceLoss and TopKDiceLoss."""

    activation: Activation = "SOFTMAX"
    smooth: NotNegative = Field(default=1, examples=[0.0, 1e-3, 1.0])
    squared: bool = True
    # False with one class leaves nothing to average; a separate test covers it.
    include_background: bool = Field(default=True, examples=[True])
    batch: bool = False


class DiceOptions(CommonDiceOptions):
    """Options of SoftDiceLoss."""

    # 0 is for gamma 0 only; separate tests cover it.
    smooth: NotNegative = Field(default=1, examples=[1e-3, 1.0])
    gamma: NotNegative = Field(default=0, examples=[0.0, 0.5, 2.0])
    weight_cross: NotNegative = Field(default=0, examples=[0.0, 0.5])

    @model_validator(mode="after")
    def _refuse_no_smooth(self) -> "DiceOptions":
        if self.gamma > 0 and self.smooth == 0:
            raise PydanticCustomError(
                "smooth",
                "smooth is 0, which gamma does not allow: where all pixels are right, "
                "all weigh 0. Give smooth a value above 0",
            )
        return self


class TopKDiceOptions(CommonDiceOptions):
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
                "with weight_dice 0: remove it, or give the Dice term a weight",
            )
        if self.weight_cross == 0:
            yield (
                ("gamma_cross", "label_frequency"),
                "with weight_cross 0: remove it, or give the cross term a weight",
            )


class TverskyOptions(OverlapOptions):
    """Options of TverskyLoss."""

    activation: Activation = "SOFTMAX"
    alpha: NotNegative = Field(default=0.3, examples=[0.0, 0.3, 0.5])
    beta: NotNegative = Field(default=0.7, examples=[0.0, 0.5, 2.0])
    gamma: Positive = Field(default=1, examples=[0.75, 1.0, 2.0])
    smooth: NotNegative = Field(default=1, examples=[0.0, 1e-3, 1.0])
    include_background: bool = Field(default=True, examples=[True])
    batch: bool = False
