"""Export a training as a model to share: network, thresholds, figures and a card."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
import tempfile
from pathlib import Path

import _start  # noqa: F401

from randrop import cli
from randrop.data import Dataset, read_dataset
from randrop.data.datasets import names_digest
from randrop.errors import UserError
from randrop.evaluation import cross_validated, operating, photographs
from randrop.exchange import merging
from randrop.files import (
    building,
    ownership,
    reading,
    schema,
    split_file,
    write_bytes,
    write_json,
    write_text,
)
from randrop.files.documents import About
from randrop.prediction import ensemble, model, networks, predicting
from randrop.prediction.calibration import Platt
from randrop.pycaffe import build
from randrop.report import model_card
from randrop.training import snapshots
from randrop.training.stages import earlier

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
figures from the validation photographs, so that they are independent.

The networks of a cross-validation become one network, whose output is their mean.
Each photograph is measured with the one that was not trained on it; thresholds and
calibration are those of all photographs, while the figures that need one have that of
the other folds.

Pass OUT to scripts/predict.py --run. OUT must be a new folder, or one that contains
only files of this script.
"""

EXAMPLES = """\
  export_model.py --run build/run --about about.json --out models/mine
      with about.json such as
      {"title": "Lesions of IDRiD", "data": "IDRiD (Porwal et al., 2018).",
       "licence": "CC BY 4.0", "limits": ["Not for patients.", "One camera."]}
  export_model.py --run build/folds --data build/idrid-full --about about.json \\
                  --out models/mine
      the networks of cross_validate.py as one, measured on larger photographs
"""


def main(arguments: list[str] | None = None) -> int:
    """Predict, measure and write; return 0."""
    options = _parse(arguments)
    ownership.check_replaceable(options.out, "export_model")
    about = _about(options.about)
    network = networks.trained(options.run)
    if network.facts.get("weights_sha256") and not network.members:
        raise UserError(
            f"{options.run} is an exported model, which does not tell what it was "
            "trained on: give the folder of its training"
        )
    if "scales" in network.facts and not network.members:
        whole = options.run.resolve().parents[1]
        known = (whole / ensemble.FILE).is_file()
        raise UserError(
            f"{options.run} is the network of one fold, made of several: give "
            f"{whole if known else 'the output folder of combine_scales.py'}; "
            "--networks 1 exports the first fold's"
        )
    if options.split and network.members:
        raise UserError("--split is about one training: a cross-validation has folds")
    members = len(network.members)
    if options.networks is not None and not 1 <= options.networks <= members:
        has = f"{members} networks" if members else "one network"
        raise UserError(
            f"--networks is {options.networks}, and {options.run} has {has}: "
            + (f"give a number from 1 to {members}" if members else "omit it")
        )
    if options.probabilities and not network.members:
        raise UserError(
            "--probabilities is about out-of-fold maps, but "
            f"{options.run} is one training: omit it"
        )
    make = _cross_validated if network.members else _trained_once
    settings, content = make(network, options)
    last = network.members[0] if network.members else network
    stages = earlier(last.facts, model_card.SETTINGS)
    if stages:
        settings["started_from"] = stages
    with building(options.out, "export_model") as folder:
        _write_network(network, options.networks, folder)
        weights = folder / "final.caffemodel"
        digest = ownership.sha256(weights)
        snapshots.seal(weights)
        settings["weights_sha256"] = digest
        if settings.get("calibration"):
            # The same numbers in another file.
            settings["calibration"] = settings["calibration"] | {
                "weights_sha256": digest
            }
        content = {"about": about, **content}
        write_json(folder / "run.json", settings)
        write_json(folder / "metrics.json", content)
        write_text(folder / "README.md", model_card.card(settings, content))
    log.info("Model: %s", options.out)
    return 0


def _check_split(run: dict, dataset: Dataset, split: Path | str | None) -> None:
    """Refuse subsets that are not those of the training, as far as they are known."""
    wanted, kept = run.get("split_sha256"), run.get("kept_split")
    if not wanted or wanted == names_digest(dataset):
        return
    if split and split_file.digest(Path(split)) == wanted:
        return
    used = split_file.of_training(dataset.splits)
    if kept and used == split_file.of_training(split_file.read(Path(kept))):
        return
    raise UserError(
        f"{split or dataset.root} has other photographs in train and validation than "
        "the training had, so what is measured would be of photographs that it was "
        "trained on: give its own with --split" + (f" {kept}" if kept else "")
    )


