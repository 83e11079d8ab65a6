"""Predict lesions: a trained network and photographs in, probability maps out."""

WANTED: str = "Python 3.10 or newer"

import argparse
import hashlib
import logging
import re
import time
from pathlib import Path

import _start  # noqa: F401

import cv2
import numpy as np
from tqdm import tqdm

from randrop import cli
from randrop.data import (
    Case,
    check_lesions,
    field_of_view,
    network_input,
    read_dataset,
    rescale_image,
)
from randrop.errors import UserError
from randrop.files import output, ownership, reading, write_bytes, write_json
from randrop.files.documents import read_photograph_run
from randrop.prediction import inference, lesion_list, maps, model, tiles

log = logging.getLogger("randrop")

DESCRIPTION = """\
Predict lesions in photographs of the fundus, by a network of your own or by the model
that comes with the project (models/idrid).

Photographs of any size are computed in overlapping tiles. For each lesion type and
photograph, OUT/<LESION>/<name>.png holds the probabilities as a 16-bit grey PNG that
any viewer opens: value / 65535. OUT/prediction.json says what made them. Outside the
field of view the probability is 0.

Of photographs that are named one by one (or with --list) OUT/<name>.json lists the
lesions that reach --threshold (type, place, size, probability), and OUT/<name>.png
shows them.

Needs Caffe or nothing but OpenCV: both backends compute the same (to 1e-4).
A photograph that cannot be read is named at the end, with exit status 2; the others
are done.
"""

SOFTMAX = re.compile(r'\btype\s*:\s*["\']Softmax["\']')

EXAMPLES = """\
  predict.py photo.jpg
      its lesions by our model: prediction/photo.png and prediction/photo.json
  predict.py --run build/runs/log --out build/maps
      the validation photographs of the data that the run was trained on
  predict.py --run build/runs/log --data ~/IDRiD --subset test --out maps
  predict.py --run build/runs/log --out maps eye1.jpg eye2.jpg
  predict.py --deploy deploy.prototxt --weights net.caffemodel --lesions MA HE \\
             --backend opencv --out maps eye1.jpg
"""


def main(arguments: list[str] | None = None) -> int:
    """Predict and write; return 0."""
    options = _parse(arguments)
    run = read_run(options.run) if options.run else {}
    deploy = options.deploy or options.run / "deploy.prototxt"
    weights = options.weights or options.run / "final.caffemodel"
    channels = run["lesions"] if run else options.lesions
    wanted = options.lesions or channels
    if run.get("weights_sha256") and not options.weights:
        _check_digest(weights, run["weights_sha256"])
    check_lesions(channels)
    check_lesions(wanted)
    if set(wanted) - set(channels):
        raise UserError(
            f"--lesions {' '.join(wanted)}: the network of {options.run} was trained "
            f"for {' '.join(channels)}: name some of them, or leave --lesions out"
        )
    cases = _cases(options, run)
    thresholds = _thresholds(options.threshold, wanted, run.get("thresholds", {}))

    network = inference.load(deploy, weights, options.backend, options.gpu)
    if SOFTMAX.search(reading.read_text(deploy)):
        network = without_background(network)
    if network.channels != len(channels):
        raise UserError(
            f"{deploy} gives {network.channels} channel(s), but the lesion types are "
            f"{' '.join(channels)}: name one a channel, in their order in training"
        )
    tiles.check(options.tile, options.overlap, network.stride)
    if options.scale is not None and not 0 < options.scale <= 1:
        raise UserError(
            f"--scale is {options.scale:g}: give a number above 0, at most 1"
        )
    log.info("%d photograph(s), %s through %s", len(cases), weights, network.backend)

    files = [
        "prediction.json",
        *(f"{w}/{case.name}.png" for case in cases for w in wanted),
    ]
    if options.list or options.photos:
        files += [f"{case.name}.{kind}" for case in cases for kind in ("json", "png")]
    with output(options.out, "predict", files):
        _predict(cases, network, (deploy, weights), run, thresholds, options)
    log.info("%d map(s) of %s in %s", len(cases), ", ".join(wanted), options.out)
    return 0


