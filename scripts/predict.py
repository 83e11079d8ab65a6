"""Predict lesions: a trained network and photographs in, probability maps out."""

WANTED: str = "Python 3.10 or newer"

import argparse
import functools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import _start  # noqa: F401

from randrop import cli
from randrop.cluster import options as cluster
from randrop.cluster import shares, work
from randrop.data import Case, check_lesions, read_dataset
from randrop.data.cases import STRUCTURES
from randrop.data.folders import IMAGE_SUFFIXES, files
from randrop.errors import UserError
from randrop.files import ownership
from randrop.prediction import (
    listing,
    model,
    networks,
    predicting,
    sharing,
    trained_on,
)
from randrop.pycaffe import processes

log = logging.getLogger("randrop")

DESCRIPTION = """\
Predict lesions in photographs of the fundus, with your own network or with one of the
models that come with the project:
  idrid         microaneurysms, haemorrhages, hard and soft exudates: the mean of three
                networks at each of two resolutions (the default)
  idrid-small   microaneurysms and haemorrhages, and faster

Photographs of any size are processed in overlapping tiles. For each lesion type and
photograph, OUT/<LESION>/<name>.png contains the probabilities as a 16-bit grey PNG for
any viewer: value / 65535. OUT/prediction.json records the network and the settings.
Outside the field of view the probability is 0.

For photographs and folders given on the command line (or with --list), OUT/<name>.json
lists the lesions that reach --threshold (type, place, size, probability),
OUT/<name>.png shows them, and OUT/lesions.csv has those of all photographs, a row a
lesion. Places and sizes are in pixels of the photograph.

Needs no Caffe: --backend auto takes Caffe if it is built, else onnxruntime, else
OpenCV, which run the network as ONNX. All give the same result (to 1e-4).
If a photograph cannot be read, the others are still predicted; the script lists the
failures at the end and exits with status 2.
"""

EXAMPLES = """\
  predict.py photo.jpg
      its lesions, with our model: prediction/photo.png and prediction/photo.json
  predict.py --model idrid-small photo.jpg
      faster, without exudates
  predict.py --flips --picture jpg --smallest-lesion MA=5 ~/clinic
      all photographs in a folder, at four times the time; no MA below 5 pixels
  predict.py --run build/runs/log --out build/maps
      the validation photographs of the data that the run was trained on
  predict.py --run build/runs/log --data ~/IDRiD --subset test --out maps
  predict.py --run build/folds --data build/idrid --out-of-fold --out build/maps
      each photograph by the one network of a cross-validation that did not see it
  predict.py --run build/runs/log --out maps eye1.jpg eye2.jpg
  predict.py --deploy deploy.prototxt --weights net.caffemodel --lesions MA HE \\
             --backend onnxruntime --out maps eye1.jpg
  predict.py --run lesions.onnx eye1.jpg
      a network of export_onnx.py
"""


def main(arguments: list[str] | None = None) -> int:
    """Predict and write; return 0."""
    options = parsed(arguments)
    swallowed = [
        word
        for word in options.lesions or ()
        if word not in STRUCTURES and Path(word).exists()
    ]
    if swallowed and not options.photos:
        raise UserError(
            f"--lesions takes {swallowed[0]} for a lesion type: put the photographs "
            "before --lesions"
        )
    settings = None if options.share else cluster.check(options)
    network = networks.trained(
        options.run, options.deploy, options.weights, options.lesions or ()
    )
    wanted = options.lesions or network.channels
    check_lesions(wanted)
    if set(wanted) - set(network.channels):
        raise UserError(
            f"--lesions {' '.join(wanted)}: the network of {options.run} was trained "
            f"for {' '.join(network.channels)}: choose from these, or omit --lesions"
        )
    lists = _lists(options, wanted)
    cases = _cases(options, network)
    if not options.photos and not options.out_of_fold:
        trained_on.tell(network, cases)
    calibrated = not options.uncalibrated
    own = predicting.Options(
        networks.thresholds_of(network, wanted, options.threshold, calibrated),
        backend=options.backend,
        gpu=options.gpu,
        tile=options.tile,
        overlap=options.overlap,
        scale=options.scale,
        flips=options.flips,
        calibrated=calibrated,
        out_of_fold=options.out_of_fold,
        lists=lists,
        share=options.share,
    )
    if settings:
        with processes.Children() as children:
            execute = cluster.executor(
                options, settings, sharing.root_of(options.out), children
            )
            divide = functools.partial(_divide, options, execute, arguments)
            predicting.predict(cases, network, own, options.out, divide)
    else:
        predicting.predict(cases, network, own, options.out)
    if options.share:
        return 0
    types = ", ".join(own.thresholds)
    log.info("%d map(s) of %s in %s", len(cases), types, options.out)
    earlier = listing.earlier(lists, cases, options.out) if lists else []
    if earlier:
        log.warning(
            "%s also has %d picture(s) or list(s) of an earlier prediction, such as "
            "%s: %s is without them",
            *(options.out, len(earlier), earlier[0].name, listing.TABLE),
        )
    return 0