def _trained_once(
    network: networks.Trained, options: argparse.Namespace
) -> tuple[dict, dict]:
    """Return run.json and metrics.json of the model of one training."""
    run = networks.read_run(options.run, model_card.NEEDED)
    data = options.data or run.get("data")
    if not data:
        raise UserError(f"{options.run} has no path of its data: give --data")
    # Also of data that moved: another split would measure on trained photographs.
    split = options.split or split_file.checked(run) or networks.split_of(run, data)
    dataset = read_dataset(data, split)
    _check_split(run, dataset, split)
    subsets = {name: dataset.subset(name) for name in ("train", "validation")}
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
    settings = {key: run[key] for key in model_card.SETTINGS if key in run} | {
        "field_of_view": model.field_of(subsets["train"]),
        "thresholds": thresholds,
    }
    if networks.calibration_of(network):
        settings["calibration"] = run["calibration"]
    held_out = measured["validation"]
    fixed = {
        lesion: operating.by_pixels(
            held_out.histograms[lesion], held_out.detections[lesion], threshold
        )
        for lesion, threshold in thresholds.items()
    }
    return settings, {
        "subsets": {
            name: model_card.subset_facts(cases, measured[name])
            for name, cases in subsets.items()
        },
        "lesions": _with(held_out.lesions, at_threshold=fixed),
    }


def _cross_validated(
    network: networks.Trained, options: argparse.Namespace
) -> tuple[dict, dict]:
    """Return run.json and metrics.json of the networks of a cross-validation as one."""
    first = network.members[0].run
    run = networks.read_run(first, (*model_card.NEEDED, "data"))
    dataset = read_dataset(options.data or run["data"])
    names = [name for member in network.members for name in member.held_out]
    networks.without(network, names)
    of_name = {case.name: case for case in dataset.subset("all")}
    missing = sorted(set(names) - set(of_name))
    if missing:
        raise UserError(
            f"{dataset.root} has no photograph {missing[0]}, which the "
            "cross-validation had: give its data, at any size, with --data"
        )
    folds = [[of_name[name] for name in member.held_out] for member in network.members]
    cases = [case for fold in folds for case in fold]
    flips = False
    if options.probabilities:
        flips = cross_validated.check_maps(
            options.probabilities, ownership.sha256(network.weights), run["lesions"]
        )
        found = cross_validated.measure(folds, run["lesions"], options.probabilities)
    else:
        how = predicting.Options(
            dict.fromkeys(network.channels, 0.5), calibrated=False, out_of_fold=True
        )
        with tempfile.TemporaryDirectory() as work:
            predicting.predict(cases, network, how, Path(work))
            found = cross_validated.measure(folds, run["lesions"], Path(work))
    settings = {key: run[key] for key in model_card.SETTINGS if key in run}
    if run.get("scales"):
        settings["scales"] = run["scales"]
    settings |= {
        "members": options.networks or len(network.members),
        "folds": len(network.members),
        "field_of_view": network.facts["field_of_view"],
        "thresholds": {
            lesion: float(found.scalings.get(lesion, Platt(1, 0)).apply(threshold))
            for lesion, threshold in found.thresholds.items()
        },
    }
    if found.scalings:
        settings["calibration"] = {
            "data": dataset.root.resolve().name,
            "subset": "out-of-fold",
            "flips": flips,
            "types": {k: one._asdict() for k, one in found.scalings.items()},
        }
    return settings, {
        "subsets": {"out-of-fold": model_card.subset_facts(cases, found.measured)},
        "folds": [list(member.held_out) for member in network.members],
        "size": [max(sides) for sides in zip(*(c.size() for c in cases), strict=True)],
        "lesions": _with(
            found.measured.lesions,
            at_threshold=found.at_threshold,
            calibrated={k: found.calibration.get(k) for k in run["lesions"]},
        ),
    }


def _with(lesions: dict[str, dict], **more: dict[str, dict]) -> dict[str, dict]:
    """Return the figures of each type, with more of them."""
    return {
        lesion: {**result, **{name: own[lesion] for name, own in more.items()}}
        for lesion, result in lesions.items()
    }


def _write_network(network: networks.Trained, most: int | None, folder: Path) -> None:
    caffe = build.import_caffe()
    deploy, weights = folder / "deploy.prototxt", folder / "final.caffemodel"
    if network.members and most != 1:
        one = merging.merge([(m.deploy, m.weights) for m in network.members[:most]])
        write_text(deploy, merging.text_of(one.net))
        write_bytes(weights, one.weights.SerializeToString())
        return
    if network.members:
        network = network.members[0]
    write_text(deploy, reading.read_text(network.deploy))
    # The training's own file has the paths of its data, in the data layer.
    net = caffe.Net(str(deploy), str(network.weights), caffe.TEST)
    net.save(str(weights))


def _about(path: Path) -> dict:
    """Return the texts for the card."""
    about = schema.read_json(path, About, "see the example in --help")
    return {key: about[key] for key in schema.names(About)}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add(
        "--run",
        type=Path,
        required=True,
        help="output folder of scripts/train.py or scripts/cross_validate.py",
    )
    add(
        "--data",
        type=Path,
        help="data set, if it moved after the training; of a cross-validation also the "
        "same photographs at another size, for figures at that size",
    )
    add(
        "--split",
        type=Path,
        help="JSON file with the subsets, if it moved after the training",
    )
    add(
        "--probabilities",
        type=Path,
        metavar="MAPS",
        help="of a cross-validation: its out-of-fold maps, if they exist already "
        "(predict.py --out-of-fold)",
    )
    add(
        "--networks",
        type=int,
        metavar="N",
        help="of a cross-validation: take the first N networks, for a smaller and "
        "faster model; its figures are still those of all folds",
    )
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
