"""The report on an evaluation: one HTML file with embedded pictures."""

import base64
import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import cv2
import jinja2

from randrop import __version__
from randrop.data import NAMES
from randrop.data.images import image_size
from randrop.evaluation.metrics import FEWEST
from randrop.files import write_text
from randrop.files.documents import read_run
from randrop.prediction import maps
from randrop.report import page_tables
from randrop.report.pictures import LEGEND, Picture, Views, columns

# The settings in run.json that explain a result to a reader.
TRAINING = (
    *("loss", "iterations", "batch", "patch", "lesion_share", "lr", "seed"),
    *("base_channels", "depth", "max_channels", "prior", "data"),
)
FIGURES = {
    "pr_curves.png": (
        "Precision over recall for each lesion type",
        "Dots: the thresholds of the largest F1. Thin lines: a constant map.",
    ),
    "froc_curves.png": (
        "Lesions found over false alarms a photograph for each lesion type",
        "Bands: 95 % bootstrap intervals over photographs. Diamonds: the fixed "
        "thresholds.",
    ),
    "reliability.png": (
        "Share of lesion pixels over predicted probability for each lesion type",
        "Below the diagonal the probabilities are too high. Both axes are logits.",
    ),
}
"""By name, the text in place of a figure and the one below it."""

CURVES = {
    "curves.png": "Loss over the iterations.",
    "kept.png": "Share of the negative pixels that random drop kept.",
}


class Embedded(NamedTuple):
    """A picture in the page: its content as a link, and its size in pixels."""

    source: str
    width: int
    height: int


