"""Pictures of a training: its curves and what random drop kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from randrop.files import replacing, schema
from randrop.files.documents import Curves, read_run
from randrop.report import drawing
from randrop.training import kept_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(run: Path) -> list[Path]:
    """Draw `curves.png`, and `kept.png` if the mask was watched, into a run folder.

    Returns
    -------
    list of Path
        The pictures.
    """
    pictures = [_draw_curves(run)]
    watched = run / "kept.jsonl"
    if watched.exists() and watched.stat().st_size:
        pictures.append(_draw_kept(run))
    return pictures


def _draw_curves(run: Path) -> Path:
    curves = schema.read_json(run / "curves.json", Curves, "train again")
    settings = read_run(run, "train again", ("loss",))
    dropping = settings["loss"].startswith("random-drop")
    validation = "validation loss" + (" (no pixel dropped)" if dropping else "")
    figure = drawing.figure(figsize=(8, 4.5))
    axes = figure.subplots()
    if curves.get("average_precision"):
        figure.set_size_inches(8, 8)
        figure.clear()
        axes, below = figure.subplots(2, sharex=True)
        _draw_measures(below, curves)
    for name, style, label in (
        ("training_loss", "-", "training loss"),
        ("validation_loss", "o-", validation),
    ):
        points = np.array(curves[name], float).reshape(-1, 2)
        axes.plot(*points.T, style, ms=3, lw=1.2, label=label)
    axes.set(xlabel="iteration", ylabel=f"loss ({settings['loss']})", yscale="log")
    rate = axes.twinx()
    rate.plot(*np.array(curves["learning_rate"], float).reshape(-1, 2).T, "k:", lw=0.8)
    rate.set_ylabel("learning rate (dotted)")
    axes.legend()
    if waited := curves["data_waiting"]:
        axes.set_title(f"{waited['share_percent']} % of the time waiting for data")
    return _save(figure, run / "curves.png")


def _draw_measures(axes: "Axes", curves: dict[str, Any]) -> None:
    """Draw what was measured on whole photographs, a colour for each type."""
    for k, (lesion, points) in enumerate(curves["average_precision"].items()):
        axes.plot(
            *np.array(points, float).reshape(-1, 2).T,
            "o-",
            ms=4,
            color=f"C{k}",
            label=f"{lesion}: average precision",
        )
        points = curves.get("froc_score", {}).get(lesion, [])
        axes.plot(
            *np.array(points, float).reshape(-1, 2).T,
            "s--",
            ms=4,
            color=f"C{k}",
            label=f"{lesion}: FROC score",
        )
    axes.set(xlabel="iteration", ylabel="validation photographs", ylim=(0, 1))
    axes.legend()


def _draw_kept(run: Path) -> Path:
    lines = kept_file.read(run / "kept.jsonl")
    iteration, negatives, kept, expected = (
        np.array([line[key] for line in lines])
        for key in ("iteration", "negatives", "kept", "expected")
    )
    negatives = np.maximum(negatives, 1)
    figure = drawing.figure(figsize=(8, 4.5))
    axes = figure.subplots()
    axes.plot(iteration, kept / negatives, label="kept (mask)")
    axes.plot(iteration, expected / negatives, "--", label="expected, mean of 1 - d(p)")
    axes.set(xlabel="iteration", ylabel="share of negatives kept", yscale="log")
    axes.legend()
    return _save(figure, run / "kept.png")


def _save(figure: "Figure", path: Path) -> Path:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
