"""The JSON files of the project: what each must hold when it is read."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from randrop.errors import UserError
from randrop.files import schema, split_file
from randrop.files.schema import (
    Count,
    Model,
    NotNegative,
    Number,
    OpenModel,
    Positive,
    Share,
)

Structure = Literal["MA", "HE", "EX", "SE", "OD"]
Lesions = Annotated[list[Structure], Field(min_length=1, max_length=5)]
Axes = Annotated[list[Number], Field(min_length=3, max_length=4)]
Labels = Annotated[list[str], Field(min_length=2, max_length=256)]
Inside = Annotated[float, Field(gt=0, lt=1)]


class Scaling(OpenModel):
    """Platt scaling of one type: sigmoid(slope logit(p) + intercept)."""

    slope: Positive
    intercept: float


class Calibration(OpenModel):
    """What scripts/calibrate.py adds to run.json."""

    weights_sha256: str
    types: dict[Structure, Scaling]


class Run(OpenModel):
    """run.json: the settings of a training, or of an exported model.

    Keys that are present must be valid; a caller names the keys that it needs.
    """

    net: Literal["unet", "lseg", "explog3d"] = "unet"
    loss: str = ""
    lesions: Lesions | None = None
    labels: Labels | None = None
    shape: Axes | None = None
    frequency: list[NotNegative] | None = None
    activation: Literal["SIGMOID", "SOFTMAX"] | None = None
    iterations: Number = 1
    extended: list[dict[str, Count]] = Field(default=[])
    batch: Number = 1
    patch: Number = 1
    base_channels: Number = 1
    depth: Number = 1
    max_channels: Number | None = None
    stride: Number = 1
    test_iterations: Number = 1
    test_interval: Number = 1
    snapshot: Number = 1
    validate_every: Count = 0
    validate_photographs: Count = 0
    prior: Inside = 0.5
    lr: Positive = 1
    lesion_share: Share = 0
    lesion_weights: dict[Structure, NotNegative] | None = None
    lesion_draw: Literal["pixel", "lesion"] = "pixel"
    healthy_share: Share = 0.0
    false_alarms: str | None = None
    false_alarm_share: Share = 0.0
    paste: NotNegative = 0.0
    colour: NotNegative = 0.0
    blur: NotNegative = 0.0
    noise: NotNegative = 0.0
    seed: int = 0
    workers: Count = 0
    data: str | None = None
    split: str | None = None
    split_sha256: str | None = None
    photographs_sha256: str | None = None
    files_sha256: str | None = None
    weights: str | None = None
    started_from: list[dict[str, Any]] = Field(default=[])
    scales: list[dict[str, Any]] = Field(default=[])
    python_layer: bool = False
    watch_mask: bool = False
    gpu: bool = False
    field_of_view: Number = 1
    thresholds: dict[Structure, Share] = Field(default={})
    weights_sha256: str = ""
    calibration: Calibration | None = None
    randrop_version: str = ""
    caffe_version: str = ""


class CaseFacts(OpenModel):
    """The facts about a photograph that reading the set depends on."""

    unknown: list[Structure] = Field(default=[])
    patient: str | None = None


class Manifest(OpenModel):
    """manifest.json of a folder of photographs, whoever wrote it."""

    cases: dict[str, CaseFacts] = Field(default={})


class Subset(OpenModel):
    """A type in a subset."""

    share: Share


class LabelledManifest(OpenModel):
    """manifest.json of a labelled set."""

    labels: Labels
    shape: Axes
    frequency: list[NotNegative]


class OrganManifest(LabelledManifest):
    """manifest.json as scripts/make_organs.py writes it."""

    smallest_to_largest_organ: NotNegative


class PhantomLesion(OpenModel):
    """A type of lesion in a phantom photograph."""

    count: Count
    pixels: Count


class PhantomManifest(OpenModel):
    """manifest.json as scripts/make_phantom.py writes it."""

    cases: dict[str, dict[Structure, PhantomLesion]]


class Prediction(OpenModel):
    """prediction.json: how the probability maps were made."""

    complete: bool
    lesions: Lesions
    weights_sha256: str
    backend: str
    tile: Number
    overlap: Count
    seconds: dict[str, NotNegative]
    flips: bool = False
    out_of_fold: bool = False
    thresholds: dict[Structure, Share] = Field(default={})


class LesionList(OpenModel):
    """NAME.json of a prediction: the lesions of a photograph."""

    lesions: list[dict[str, Any]]


class SharedPhotograph(Model):
    """A photograph in a share of a prediction."""

    state: str
    scale: NotNegative
    seconds: NotNegative
    failed: str | None


class PredictionShare(Model):
    """share.json: what a share of a prediction has."""

    settings: dict[str, Any]
    photographs: dict[str, SharedPhotograph]


class Member(Model):
    """A network of an ensemble, and photographs that it was not trained on."""

    run: str
    weights_sha256: str
    held_out: list[str] = Field(default=[])


ENSEMBLE = "ensemble.json"


class Ensemble(Model):
    """ensemble.json: the networks whose probabilities are averaged."""

    members: Annotated[list[Member], Field(min_length=1)]
    field_of_view: Number | None = None


class ModelFolds(OpenModel):
    """The photographs of each fold, in metrics.json of a cross-validated model."""

    folds: Annotated[list[list[str]], Field(min_length=2)]


class ModelSubset(OpenModel):
    """The photographs of a subset, in metrics.json of a model."""

    photographs: list[str]


class ModelPhotographs(OpenModel):
    """The part of a model's metrics.json that names photographs."""

    folds: list[list[str]] = Field(default=[])
    subsets: dict[str, ModelSubset] = Field(default={})