def _predict(
    cases: list[Case],
    network: inference.Network,
    files: tuple[Path, Path],
    run: dict,
    thresholds: dict[str, float],
    options: argparse.Namespace,
) -> None:
    """Write the maps, and what made them.

    Raises
    ------
    UserError
        In the end, naming the photographs that cannot be read.
    """
    (deploy, weights), wanted = files, list(thresholds)
    channels = run["lesions"] if run else options.lesions
    record = {
        "complete": False,
        "weights": str(weights.resolve()),
        "weights_sha256": hashlib.sha256(reading.read_bytes(weights)).hexdigest(),
        "deploy": str(deploy.resolve()),
        "run": str(options.run.resolve()) if options.run else None,
        "lesions": wanted,
        "backend": network.backend,
        "gpu": options.gpu,
        "tile": options.tile,
        "overlap": options.overlap,
        "scale": options.scale,
        "scales": {},
        "seconds": {},
        "failed": {},
    }
    for case in tqdm(cases, desc="predict", unit="photo", disable=None):
        start = time.perf_counter()
        try:
            image = case.image()
            scale = _scale(case.name, image, options, run)
            probability = _probability(image, scale, network, options)
        except UserError as error:
            record["failed"][case.name] = str(error)
            continue
        record["scales"][case.name] = round(scale, 4)
        of_type = {name: probability[channels.index(name)] for name in wanted}
        for lesion, values in of_type.items():
            maps.write_map(maps.path_of(options.out, lesion, case.name), values)
        if options.list or options.photos:
            _write_list(case, image, of_type, thresholds, options.out)
        record["seconds"][case.name] = round(time.perf_counter() - start, 3)
        # Each time anew: after an interruption it tells which maps are of this run.
        write_json(options.out / "prediction.json", record)
    record["complete"] = not record["failed"]
    write_json(options.out / "prediction.json", record)
    if record["failed"]:
        done, names = len(record["seconds"]), "\n  ".join(record["failed"].values())
        raise UserError(
            f"{len(record['failed'])} of {len(cases)} photograph(s) failed, {done} are "
            f"done in {options.out}; mend or leave out:\n  {names}"
        )


def read_run(folder: Path, need: tuple[str, ...] = ()) -> dict:
    """Return what a training wrote in its run.json, with the keys in `need`.

    Raises
    ------
    UserError
        When the folder holds no finished training.
    """
    return read_photograph_run(
        folder,
        "name the folder that scripts/train.py wrote, or pass --deploy, --weights and "
        "--lesions",
        need,
    )


def _check_digest(weights: Path, wanted: str) -> None:
    """Refuse weights that are not those that a model was exported with.

    Raises
    ------
    UserError
    """
    if weights.is_file() and ownership.sha256(weights) != wanted:
        raise UserError(
            f"{weights} is damaged, or not of this model: its SHA-256 is not the one "
            "in run.json beside it; get the model anew, or name the file by --weights"
        )


def _thresholds(
    given: list[str], lesions: list[str], known: dict[str, float]
) -> dict[str, float]:
    """Return the threshold of each type, given as 0.5 or as MA=0.3 HE=0.5.

    Those that are not given are the model's, or 0.5.

    Raises
    ------
    UserError
        On what is no such thing.
    """
    found = {lesion: known.get(lesion, 0.5) for lesion in lesions}
    for word in given:
        lesion, _, value = word.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 < number < 1 or (lesion and lesion not in found):
            raise UserError(
                f"--threshold {word}: give a probability between 0 and 1 for all, or "
                f"TYPE=PROBABILITY with a type out of {', '.join(lesions)}"
            )
        found |= {lesion: number} if lesion else dict.fromkeys(lesions, number)
    return found


def _write_list(
    case: Case,
    image: np.ndarray,
    probability: dict[str, np.ndarray],
    thresholds: dict[str, float],
    out: Path,
) -> None:
    lesions = lesion_list.lesions_in(probability, thresholds)
    picture = lesion_list.overlay(image, probability, thresholds)
    _, content = cv2.imencode(".png", picture[..., ::-1])
    write_bytes(out / f"{case.name}.png", content.tobytes())
    write_json(
        out / f"{case.name}.json",
        {
            "photograph": case.image_path.name,
            "width": image.shape[1],
            "height": image.shape[0],
            "thresholds": thresholds,
            "lesions": lesions,
        },
    )
    log.info("%s: %d lesions", case.name, len(lesions))


