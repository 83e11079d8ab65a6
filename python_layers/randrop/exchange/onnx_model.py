"""A trained network of Caffe as one ONNX file that says how to use it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError
from onnx import helper

import randrop
from randrop.data.patch_options import MORE_DEFAULTS
from randrop.data.preprocessing import INPUT_LIMIT
from randrop.errors import UserError
from randrop.exchange import graph, layers, reading
from randrop.files import reading as files
from randrop.files import schema
from randrop.files.documents import Run
from randrop.prediction.folding import fold_messages

REMEDY = "give the deploy file and the weights of the same training"

SETTINGS = (
    *("net", "loss", "lesions", "labels", "iterations", "batch", "patch", "seed"),
    *("base_channels", "depth", "max_channels", "prior", "lr", "activation"),
    *("lesion_share", "lesion_weights", "bf16", "stride", "field_of_view"),
    *("thresholds", "frequency"),
    *("calibration", "randrop_version", "caffe_version"),
    *(name for name in MORE_DEFAULTS if name != "false_alarms"),
)
"""What of a training's run.json goes along: no paths of this machine."""

PREPROCESSING = f"""\
RGB photograph, 8 bits a channel. Inside the field of view, each channel I becomes \
c = (I - m) / (m + 12), where m is its Gaussian mean (standard deviation 1/30 of the \
width of the field, normalised by the same Gaussian of the field of view). Each \
channel of c is divided by its standard deviation over the field of view and clipped \
to +-{INPUT_LIMIT:g}. Outside, the input is 0. randrop.data.network_input does this. \
Nothing else is subtracted or multiplied: mean 0, scale 1."""


class Exported(NamedTuple):
    """A network in ONNX.

    Attributes
    ----------
    model : onnx.ModelProto
    channels : int
        Of its output.
    multiple : int
        Its input's sides must be multiples of this.
    """

    model: onnx.ModelProto
    channels: int
    multiple: int


def convert(
    deploy: Path, weights: Path, facts: Mapping[str, Any] | None = None
) -> Exported:
    """Translate a deployed network into ONNX, with batch normalisation folded.

    Parameters
    ----------
    deploy, weights : Path
        A prototxt and a caffemodel that belong together.
    facts : mapping, optional
        The run.json of the training.

    Returns
    -------
    Exported
        A model of IR 8 and opset 13, which onnx.checker accepts. Number of images,
        height and width are free.

    Raises
    ------
    UserError
        If a file is damaged, the files do not match, or a layer has no translation;
        names the layer.
    """
    net, stored = reading.read(deploy, weights, REMEDY)
    for layer in stored.layers:
        stored.layer.add(name=layer.name, blobs=layer.blobs)
    del stored.layers[:]
    try:
        layers.check_layers(net)
        if unknown := reading.unknown_field(deploy):
            raise graph.LayerError(
                f"a parameter is unknown or not translated: {unknown} Remove it"
            )
        made = layers.translate(net, reading.arrays(stored, weights, REMEDY))
        # The network is sound now, which folding relies on.
        if fold_messages(net, stored):
            made = layers.translate(net, reading.arrays(stored, weights, REMEDY))
        model = graph.model(made, net.name or deploy.parent.name or "network")
    except graph.FitError as error:
        raise UserError(f"{deploy} with {weights}: {error}: {REMEDY}") from error
    except graph.LayerError as error:
        raise UserError(f"{deploy}: {error}") from error
    (output,) = made.unread.values()
    multiple = 1 if made.fixed else made.multiple
    helper.set_model_props(
        model, _properties(facts or {}, net, weights, multiple, len(output.shape))
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        words = str(error).partition("\n")[0]
        raise UserError(
            f"{deploy}: its translation is not sound ({words}): please report it"
        ) from error
    return Exported(model, output.shape[1], multiple)


def _properties(
    facts: Mapping[str, Any], net: Any, weights: Path, multiple: int, axes: int
) -> dict[str, str]:
    """Return what a user of the file must know, as texts and JSON."""
    softmax = any(layer.type == "Softmax" for layer in net.layer)
    lesions = facts.get("lesions")
    digest = hashlib.sha256(files.read_bytes(weights)).hexdigest()
    if (facts.get("calibration") or {}).get("weights_sha256") != digest:
        # Without one, or with one of other weights.
        facts = {key: facts[key] for key in facts if key != "calibration"}
    found: dict[str, Any] = {
        "randrop_version": randrop.__version__,
        "weights_sha256": digest,
        "activation": "SOFTMAX" if softmax else "SIGMOID",
        "layout": "NCHW" if axes == 4 else "NCDHW",
        "multiple_of": multiple,
        "training": {key: facts[key] for key in SETTINGS if key in facts},
    }
    if lesions:
        found |= {
            "lesions": lesions,
            "output_channels": ["background", *lesions] if softmax else lesions,
            "channel_order": "RGB",
            "mean": [0, 0, 0],
            "scale": [1, 1, 1],
            "preprocessing": PREPROCESSING,
        }
    if facts.get("labels"):
        found |= {
            "labels": facts["labels"],
            "output_channels": facts["labels"],
            "preprocessing": "None: the numbers of the labelled set.",
        }
    found |= {k: facts[k] for k in ("thresholds", "field_of_view") if facts.get(k)}
    if "calibration" in facts:
        found["calibration"] = facts["calibration"]["types"]
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in found.items()
    }


def read(path: Path) -> onnx.ModelProto:
    """Read a file that scripts/export_onnx.py wrote.

    Raises
    ------
    UserError
        If it is damaged or from elsewhere.
    """
    remedy = "give a file that scripts/export_onnx.py wrote"
    model = onnx.ModelProto()
    try:
        model.ParseFromString(files.read_bytes(path, remedy))
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        words = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged ({words}): {remedy}") from error
    graph = model.graph
    ranks = [
        len(value.type.tensor_type.shape.dim) for value in (*graph.input, *graph.output)
    ]
    if (len(graph.input), len(graph.output)) != (1, 1) or min(ranks) < 2:
        raise UserError(f"{path} has not one input and one output: {remedy}")
    if "multiple_of" not in {prop.key for prop in model.metadata_props}:
        raise UserError(f"{path} does not say how to use it: {remedy}")
    return model


def facts_of(model: onnx.ModelProto, path: Path | None = None) -> dict[str, Any]:
    """Return what run.json said and `multiple_of`, from a model's properties.

    Raises
    ------
    UserError
        If they are damaged.
    """
    found = {prop.key: prop.value for prop in model.metadata_props}
    try:
        facts = json.loads(found.get("training", "{}"))
        facts["activation"] = found["activation"]
        facts["weights_sha256"] = found["weights_sha256"]
        schema.check(facts, Run, "training")
        facts["multiple_of"] = int(found["multiple_of"])
        if facts["multiple_of"] < 1:
            raise ValueError(f"multiple_of is {facts['multiple_of']}")
    except (UserError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"the metadata of {path or 'the model'} is damaged ({error}): export it "
            "again with scripts/export_onnx.py"
        ) from error
    return facts
