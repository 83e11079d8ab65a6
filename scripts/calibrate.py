"""Calibrate the probabilities of a trained network on photographs with masks."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import _start  # noqa: F401

import numpy as np
from numpy.typing import NDArray

from randrop import cli
from randrop.data import Case, check_lesions, read_dataset
from randrop.errors import UserError
from randrop.evaluation import calibrating, photographs
from randrop.files import output, write_json
from randrop.files.locks import locked
from randrop.prediction import networks, predicting
from randrop.prediction.calibration import Platt
from randrop.report import measured_figures

log = logging.getLogger("randrop")

DESCRIPTION = """\
Calibrate a trained network: make its probabilities what they say.

Losses that balance the classes, or drop negatives, give probabilities that are far too
high: ten times the share of lesion, or more. This predicts photographs, fits for each
lesion type the two numbers of Platt scaling, p -> sigmoid(slope logit(p) + intercept),
and writes them into RUN/run.json. predict.py applies them from then on, export_model.py
and export_onnx.py take them along. The thresholds in run.json are converted, so that
they call the same pixels. The order of pixels stays, and with it average precision and
FROC.

Writes into OUT, by default RUN/calibration:
  calibration.png    reliability curves before and after, on the photographs of --check
  calibration.json   the same in numbers, and how they were made

Calibrate again after more training: a calibration counts for its weights alone.
Probabilities that are calibrated for one clinic need not be for another, where lesions
are rarer. Use the options of prediction (--flips, ...) that you will predict with.
"""

EXAMPLES = """\
  calibrate.py --run build/run --data build/data
      on the photographs of the training, checked on those of the validation
  calibrate.py --run build/final --data build/idrid --subset out-of-fold \\
               --split build/folds/out-of-fold.json --check out-of-fold \\
               --probabilities build/folds/out-of-fold
      on maps of a cross-validation: training photographs, but none predicted by a
      network that was trained on it
  calibrate.py --run models/mine --data ~/clinic --subset all --check all
      an exported model, for the photographs of another clinic
"""


def main(arguments: list[str] | None = None) -> int:
    """Predict, fit and write; return 0."""
    options = _parse(arguments)
    if options.run.suffix.lower() == ".onnx":
        raise UserError(
            f"{options.run} keeps its calibration in itself: calibrate the folder that "
            "it was exported from, and export it again"
        )
    if options.out and options.out.resolve() == options.run.resolve():
        raise UserError(
            f"--out {options.out} is the folder of the network: choose another, or "
            "omit it for a folder in it"
        )
    network = networks.trained(options.run)
    if network.members:
        raise UserError(
            f"{options.run} is an ensemble, and a calibration is of one network: give "
            "the folder of a training, or let export_model.py make one network of it"
        )
    lesions = options.lesions or network.channels
    check_lesions(lesions)
    if set(lesions) - set(network.channels):
        raise UserError(
            f"--lesions {' '.join(lesions)}: the network was trained for "
            f"{' '.join(network.channels)}: choose from these, or omit --lesions"
        )
    if options.probabilities:
        calibrating.check_uncalibrated(options.probabilities)
    digest = calibrating.digest_of(network)
    root = options.data or network.facts.get("data")
    if not root:
        raise UserError(f"{options.run} has no path of its data: give --data")
    split = options.split or networks.split_of(network.facts, root)
    dataset = read_dataset(root, split)
    cases = dataset.subset(options.subset)
    checked = dataset.subset(options.check)
    how = predicting.Options(
        dict.fromkeys(lesions, 0.5),
        backend=options.backend,
        tile=options.tile,
        overlap=options.overlap,
        flips=options.flips,
        calibrated=False,
    )
    out = options.out or options.run / "calibration"
    files = ("calibration.png", "calibration.json")
    with locked(options.run), output(out, "calibrate", files):
        found = _histograms(cases, network, how, options.probabilities)
        scalings = calibrating.fits(found)
        if options.check != options.subset:
            found = _histograms(checked, network, how, options.probabilities)
        measured = calibrating.before_and_after(found, scalings)
        about = {
            "data": dataset.root.resolve().name,
            "subset": options.subset,
            "photographs": [case.name for case in cases],
            "flips": options.flips,
            "maps": options.probabilities and options.probabilities.resolve().name,
        }
        names = {"before": "uncalibrated", "after": "calibrated"}
        measured_figures.reliability_curves(
            out / "calibration.png",
            {
                f"{options.check}, {words}": {k: v[key] for k, v in measured.items()}
                for key, words in names.items()
            },
        )
        write_json(
            out / "calibration.json",
            {
                **about,
                "types": {k: v._asdict() for k, v in scalings.items()},
                "checked": {"subset": options.check, "lesions": measured},
            },
        )
        if not options.dry_run:
            calibrating.store(options.run, scalings, digest, **about)
    for lesion, scaling in scalings.items():
        log.info("%s: %s", lesion, _sentence(scaling, measured[lesion], options.check))
    if network.facts.get("weights_sha256") and not options.dry_run:
        log.info(
            "The figures in %s are those before the calibration.",
            options.run / "README.md",
        )
    log.info("Reliability: %s", out / "calibration.png")
    return 0


def _histograms(
    cases: Sequence[Case],
    network: networks.Trained,
    how: predicting.Options,
    maps: Path | None,
) -> dict[str, NDArray[np.int64]]:
    """Return the histogram of each type, of maps or of a prediction."""
    if maps:
        return photographs.pooled(cases, tuple(how.thresholds), maps)
    return calibrating.histograms(cases, network, how)


def _sentence(scaling: Platt, measured: dict, subset: str) -> str:
    before, after = measured["before"], measured["after"]
    return (
        f"slope {scaling.slope:.3f}, intercept {scaling.intercept:.3f}; on {subset}, "
        f"where {measured['prevalence']:.2g} is lesion, mean probability "
        f"{before['mean_probability']:.2g} -> {after['mean_probability']:.2g}, "
        f"expected calibration error {before['ece']:.2g} -> {after['ece']:.2g}"
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("--run", type=Path, required=True,
        help="output folder of train.py or export_model.py")  # fmt: skip
    add("--data", type=Path, help="data set with masks; default: the run's")
    add("--split", type=Path, help="JSON file with the subsets")
    add("--subset", default="train", help="photographs to fit on: train, all, ...")
    add("--check", default="validation",
        help="photographs for the reliability curves; those that are fitted on look "
            "better than others")  # fmt: skip
    add("--out", type=Path,
        help="folder of curves and numbers; default: RUN/calibration")  # fmt: skip
    add("--dry-run", action="store_true", help="leave RUN/run.json as it is")
    add("--probabilities", type=Path, metavar="MAPS",
        help="fit on these maps in place of predicting: those of cross-validation, "
            "where no network saw the photographs that it predicts")  # fmt: skip
    add("--lesions", nargs="+", help="lesion types; default: all of the network")
    add("--backend", choices=("auto", "caffe", "onnxruntime", "opencv"),
        default="auto", help="as in predict.py")  # fmt: skip
    add("--flips", action="store_true", help="as in predict.py")
    add("--tile", type=int, help="as in predict.py")
    add("--overlap", type=int, help="as in predict.py")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
