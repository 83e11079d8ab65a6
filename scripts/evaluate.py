"""Measure probability maps against masks: numbers, curves, pictures and a report."""

WANTED: str = "Python 3.10 or newer"

import argparse
import functools
import logging
import sys
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import cv2
from tqdm import tqdm

from randrop import cli
from randrop.cluster import options as cluster
from randrop.cluster import queue, shares, work
from randrop.data import Case, check_lesions, read_dataset
from randrop.errors import UserError
from randrop.evaluation import operating, photographs
from randrop.files import output, ownership, schema, write_bytes, write_json
from randrop.files.documents import Prediction, read_run
from randrop.prediction import listing, maps, networks
from randrop.pycaffe import processes
from randrop.report import measured_figures, page, pictures, precision_recall

log = logging.getLogger("randrop")

FIGURES = ("pr_curves.png", "froc_curves.png", "reliability.png")
BEST = "best"
"""The threshold of the largest F1 on the photographs that are measured."""

DESCRIPTION = """\
Measure probability maps against the masks of a data set.

Writes into OUT:
  metrics.json      per lesion type: AUPR as in the IDRiD challenge, average
                    precision with a 95 % interval, largest F1 with threshold, IoU,
                    sensitivity and precision at it, prevalence; and by photograph.
                    By lesion: FROC score (mean sensitivity at 1/8 to 8 false alarms a
                    photograph) with a 95 % interval; of exudates also how many regions
                    are covered by more than 20 %, as for e-ophtha
                    At a threshold (--threshold): sensitivity, precision, F1 and IoU by
                    pixels; how many lesions are found and how many finds are false; and
                    which types are taken for which others. Calibration: expected error,
                    log loss and reliability curves
  pr_curves.png     precision over recall
  froc_curves.png   lesions found over false alarms, with 95 % bands
  reliability.png   share of lesion pixels over predicted probability
  overlays/<LESION>/<name>.png   what was found, missed and invented, with close-ups
  ranked_<LESION>.jpg   the best, the median and the worst photograph on one picture
  report.html       all of it on one page that needs no other file

The maps are the OUT folder of scripts/predict.py, or grey PNG files with 8 or 16 bits
from another program, as <folder>/<LESION>/<name>.png.
"""

EXAMPLES = """\
  evaluate.py --probabilities build/maps --data ~/IDRiD --out build/evaluation
  evaluate.py --probabilities build/log --against build/ce --data ~/IDRiD --out out
  evaluate.py --probabilities build/maps --data ~/IDRiD --subset test \\
              --run build/runs/log --out build/evaluation
  evaluate.py --probabilities build/maps --data ~/IDRiD --threshold 0.5 \\
              --threshold MA=best --out build/at_half
"""


def main(arguments: list[str] | None = None) -> int:
    """Evaluate and write; return 0."""
    options = _parse(arguments)
    settings = cluster.check(options)
    out, root = options.out, options.probabilities
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder: give the output folder of scripts/predict.py"
        )
    split = options.split
    if options.run:
        # Minutes of measuring come before the report that needs it.
        remedy = "give the output folder of train.py, or omit --run"
        split = split or networks.split_of(read_run(options.run, remedy), options.data)
    prediction = _prediction(root)
    lesions = options.lesions or prediction.get("lesions")
    if not lesions:
        raise UserError(f"{root} has no prediction.json: give the --lesions to measure")
    check_lesions(lesions)
    cases = read_dataset(options.data, split).subset(options.subset)
    thresholds = _thresholds(options.threshold, lesions, prediction)
    lesions = photographs.looked_for(cases, lesions)
    thresholds = {lesion: thresholds[lesion] for lesion in lesions}
    files = ["metrics.json", *FIGURES, "report.html"]
    files += [f"ranked_{lesion}.jpg" for lesion in lesions]
    files += [
        f"overlays/{lesion}/{case.name}.png" for lesion in lesions for case in cases
    ]
    if settings:
        _submit(options, settings, arguments)
        return 0
    with output(out, "evaluate", files):
        _evaluate(cases, lesions, prediction, thresholds, options)
    log.info("Report: %s", out / "report.html")
    return 0


