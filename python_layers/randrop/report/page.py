"""The report on an evaluation: one HTML file with embedded pictures."""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import jinja2

from randrop.data import NAMES
from randrop.evaluation.metrics import FEWEST
from randrop.files import write_text
from randrop.files.documents import read_run
from randrop.report.pictures import LEGEND, Picture, Views, columns

# The settings in run.json that explain a result to a reader.
TRAINING = (
    *("loss", "iterations", "batch", "patch", "lesion_share", "lr", "seed"),
    *("base_channels", "depth", "prior", "data"),
)
CURVES = {
    "curves.png": "Loss over the iterations.",
    "kept.png": "Share of the negative pixels that random drop kept.",
}


def write(
    path: Path,
    *,
    metrics: Mapping[str, Any],
    pr_curves: Path,
    shown: Mapping[str, Sequence[tuple[str, str, Views]]],
    run: Path | None = None,
    credit: str = "",
) -> None:
    """Write the report.

    Parameters
    ----------
    path : Path
        HTML file to write; it is self-contained.
    metrics : mapping
        The content of metrics.json.
    pr_curves : Path
        PNG file.
    shown : mapping
        Lesion type to (which, name of the photograph, its views), in order.
    run : Path, optional
        Folder of the training, whose facts and curves are shown.
    credit : str
        Source of the photographs.

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
        pr_curves=_png(pr_curves),
        legend=[(f"#{bytes(colour).hex()}", text) for colour, text in LEGEND],
        sections=[
            _section(row, shown[row["lesion"]])
            for row in rows
            if shown.get(row["lesion"])
        ],
        names=metrics["images"],
        training=_training(run),
        curves=_curves(run),
        viewer=_viewer(path, run),
        facts=_facts(metrics),
        credit=credit,
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
        if name in settings
    ]


def _curves(run: Path | None) -> list[tuple[str, str]]:
    if run is None:
        return []
    return [(_png(run / n), text) for n, text in CURVES.items() if (run / n).is_file()]


def _viewer(path: Path, run: Path | None) -> str:
    """Return the link to the page of `surface.py view`, if the run has one."""
    found = run and run / "surface" / "viewer.html"
    if not (found and found.is_file()):
        return ""
    return quote(Path(os.path.relpath(found, path.parent)).as_posix())


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


def _png(path: Path) -> str:
    content = path.read_bytes()
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _jpeg(picture: Picture) -> str:
    _, content = cv2.imencode(
        ".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88]
    )
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