def write(
    path: Path,
    *,
    metrics: Mapping[str, Any],
    figures: Sequence[Path],
    shown: Mapping[str, Sequence[tuple[str, str, Views]]],
    overlays: Path | None = None,
    run: Path | None = None,
    credit: str = "",
    command: str = "",
) -> None:
    """Write the report.

    Parameters
    ----------
    path : Path
        HTML file to write; it is self-contained.
    metrics : mapping
        The content of metrics.json.
    figures : sequence of Path
        PNG files with names of `FIGURES`.
    shown : mapping
        Lesion type to (which, name of the photograph, its views), in order.
    overlays : Path, optional
        Folder of the overlays, `<type>/<name>.png`; those that exist are linked.
    run : Path, optional
        Folder of the training, whose facts and curves are shown.
    credit : str
        Source of the photographs.
    command : str
        What was typed.

    Raises
    ------
    UserError
        If the file cannot be written, or `run` is not a training.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["share"] = lambda value: f"{value:.2g}"
    environment.filters["number"] = lambda x: f"{x:.3f}" if x >= 0.01 else f"{x:.2g}"
    rows = [_row(lesion, result) for lesion, result in metrics["lesions"].items()]
    full_names = [f"{row['full_name'].lower()} ({row['lesion']})" for row in rows]
    count = len(metrics["images"])
    html = environment.get_template("report.html").render(
        title=f"Finding {_list([row['full_name'].lower() for row in rows])}",
        opening=(
            f"How well the probability maps “{metrics['probabilities']}” find "
            f"{_list(full_names)}, pixel by pixel, in {count} "
            f"photograph{'s' if count != 1 else ''}: the subset “{metrics['subset']}” "
            f"of the data set “{metrics['data']}”."
        ),
        warnings=_warnings(metrics),
        rows=rows,
        has_interval=any(row["average_precision_95"] for row in rows),
        measures=page_tables.measures(rows),
        confusions=page_tables.confusions(metrics.get("confusion")),
        figures=[(_png(path), *FIGURES[path.name]) for path in figures],
        legend=[(f"#{bytes(colour).hex()}", text) for colour, text in LEGEND],
        sections=[
            _section(row, shown[row["lesion"]])
            for row in rows
            if shown.get(row["lesion"])
        ],
        names=metrics["images"],
        links=_links(path, overlays, metrics),
        training=_training(run),
        curves=_curves(run),
        viewer=_viewer(path, run),
        facts=_facts(metrics),
        credit=credit,
        command=command,
        version=__version__,
        date=datetime.datetime.now(datetime.timezone.utc).strftime(
            "%Y-%m-%d %H:%M UTC"
        ),
    )
    write_text(path, html)


def _row(lesion: str, result: Mapping[str, Any]) -> dict[str, Any]:
    times = None
    if result["positives"]:
        times = f"{result['average_precision'] / result['prevalence']:,.3g}"
        times = times if "e" not in times else f"{float(times):,.0f}"
    return {
        "lesion": lesion,
        "full_name": NAMES[lesion].capitalize(),
        "times": times,
        **result,
    }


def _links(
    path: Path, overlays: Path | None, metrics: Mapping[str, Any]
) -> dict[str, dict[str, str]]:
    """Return the links from the page to overlays, by lesion type and photograph."""
    found: dict[str, dict[str, str]] = {lesion: {} for lesion in metrics["lesions"]}
    for lesion, links in found.items() if overlays else ():
        for name in metrics["images"]:
            picture = maps.path_of(overlays, lesion, name)
            if picture.is_file():
                links[name] = _relative(picture, path)
    return found


def _relative(target: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(target, page.parent)).as_posix())


def _section(
    row: Mapping[str, Any], shown: Sequence[tuple[str, str, Views]]
) -> dict[str, Any]:
    return {
        "lesion": row["lesion"],
        "full_name": row["full_name"],
        "threshold": row["threshold"],
        "count": row["images_with_lesion"],
        "sheets": [
            {
                "which": which,
                "name": name,
                "average_precision": row["per_image"][name]["average_precision"],
                "photo": _jpeg(views.photo),
                "overlay": _jpeg(views.overlay),
                "close_ups": [
                    {
                        "title": close_up.title,
                        "pictures": [
                            (_jpeg(picture), text)
                            for text, picture in columns(close_up)
                        ],
                    }
                    for close_up in views.close_ups
                ],
                "found": views.found,
                "lesions": views.lesions,
                "alarms": views.alarms,
            }
            for which, name, views in shown
        ],
    }


def _warnings(metrics: Mapping[str, Any]) -> list[str]:
    """Return the caveats that a reader must know before the numbers."""
    found = []
    if metrics["subset"] in ("train", "all"):
        found.append(
            f"The subset “{metrics['subset']}” contains photographs for training. If "
            "the network was trained on them, these numbers do not show how well it "
            "finds lesions in other eyes."
        )
    if any(8 in result["map_bits"] for result in metrics["lesions"].values()):
        found.append(
            "Some probability maps have 8 bits per pixel. Their 256 levels make a "
            "coarse curve, which may lower average precision."
        )
    few = [
        lesion
        for lesion, result in metrics["lesions"].items()
        if result["positives"] and result["images_with_lesion"] < FEWEST
    ]
    if few:
        found.append(
            f"Fewer than {FEWEST} photographs have {_list(few)}: the numbers describe "
            "these photographs only."
        )
    return found


def _training(run: Path | None) -> list[tuple[str, Any]]:
    if run is None:
        return []
    settings = read_run(
        run, "give the output folder of scripts/train.py, or omit --run"
    )
    return [
        (name.replace("_", " "), settings[name])
        for name in TRAINING
        if settings.get(name) is not None
    ]


def _curves(run: Path | None) -> list[tuple[Embedded, str]]:
    if run is None:
        return []
    return [(_png(run / n), text) for n, text in CURVES.items() if (run / n).is_file()]


def _viewer(path: Path, run: Path | None) -> str:
    """Return the link to the page of `surface.py view`, if the run has one."""
    found = run and run / "surface" / "viewer.html"
    if not (found and found.is_file()):
        return ""
    return _relative(found, path)


def _facts(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pixels = sum(result["pixels"] for result in metrics["lesions"].values())
    facts = [
        ("data set", f"{metrics['data']}, subset {metrics['subset']}"),
        ("photographs", len(metrics["images"])),
        ("pixels compared", f"{pixels:,}, {len(metrics['lesions'])} lesion type(s)"),
        ("probability maps", metrics["probabilities"]),
    ]
    prediction = metrics.get("prediction") or {}
    if prediction:
        seconds = list(prediction["seconds"].values())
        facts += [
            ("weights", f"sha256 {prediction['weights_sha256'][:16]}…"),
            (
                "predicted with",
                f"{prediction['backend']}, tiles of {prediction['tile']} pixels, "
                f"overlap {prediction['overlap']}",
            ),
        ]
        if seconds:
            mean = sum(seconds) / len(seconds)
            facts.append(("time per photograph", f"{mean:.2f} s"))
    return facts


def _list(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _png(path: Path) -> Embedded:
    height, width = image_size(path)
    content = base64.b64encode(path.read_bytes()).decode()
    return Embedded(f"data:image/png;base64,{content}", width, height)


def _jpeg(picture: Picture) -> Embedded:
    _, content = cv2.imencode(
        ".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88]
    )
    text = base64.b64encode(content).decode()
    return Embedded(f"data:image/jpeg;base64,{text}", *picture.shape[1::-1])