class About(OpenModel):
    """The texts of a model card."""

    title: str
    data: str
    licence: str
    limits: list[str]


class Froc(OpenModel):
    """The per-lesion measures."""

    score: Share | None


class Measured(OpenModel):
    """The measures of a lesion type."""

    average_precision: Share | None
    aupr_challenge: Share | None
    froc: Froc | None


class Overlap(OpenModel):
    """The measures of a label."""

    dice: Share | None
    iou: Share | None


class PhotographMetrics(OpenModel):
    """metrics.json of scripts/evaluate.py."""

    lesions: Annotated[dict[Structure, Measured], Field(min_length=1)]


class LabelMetrics(OpenModel):
    """metrics.json of scripts/evaluate_labels.py."""

    labels: Annotated[dict[str, Overlap], Field(min_length=2)]
    mean_dice: Share | None
    mean_iou: Share | None


Point = Annotated[list[float | None], Field(min_length=2, max_length=2)]


class Curves(OpenModel):
    """curves.json: lists of [iteration, value]."""

    training_loss: list[Point]
    validation_loss: list[Point]
    learning_rate: list[Point]
    data_waiting: dict[str, NotNegative]
    average_precision: dict[Structure, list[Point]] = Field(default={})
    froc_score: dict[Structure, list[Point]] = Field(default={})


class Found(Model):
    """What a validation measured of a lesion type."""

    average_precision: Share | None
    froc_score: Share | None


class Validated(Model):
    """A snapshot's measures on the validation photographs."""

    iteration: Number
    weights_sha256: str
    mean_average_precision: Share | None
    lesions: dict[Structure, Found]
    seconds: NotNegative


class Validation(Model):
    """validation.json: the snapshots that were measured, on which photographs."""

    photographs: list[str]
    points: list[Validated]


class Costs(OpenModel):
    """layers.json: the time that each part of an iteration takes."""

    ms: NotNegative
    loss_share: Share
    data_share: Share


def read_run(folder: Path, remedy: str, need: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the run.json of a training.

    Parameters
    ----------
    folder : Path
    remedy : str
        What to do if it is missing or invalid.
    need : tuple of str
        Required keys.

    Raises
    ------
    UserError
        If it is missing or damaged, has a wrong value or lacks a key; or if the folder
        is of several trainings.

    Notes
    -----
    `split` is the file as `split_file.found` finds it, not as it was recorded;
    `kept_split` the copy that the run has of it, if it has one.
    """
    if (folder / ENSEMBLE).is_file() and not (folder / "run.json").exists():
        raise UserError(
            f"{folder} has several networks: make one of them with "
            "scripts/export_model.py first, or give the folder of one"
        )
    if (folder / "folds.json").is_file() and not (folder / "run.json").exists():
        raise UserError(
            f"{folder} is a cross-validation that is not finished: run "
            "scripts/cross_validate.py again, or give the folder of one training"
        )
    run = schema.read_json(folder / "run.json", Run, remedy, need)
    if run.get("split"):
        run["split"] = split_file.found(folder, run)
    if copy := split_file.kept(folder, run):
        run["kept_split"] = copy
    return run


def read_photograph_run(
    folder: Path, remedy: str, need: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return run.json of a training on photographs.

    Raises
    ------
    UserError
        As in `read_run`, and if the training used a labelled set.
    """
    run = read_run(folder, remedy)
    if run.get("labels"):
        raise UserError(
            f"{folder} was trained on a labelled set, not on photographs: use "
            "scripts/evaluate_labels.py"
        )
    return read_run(folder, remedy, ("lesions", *need))


def read_metrics(path: Path) -> dict[str, Any]:
    """Return a metrics.json, of photographs or of a labelled set.

    Raises
    ------
    UserError
        If it is missing, damaged or has a wrong value.
    """
    remedy = "evaluate again"
    found = schema.read_json(path, dict[str, Any], remedy)
    model = LabelMetrics if "labels" in found else PhotographMetrics
    return schema.check(found, model, f"{path}", remedy)
