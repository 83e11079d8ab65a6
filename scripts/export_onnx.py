"""Export a trained network as one ONNX file, which runs without Caffe."""

WANTED: str = "Python 3.10 or newer"

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from randrop import cli
from randrop.errors import UserError
from randrop.exchange import onnx_model
from randrop.files import ownership, write_bytes
from randrop.files.documents import read_run
from randrop.prediction import inference, model
from randrop.training.snapshots import check_weights

log = logging.getLogger("randrop")

DESCRIPTION = """\
Export a trained network as one ONNX file, which runs without Caffe.

Takes the folder of a training or of an exported model, or any deploy file with its
weights. Needs no Caffe. Batch normalisation is folded into the convolutions; number of
images, height and width are free (volumes keep their size). The file is of IR version 8
and operator set 13: onnxruntime, OpenCV 4 and 5, OpenVINO, ncnn (through pnnx) and
others read it. Its metadata tell how to prepare a photograph, which channel is which
lesion, the thresholds and how the network was trained. A layer that cannot be
translated is named, and nothing is written.

An existing file is replaced only if this script wrote it.
"""

EXAMPLES = """\
  export_onnx.py build/run lesions.onnx
      a training of scripts/train.py
  export_onnx.py models/idrid lesions.onnx
      the model that comes with the project
  export_onnx.py --deploy deploy.prototxt --weights net.caffemodel net.onnx
      any network of Caffe with the layers that this script knows
  predict.py --run lesions.onnx photo.jpg
      predict with the file alone
"""


def main(arguments: list[str] | None = None) -> int:
    """Convert and write; return 0."""
    options = _parse(arguments)
    if options.out.suffix != ".onnx":
        raise UserError(f"cannot write {options.out}: give a name that ends in .onnx")
    ownership.check(options.out)
    deploy, weights, facts = _network(options)
    inference.check_deploy(deploy)
    check_weights(weights)
    found = onnx_model.convert(deploy, weights, facts)
    _check_channels(found, options.model)
    content = found.model.SerializeToString(deterministic=True)
    write_bytes(options.out, content)
    shape = found.model.graph.input[0].type.tensor_type.shape.dim
    sides = " x ".join(side.dim_param or str(side.dim_value) for side in shape)
    multiple = found.multiple
    note = f", height and width multiples of {multiple}" if multiple > 1 else ""
    log.info(
        "%s: %.1f MB, input %s%s, %d output channel(s)",
        *(options.out, len(content) / 1e6, sides, note, found.channels),
    )
    _tell_of_calibration(found, facts)
    return 0


def _check_channels(found: onnx_model.Exported, folder: Path | None) -> None:
    """Refuse names of channels that predict.py would refuse."""
    props = {prop.key: prop.value for prop in found.model.metadata_props}
    names = json.loads(props.get("output_channels", "[]"))
    if names and len(names) != found.channels:
        raise UserError(
            f"{folder}: the network has {found.channels} output channel(s), but "
            f"run.json names {', '.join(names)}: give files of one training"
        )


def _tell_of_calibration(found: onnx_model.Exported, facts: Mapping[str, Any]) -> None:
    """Say what of a calibration the file has: numbers, which the network ignores."""
    kept = "calibration" in {prop.key for prop in found.model.metadata_props}
    if kept:
        log.info(
            "The network gives uncalibrated probabilities; the calibration is in the "
            "metadata, and predict.py applies it"
        )
    elif facts.get("calibration"):
        log.warning(
            "The calibration in run.json is of other weights and is left out: "
            "calibrate again with scripts/calibrate.py"
        )


def _network(options: argparse.Namespace) -> tuple[Path, Path, dict[str, Any]]:
    """Return the deploy file, the weights and the facts of the training."""
    folder = options.model
    if folder is None:
        return options.deploy, options.weights, {}
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder: give the output folder of scripts/train.py or "
            "scripts/export_model.py, or pass --deploy and --weights"
        )
    deploy = options.deploy or folder / "deploy.prototxt"
    weights = options.weights or folder / "final.caffemodel"
    remedy = (
        "give the output folder of scripts/train.py, or pass --deploy and --weights"
    )
    return deploy, weights, read_run(folder, remedy)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add(
        "model",
        type=Path,
        nargs="?",
        metavar="RUN_OR_MODEL",
        help="output folder of scripts/train.py or scripts/export_model.py",
    )
    add("out", type=Path, metavar="OUT.onnx", help="the file to write")
    add("--deploy", type=Path, help="network file; default: the folder's")
    add(
        "--weights",
        type=Path,
        help="caffemodel, as a snapshot; default: the folder's final.caffemodel",
    )
    # The two files may stand on both sides of an option.
    options = parser.parse_intermixed_args(arguments)
    if options.model is None and not (options.deploy and options.weights):
        parser.error(
            "give RUN_OR_MODEL and OUT.onnx, or --deploy, --weights and OUT.onnx; the "
            f"model that comes with the project is {model.SHIPPED}"
        )
    return options


if __name__ == "__main__":
    cli.run(main)