def _divide(
    options: argparse.Namespace,
    execute: work.Executor,
    arguments: Sequence[str] | None,
    missing: int,
) -> None:
    """Have photographs predicted in shares of all of them."""
    number = min(options.jobs or shares.DEFAULT, missing)
    folders = [
        sharing.folder_of(options.out, shares.Share(k, number))
        for k in range(1, number + 1)
    ]
    words = sys.argv[1:] if arguments is None else arguments
    shares.run_all(shares.works("predict", words, folders), execute)


def _lists(options: argparse.Namespace, wanted: Sequence[str]) -> listing.Lists | None:
    """Return how lesions are listed, if they are."""
    smallest = listing.smallest(options.smallest_lesion, wanted)
    if options.list or options.photos:
        return listing.Lists(smallest, options.picture or "png")
    for name in ("smallest_lesion", "picture"):
        if getattr(options, name):
            raise UserError(
                f"--{name.replace('_', '-')} is about lists of lesions, which a data "
                "set gets with --list alone: add --list, or give photographs"
            )
    return None


def _photographs(paths: Sequence[str]) -> list[Path]:
    """Return photographs, those in a folder in place of the folder, by name."""
    found = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        # Pictures of an earlier prediction into the same folder are no photographs.
        own = functools.partial(ownership.is_ours, top=path)
        inside = sorted(files(path, IMAGE_SUFFIXES, own).values())
        if not inside:
            raise UserError(
                f"{path} contains no photograph ({', '.join(IMAGE_SUFFIXES)}); folders "
                "in it are not searched: give the folder of the photographs"
            )
        log.info("%s: %d photograph(s)", path, len(inside))
        found += inside
    return found


def _cases(options: argparse.Namespace, network: networks.Trained) -> list[Case]:
    """Return the photographs that the options name."""
    if options.photos:
        paths = _photographs(options.photos)
        seen: dict[str, Path] = {}
        for path in paths:
            if seen.get(path.stem) == path:
                raise UserError(f"{path} is given twice: give it once")
            if path.stem in seen:
                raise UserError(
                    f"{seen[path.stem]} and {path} would both be written as "
                    f"{path.stem}.png: rename one, or use two output folders"
                )
            seen[path.stem] = path
        return [Case(path.stem, path, {}) for path in paths]
    run = network.facts
    if options.out_of_fold and network.members:
        run = network.members[0].facts
    root = options.data or run.get("data")
    if not root:
        raise UserError(
            "nothing to predict: give photographs, or a data set with --data"
        )
    if options.out_of_fold and not options.subset:
        # A test set took no part.
        held_out = {name for member in network.members for name in member.held_out}
        cases = read_dataset(root, options.split).subset("all")
        found = [case for case in cases if case.name in held_out]
        if found and len(found) < len(cases):
            log.info(
                "%d photograph(s) took no part in the cross-validation: left out",
                len(cases) - len(found),
            )
        return found or list(cases)
    split = options.split or networks.split_of(run, root)
    return list(read_dataset(root, split).subset(options.subset or "validation"))