def _submit(
    options: argparse.Namespace,
    settings: queue.Settings,
    arguments: list[str] | None,
) -> None:
    """Evaluate in a job of Slurm."""
    out = options.out
    ownership.claim(out, "evaluate", streams=("evaluate.out", *queue.STREAMS))
    words = sys.argv[1:] if arguments is None else arguments
    words = (*words, "--executor", "local", "--slurm")
    given = ("evaluate", words, out)
    job = work.Work("the evaluation", out, work.run_script, given, shares.progress)
    with processes.Children() as children:
        shares.run_all([job], cluster.executor(options, settings, out, children))
    said = (out / "evaluate.out").read_text(errors="replace")
    log.info("%s", "\n".join(x for x in said.splitlines() if "\r" not in x).strip())


def _evaluate(
    cases: tuple[Case, ...],
    lesions: list[str],
    prediction: dict,
    thresholds: dict[str, float | str],
    options: argparse.Namespace,
) -> None:
    """Measure, draw and write."""
    out, root = options.out, options.probabilities
    workers = options.workers
    measured = photographs.measure(cases, lesions, root, workers)
    confusion = _at_thresholds(cases, measured, thresholds, root, workers)
    against = options.against and photographs.measure(
        cases, lesions, options.against, workers
    )
    content = {
        "data": options.data.resolve().name,
        "subset": options.subset,
        "images": [case.name for case in cases],
        "probabilities": root.resolve().name,
        "prediction": prediction,
        "lesions": measured.lesions,
        "confusion": confusion,
    }
    if against:
        content["against"] = {
            "probabilities": options.against.resolve().name,
            "better_by": photographs.compare(measured, against),
        }
    precision_recall.pr_curves(out / "pr_curves.png", measured.histograms)
    measured_figures.froc_curves(out / "froc_curves.png", measured.lesions)
    measured_figures.reliability_curves(
        out / "reliability.png",
        {
            f"{len(cases)} photograph(s)": {
                lesion: result["calibration"]
                for lesion, result in measured.lesions.items()
            }
        },
    )
    shown = _draw(
        cases, measured.lesions, root, out / "overlays", options.overlays, workers
    )
    for lesion, rows in shown.items():
        if rows:
            picture = pictures.ranked(rows)[..., ::-1]
            _, jpeg = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 88))
            write_bytes(out / f"ranked_{lesion}.jpg", jpeg.tobytes())
    page.write(
        out / "report.html",
        metrics=content,
        figures=[out / name for name in FIGURES],
        shown=shown,
        overlays=out / "overlays",
        run=options.run,
        credit=options.credit,
        command=options.command,
    )
    # Last: where metrics.json exists, the rest exists, too.
    write_json(out / "metrics.json", content)
    for lesion, result in measured.lesions.items():
        log.info("%s: %s", lesion, _sentence(result))
    for lesion, better in content.get("against", {}).get("better_by", {}).items():
        interval = better["average_precision_95"]
        words = f"[{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else "none"
        log.info(
            "%s: average precision %+.4f against %s, 95 %% interval %s",
            *(lesion, better["average_precision"], options.against, words),
        )


def _threshold(text: str) -> float | str:
    return text if text == BEST else listing.probability(text)


def _thresholds(
    given: list[str], lesions: list[str], prediction: dict
) -> dict[str, float | str]:
    """Return the threshold of each type: given, as it was predicted with, or 0.5."""
    known = prediction.get("thresholds", {})
    wanted = f"a probability between 0 and 1, or {BEST},"
    return {lesion: known.get(lesion, 0.5) for lesion in lesions} | listing.by_type(
        given, lesions, "--threshold", _threshold, wanted
    )


def _at_thresholds(
    cases: tuple[Case, ...],
    measured: photographs.Measured,
    thresholds: dict[str, float | str],
    root: Path,
    workers: int,
) -> dict | None:
    """Add the figures at the thresholds to each type; return the confusion of types."""
    # Without a lesion no threshold is the best one.
    chosen = {
        lesion: (measured.lesions[lesion]["threshold"] or 0.5) if one == BEST else one
        for lesion, one in thresholds.items()
    }
    regions, confusion = operating.measure(cases, root, chosen, workers)
    for lesion, result in measured.lesions.items():
        result["at_threshold"] = operating.by_pixels(
            measured.histograms[lesion], measured.detections[lesion], chosen[lesion]
        ) | {"regions": regions[lesion]}
    return confusion


