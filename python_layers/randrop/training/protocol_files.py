"""What a protocol and the record of a training contain."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from randrop.errors import UserError
from randrop.files.documents import Lesions
from randrop.files.schema import Model, Number, OpenModel, Positive

Names = Annotated[list[str], Field(min_length=1)]


class Fold(Model):
    """Names of the photographs that one fold measures and validates on."""

    test: Names
    validation: Names


class Arm(Model):
    """A loss to compare, or an option of the training or the prediction.

    `training` are its own arguments of scripts/train.py; with them it needs a `name`,
    by default that of the loss. `networks` names another arm: this one predicts by its
    networks, with the arguments `prediction` of scripts/predict.py, or by the mean of
    their last `average` snapshots, and has its learning rate. `folds` is the number of
    folds that it is measured on, `about` says what it is there for, and `added` when it
    was added after the protocol was first written.
    """

    loss: str
    name: str = ""
    training: list[str] = Field(default=[])
    networks: str = ""
    prediction: list[str] = Field(default=[])
    average: Annotated[int, Field(ge=2)] | None = None
    folds: Number
    about: str = ""
    added: str = ""

    @property
    def called(self) -> str:
        """The name in records and tables."""
        return self.name or self.loss


class Protocol(Model):
    """The content of a protocol.

    `width` is the field of view of the prepared set in pixels; `types` are all lesion
    types that pixels can lie on; `training` are further arguments of scripts/train.py.
    All rates are tried on the first fold, and the one with the highest mean average
    precision on its validation photographs is used on all. `curve` lists the iterations
    whose snapshots are measured there.
    """

    title: str
    written: str
    data: str
    width: Number
    lesions: Lesions
    types: Lesions
    training: list[str]
    curve: Annotated[list[Number], Field(min_length=1)]
    learning_rates: Annotated[list[Positive], Field(min_length=1)]
    reference: str
    folds: Annotated[list[Fold], Field(min_length=1)]
    arms: Annotated[list[Arm], Field(min_length=1)]


def check_networks(path: Path, protocol: Protocol, arm: Arm) -> None:
    """Refuse an arm that predicts otherwise, but has no networks to do it by."""
    if not arm.networks:
        if arm.prediction or arm.average:
            raise UserError(
                f"{path}: {arm.called} predicts otherwise: name the arm whose networks "
                "it predicts by, as networks"
            )
        return
    if not arm.name or arm.training or not (arm.prediction or arm.average):
        raise UserError(
            f"{path}: {arm.called} uses the networks of {arm.networks}: give it a "
            "name, and prediction or average, but not training"
        )
    theirs = next((a for a in protocol.arms if a.called == arm.networks), None)
    if theirs is None or theirs.networks or theirs.loss != arm.loss:
        raise UserError(
            f"{path}: {arm.called} uses the networks of {arm.networks}, which is no "
            f"arm that trains by {arm.loss}"
        )
    if arm.folds > theirs.folds:
        raise UserError(
            f"{path}: {arm.called} asks for {arm.folds} folds, but {theirs.called}, "
            f"whose networks it uses, has {theirs.folds}"
        )


class Origin(Model):
    """What a record was measured by: everything that the protocol says of its run."""

    loss: str
    training: list[str]
    types: list[str]
    curve: list[int]
    validation: list[str]
    test: list[str]
    networks: str = ""
    prediction: list[str] = Field(default=[])
    average: int | None = None


Numbers = Annotated[str, Field(pattern=r"^[0-9]+( [0-9]+)*$")]
"""Whole numbers on one line, as `run_record` writes them."""


Precision = Annotated[float, Field(ge=0, le=1)]


class MeasuredLesion(OpenModel):
    """The part of one lesion type's figures that summaries read."""

    average_precision: Precision | None
    froc_score: float | None
    confusion: dict[str, Any] | None
    edges: Numbers
    photographs: dict[str, Annotated[list[Numbers], Field(min_length=2, max_length=2)]]


class RunRecord(OpenModel):
    """The part of a record that summaries read."""

    arm: str
    rate: Positive
    fold: Number
    data: str
    origin: Origin
    curve: Annotated[dict[str, dict[str, Precision | None]], Field(min_length=1)]
    lesions: Annotated[dict[str, MeasuredLesion], Field(min_length=1)]