def parsed(words: list[str] | None) -> argparse.Namespace:
    """Return the options; end with a message if they contradict each other."""
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    network = parser.add_argument_group("network")
    network.add_argument(
        "--run",
        type=Path,
        help="output folder of scripts/train.py, scripts/export_model.py or "
        "scripts/cross_validate.py (the mean of its networks), or file of "
        "scripts/export_onnx.py; default: our model, unless --deploy is given",
    )
    network.add_argument(
        "--model",
        choices=sorted(path.name for path in (model.SHIPPED, model.SMALL)),
        help="one of our models; default: idrid",
    )
    network.add_argument("--deploy", type=Path, help="network file; default: the run's")
    network.add_argument("--weights", type=Path, help="caffemodel; default: the run's")
    network.add_argument(
        "--lesions",
        nargs="+",
        help="the network's channels, in order; with --run: those to write",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("prediction"), help="output folder"
    )
    parser.add_argument("--data", type=Path, help="data set; default: the run's")
    parser.add_argument("--split", type=Path, help="JSON file with the subsets")
    parser.add_argument(
        "--subset",
        help="train, validation, all; default: validation, with --out-of-fold all that "
        "took part in the cross-validation",
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "caffe", "onnxruntime", "opencv"),
        default="auto",
        help="see above",
    )
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="[TYPE=]P",
        help="threshold of the lesion list; default: the model's, or 0.5; can be "
        "repeated",
    )
    parser.add_argument(
        "--smallest-lesion",
        action="append",
        default=[],
        metavar="[TYPE=]PIXELS",
        help="leave smaller lesions out of list, table and picture (not out of the "
        "maps); in pixels of the photograph as given; default: 1; can be repeated",
    )
    parser.add_argument(
        "--picture",
        choices=listing.PICTURES,
        help="format of the picture of what was found; default: png",
    )
    parser.add_argument(
        "--list", action="store_true", help="also list the lesions of a data set"
    )
    parser.add_argument("--gpu", action="store_true", help="compute on the GPU (Caffe)")
    parser.add_argument(
        "--tile",
        type=int,
        help="side of a tile in pixels (default: 512, or what the network needs)",
    )
    parser.add_argument(
        "--overlap",
        type=int,
        help="overlap of tiles in pixels (default: 64, or what the network needs)",
    )
    parser.add_argument(
        "--scale",
        type=cli.finite,
        help="scale photographs by this factor before prediction, and scale the maps "
        "back: for photographs larger than those of the training; an exported "
        "model sets it by itself",
    )
    parser.add_argument(
        "--flips",
        action="store_true",
        help="mean of four mirrored copies: four times the time, somewhat more precise",
    )
    parser.add_argument(
        "--out-of-fold",
        action="store_true",
        help="with a folder of cross_validate.py: predict each photograph of its data "
        "by the one network that was not trained on it",
    )
    parser.add_argument(
        "--uncalibrated",
        action="store_true",
        help="write the network's own probabilities, without the calibration in "
        "run.json (scripts/calibrate.py)",
    )
    shares.add_argument(parser, "photographs")
    cluster.add_arguments(parser, "with Slurm, so many shares of the photographs", "8")
    parser.add_argument(
        "photos", nargs="*", metavar="PHOTO", help="photographs, or folders of them"
    )
    options = parser.parse_args(words)
    given = [
        f"--{name}"
        for name in ("run", "deploy", "weights")
        if getattr(options, name) is not None
    ]
    if options.model and given:
        parser.error(f"--model is one of our models: omit it, or {' and '.join(given)}")
    if not given:
        options.run = model.MODELS / (options.model or model.SHIPPED.name)
    if not options.run and not (options.deploy and options.weights and options.lesions):
        parser.error("give --run, or all of --deploy, --weights and --lesions")
    if options.photos and options.out_of_fold:
        parser.error("--out-of-fold is about the photographs of --data")
    if options.photos and options.data:
        parser.error("give photographs or --data, not both")
    return options


if __name__ == "__main__":
    cli.run(main)
