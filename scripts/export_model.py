"""Export a training as a model to share: network, thresholds, figures and a card."""

WANTED: str = "Python 3.10 or newer"

import argparse
import hashlib
import logging
import tempfile
from pathlib import Path

import _start  # noqa: F401

from randrop import cli
from randrop.data import Case, read_dataset
from randrop.errors import UserError
from randrop.evaluation import operating, photographs
from randrop.files import building, ownership, reading, schema, write_json, write_text
from randrop.files.documents import About
from randrop.prediction import model, networks, predicting
from randrop.pycaffe import build
from randrop.report import model_card
from randrop.training import snapshots

log = logging.getLogger("randrop")

DESCRIPTION = """\
Export a finished training as a model to share.

Writes into OUT:
  deploy.prototxt, final.caffemodel   the network, without training layers and
                    without paths of this machine
  final.sha256      its SHA-256, as sha256sum -c reads it
  run.json          settings, width of the field of view, threshold per lesion type
  metrics.json      measured figures, and the photographs used
  README.md         the model card

The thresholds (largest F1) come from predictions of the training photographs, the
figures from the validation photographs, so that they are independent. Pass OUT to
scripts/predict.py --run. OUT must be a new folder, or one that contains only files of
this script.
"""

EXAMPLES = """\
  export_model.py --run build/run --about about.json --out models/mine
      with about.json such as
      {"title": "Lesions of IDRiD", "data": "IDRiD (Porwal et al., 2018).",
       "licence": "CC BY 4.0", "limits": ["Not for patients.", "One camera."]}
"""


def main(arguments: list[str] | None = None) -> int:
    """Predict, measure and write; return 0."""
    options = _parse(arguments)
    ownership.check_replaceable(options.out, "export_model")
    about = _about(options.about)
    run = networks.read_run(options.run, model_card.NEEDED)
    data = options.data or run.get("data")
    if not data:
        raise UserError(f"{options.run} has no path of its data: give --data")
    split = None if options.data else run.get("split")
    dataset = read_dataset(data, split)
    subsets = {name: dataset.subset(name) for name in ("train", "validation")}
    network = networks.trained(options.run)
    how = predicting.Options(
        networks.thresholds_of(network, network.channels), scale=1.0
    )
    measured = {}
    with tempfile.TemporaryDirectory() as work:
        for name, cases in subsets.items():
            maps = Path(work, name)
            log.info("The %d photographs of %s", len(cases), name)
            predicting.predict(cases, network, how, maps)
            measured[name] = photographs.measure(cases, run["lesions"], maps)
    for lesion in run["lesions"]:
        for name, found in measured.items():
            if not found.lesions[lesion]["positives"]:
                raise UserError(
                    f"no photograph of {name} has {lesion}, so the model cannot be "
                    "measured on it: train without it, or choose another split"
                )
    thresholds = {
        lesion: result["threshold"]
        for lesion, result in measured["train"].lesions.items()
    }
    with building(options.out, "export_model") as folder:
        _write_network(options.run, folder)
        weights = (folder / "final.caffemodel").read_bytes()
        snapshots.seal(folder / "final.caffemodel")
        settings = {key: run[key] for key in model_card.SETTINGS if key in run} | {
            "field_of_view": model.field_of(subsets["train"]),
            "thresholds": thresholds,
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
        if networks.calibration_of(network):
            # The same numbers in another file.
            digest = settings["weights_sha256"]
            settings["calibration"] = run["calibration"] | {"weights_sha256": digest}
        content = _metrics(about, subsets, measured, thresholds)
        write_json(folder / "run.json", settings)
        write_json(folder / "metrics.json", content)
        write_text(folder / "README.md", model_card.card(settings, content))
    log.info("Model: %s", options.out)
    return 0


def _write_network(run: Path, folder: Path) -> None:
    caffe = build.import_caffe()
    deploy = folder / "deploy.prototxt"
    write_text(deploy, reading.read_text(run / "deploy.prototxt"))
    # The training's own file has the paths of its data, in the data layer.
    net = caffe.Net(str(deploy), str(run / "final.caffemodel"), caffe.TEST)
    net.save(str(folder / "final.caffemodel"))


def _about(path: Path) -> dict:
    """Return the texts for the card."""
    about = schema.read_json(path, About, "see the example in --help")
    return {key: about[key] for key in schema.names(About)}


def _metrics(
    about: dict,
    subsets: dict[str, tuple[Case, ...]],
    measured: dict[str, photographs.Measured],
    thresholds: dict[str, float],
) -> dict:
    held_out = measured["validation"]
    return {
        "about": about,
        "subsets": {
            name: model_card.subset_facts(cases, measured[name])
            for name, cases in subsets.items()
        },
        "lesions": {
            lesion: {
                **result,
                "at_threshold": operating.by_pixels(
                    held_out.histograms[lesion],
                    held_out.detections[lesion],
                    thresholds[lesion],
                ),
            }
            for lesion, result in held_out.lesions.items()
        },
    }


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("--run", type=Path, required=True, help="output folder of scripts/train.py")
    add("--data", type=Path, help="data set, if it moved after the training")
    add(
        "--about",
        type=Path,
        required=True,
        help="text of the card: JSON with title, data (origin of the photographs), "
        "licence (of the data) and limits (a list)",
    )
    add("--out", type=Path, required=True, help="output folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