def without_background(network: inference.Network) -> inference.Network:
    """Return a softmax network without its first channel, that of no lesion."""
    return network._replace(
        channels=network.channels - 1,
        forward=lambda batch: network.forward(batch)[:, 1:],
    )


def _scale(
    name: str, image: np.ndarray, options: argparse.Namespace, run: dict
) -> float:
    """Return how much to shrink a photograph: as told, or to the model's field."""
    trained = run.get("field_of_view")
    if options.scale is not None or not trained:
        return options.scale or 1.0
    width = model.field_width(image)
    if width < 0.67 * trained:
        log.warning(
            "%s: the eye is %d pixels wide, in the training it was %d: the smallest "
            "lesions may not be seen in it",
            *(name, width, trained),
        )
    return model.scale_for(width, trained)


def _probability(
    image: np.ndarray,
    scale: float,
    network: inference.Network,
    options: argparse.Namespace,
) -> np.ndarray:
    """Return the probabilities of one photograph, float32 (C, H, W)."""
    size = image.shape[:2]
    image = rescale_image(image, scale)
    inside = field_of_view(image)
    probability = tiles.predict(
        network.forward,
        network_input(image, inside),
        inside,
        channels=network.channels,
        stride=network.stride,
        tile=options.tile,
        overlap=options.overlap,
    )
    if probability.shape[1:] == size:
        return probability
    return np.stack([cv2.resize(channel, size[::-1]) for channel in probability])


def _cases(options: argparse.Namespace, run: dict) -> list[Case]:
    """Return the photographs that the options name."""
    if options.photos:
        paths = [Path(photo) for photo in options.photos]
        seen: dict[str, Path] = {}
        for path in paths:
            if path.stem in seen:
                raise UserError(
                    f"{seen[path.stem]} and {path} would both be written as "
                    f"{path.stem}.png: rename one, or predict them into two folders"
                )
            seen[path.stem] = path
        return [Case(path.stem, path, {}) for path in paths]
    root = options.data or run.get("data")
    if not root:
        raise UserError("nothing to predict: name photographs, or a data set by --data")
    split = options.split or (None if options.data else run.get("split"))
    return list(read_dataset(root, split).subset(options.subset))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    network = parser.add_argument_group("network")
    network.add_argument(
        "--run",
        type=Path,
        help="folder that scripts/train.py or scripts/export_model.py wrote; our model "
        "where neither this nor --deploy is given",
    )
    network.add_argument("--deploy", type=Path, help="network file, if not the run's")
    network.add_argument("--weights", type=Path, help="caffemodel, if not the run's")
    network.add_argument(
        "--lesions",
        nargs="+",
        help="its channels, in their order; with --run: those to write",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("prediction"), help="folder to write"
    )
    parser.add_argument("--data", type=Path, help="data set; by default the run's")
    parser.add_argument("--split", type=Path, help="JSON file of the subsets")
    parser.add_argument("--subset", default="validation", help="train, validation, all")
    parser.add_argument(
        "--backend",
        choices=("auto", "caffe", "opencv"),
        default="auto",
        help="see above",
    )
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="[TYPE=]P",
        help="of the list of lesions; the model's, or 0.5, unless told otherwise; may "
        "be repeated",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the lesions of a data set, too"
    )
    parser.add_argument("--gpu", action="store_true", help="compute on the GPU (Caffe)")
    parser.add_argument("--tile", type=int, default=512, help="side of a tile, pixels")
    parser.add_argument("--overlap", type=int, default=64, help="of tiles, in pixels")
    parser.add_argument(
        "--scale",
        type=float,
        help="shrink photographs by this before predicting, and enlarge the maps after "
        "it: for photographs larger than those of the training; a model that was "
        "exported knows by itself",
    )
    parser.add_argument("photos", nargs="*", metavar="PHOTO", help="photographs")
    options = parser.parse_args(arguments)
    if not options.run and not (options.deploy or options.weights):
        options.run = model.SHIPPED
    if not options.run and not (options.deploy and options.weights and options.lesions):
        parser.error("give --run, or all of --deploy, --weights and --lesions")
    if options.photos and options.data:
        parser.error("give photographs or --data, not both")
    return options


if __name__ == "__main__":
    cli.run(main)