def _draw(
    cases: tuple[Case, ...],
    results: dict,
    root: Path,
    folder: Path,
    which: str,
    workers: int,
) -> dict[str, list]:
    """Write overlays, and return the views that the report shows."""
    chosen = {lesion: photographs.telling(result) for lesion, result in results.items()}
    telling = {lesion: set(ranks.values()) for lesion, ranks in chosen.items()}
    thresholds = {
        lesion: result["threshold"]
        for lesion, result in results.items()
        if result["positives"]
    }
    one = functools.partial(
        _drawn,
        thresholds=thresholds,
        telling=telling,
        root=root,
        which=which,
    )
    drawn = processes.mapped(one, cases, workers)
    shown: dict[str, dict] = {lesion: {} for lesion in results}
    bar = tqdm(cases, desc="overlays", unit="photo", disable=None)
    for case, found in zip(bar, drawn, strict=True):
        for lesion, (content, views) in found.items():
            # Not in the process that drew it: one program keeps the list of files.
            write_bytes(maps.path_of(folder, lesion, case.name), content)
            if views is not None:
                shown[lesion][case.name] = views
    return {
        lesion: [(rank, name, shown[lesion][name]) for rank, name in ranks.items()]
        for lesion, ranks in chosen.items()
    }


def _drawn(
    case: Case,
    thresholds: dict[str, float],
    telling: dict[str, set[str]],
    root: Path,
    which: str,
) -> dict[str, tuple[bytes, Any]]:
    """Return the overlays of a photograph as PNG, with the views of telling ones."""
    wanted = [
        lesion
        for lesion in thresholds
        if lesion not in case.unknown
        and (which == "all" or case.name in telling[lesion])
    ]
    if not wanted:
        return {}
    found = {}
    image, masks = case.image(), case.masks(wanted)
    for lesion, mask in zip(wanted, masks, strict=True):
        levels, _ = maps.read_map(maps.path_of(root, lesion, case.name))
        level = round(thresholds[lesion] * (maps.LEVELS - 1))
        views = pictures.views(image, levels, mask, level)
        sheet = pictures.composed(views, f"{case.name}: {lesion}")
        _, content = cv2.imencode(".png", sheet[..., ::-1])
        own = views if case.name in telling[lesion] else None
        found[lesion] = (content.tobytes(), own)
    return found


def _prediction(root: Path) -> dict:
    """Return how the maps were made, if scripts/predict.py made them."""
    path = root / "prediction.json"
    if not path.exists():
        return {}
    prediction = schema.read_json(path, Prediction, "predict again, or remove the file")
    if not prediction.get("complete"):
        log.warning("%s: the prediction was interrupted, or photographs failed", root)
    return prediction


def _sentence(result: dict) -> str:
    if not result["positives"]:
        return f"undefined, {result['undefined']}"
    return (
        f"average precision {result['average_precision']:.4f}, AUPR (33 thresholds) "
        f"{result['aupr_challenge']:.4f}, prevalence {result['prevalence']:.2g}, "
        f"F1 {result['best_f1']:.3f} at {result['threshold']:.3g}, "
        f"FROC {result['froc']['score']:.3f} of {result['froc']['lesions']} lesions; "
        f"at {result['at_threshold']['threshold']:.3g}: F1 "
        f"{result['at_threshold']['f1']:.3f}, "
        f"{result['at_threshold']['lesions_found']:.0%} of the lesions, "
        f"{result['at_threshold']['alarms_per_photograph']:.3g} false alarms a "
        "photograph"
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("--probabilities", type=Path, required=True, help="folder with the maps")
    add("--data", type=Path, required=True, help="data set with the masks")
    add("--split", type=Path, help="JSON file with the subsets")
    add("--subset", default="validation", help="train, validation, all, ...")
    add("--lesions", nargs="+", help="lesion types; default: those of the maps")
    add("--against", type=Path, metavar="MAPS",
        help="maps of another network for the same photographs: report the difference, "
            "with intervals")  # fmt: skip
    add("--threshold", action="append", default=[], metavar="[TYPE=]P",
        help="threshold of the figures at a threshold; default: that of the prediction "
            "(the model's), or 0.5; best: that of the largest F1 on these photographs; "
            "can be repeated")  # fmt: skip
    add("--run", type=Path, help="folder of the training, for the report")
    add("--overlays", choices=("all", "telling"), default="all",
        help="draw all photographs, or the best, median and worst")  # fmt: skip
    add("--workers", type=int, default=1, help="processes")
    cluster.add_arguments(parser)
    add("--credit", default="", help="source of the photographs, for the report")
    add("--out", type=Path, required=True, help="output folder")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        raise UserError("--workers must be at least 1")
    options.command = cli.typed(arguments)
    return options


if __name__ == "__main__":
    cli.run(main)
