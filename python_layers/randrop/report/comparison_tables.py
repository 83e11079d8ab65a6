"""The tables and the figure of a comparison of losses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from randrop.files import replacing
from randrop.report import drawing
from randrop.report.markdown import bounds, table
from randrop.report.precision_recall import STYLES

LABELS_SHOWN = 4
"""More measures than these are shown as a heat map, the first of them as points."""


def markdown(content: Mapping[str, Any]) -> str:
    """Return the tables of a summary as Markdown.

    Parameters
    ----------
    content : mapping
        As `summary` returns it, plus `failed`.
    """
    lines = ["Mean ± standard deviation over seeds.", ""]
    losses = content["losses"]
    if losses:
        lines.append(_measure_table(losses, _mean_text))
    # Student's t says nothing about two seeds; then use the photographs.
    seeds = {run["seed"] for run in content.get("runs", [])}
    if content["differences"] and not (content.get("photographs") and len(seeds) < 3):
        lines += [
            "",
            f"Difference to {content['reference']} with the same seed: mean, 95 % "
            "interval (Student's t), and the number of seeds that are better.",
            "",
            _measure_table(content["differences"], _difference_text),
        ]
    if content.get("photographs"):
        lines += [
            "",
            "Average precision, mean over seeds, with the 95 % interval over "
            f"photographs (bootstrap); and the difference to {content['reference']} "
            "on the same photographs.",
            "",
            _photograph_table(content["photographs"]),
        ]
    if content.get("costs"):
        lines += [
            "",
            "One training iteration without the update, on one thread.",
            "",
            table(
                ["loss", "ms", "loss layer", "data layer"],
                [
                    [
                        *(loss, f"{cost['ms']:.0f}", f"{cost['loss_share']:.1%}"),
                        f"{cost['data_share']:.1%}",
                    ]
                    for loss, cost in content["costs"].items()
                ],
            ),
        ]
    if content.get("search"):
        lines += [
            "",
            "Mean average precision of each learning rate in the search, on held-out "
            "training photographs.",
            "",
            table(
                ["loss", *next(iter(content["search"].values())), "chosen"],
                [
                    [
                        loss,
                        *("–" if s is None else f"{s:.3f}" for s in by_rate.values()),
                        content["learning_rates"].get(loss, "–"),
                    ]
                    for loss, by_rate in content["search"].items()
                ],
            ),
        ]
    for run in content.get("failed", []):
        lines += ["", f"Failed: {run['loss']}, seed {run['seed']}: {run['error']}"]
    return "\n".join(lines) + "\n"


def _measure_table(rows: Mapping[str, Mapping[str, Any]], text: Any) -> str:
    names = list(next(iter(rows.values())))
    cells = [[loss, *(text(row[name]) for name in names)] for loss, row in rows.items()]
    return table(["loss", *names], cells)


def _photograph_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    lesions = next(iter(rows.values()))
    heads = [head for name in lesions for head in (name, f"{name}, difference")]
    cells = [[loss, *photograph_cells(row)] for loss, row in rows.items()]
    return table(["loss", *heads], cells)


def photograph_cells(row: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return two cells per lesion type, average precision and difference.

    `row` holds the result of `comparison.by_photographs` for one loss.
    """
    cells = []
    for cell in row.values():
        cells += [f"{cell['mean']:.3f}{bounds(cell['interval'])}", ""]
        if "difference" in cell:
            behind = bounds(cell["difference_interval"], "+")
            cells[-1] = f"{cell['difference']:+.3f}{behind}"
    return cells


def _mean_text(cell: Mapping[str, Any]) -> str:
    if cell["mean"] is None:
        return "–"
    spread = "" if cell["sd"] is None else f" ± {cell['sd']:.3f}"
    return f"{cell['mean']:.3f}{spread}"


def _difference_text(cell: Mapping[str, Any]) -> str:
    if cell["mean"] is None:
        return "–"
    interval = bounds(None if cell["low"] is None else (cell["low"], cell["high"]), "+")
    return f"{cell['mean']:+.3f}{interval}, {cell['better']}/{cell['seeds']}"


def draw(
    path: Path,
    runs: Sequence[Mapping[str, Any]],
    photographs: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Draw every run as a point, with one panel per measure.

    For photographs, it shows the average precision with its interval
    (`comparison.by_photographs`); for a labelled set with many measures, the first two
    and a heat map of the others.
    """
    losses = list(dict.fromkeys(run["loss"] for run in runs))
    names = list(runs[0]["measures"])
    if photographs:
        names = [f"{x} average precision" for x in next(iter(photographs.values()))]
    many = len(names) > LABELS_SHOWN
    shown = names[:2] if many else names
    height = 1.6 + 0.42 * len(losses)
    figure = drawing.figure(figsize=(4.2 * len(shown), height * (2 if many else 1)))
    upper, *lower = figure.subfigures(2 if many else 1, 1, squeeze=False)[:, 0]
    panels = upper.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, shown, strict=True):
        _points(panel, name, losses, runs)
        for row, loss in enumerate(losses if photographs else ()):
            interval = photographs[loss][name.split()[0]]["interval"]
            if interval:
                panel.plot(interval, [row] * 2, "-", color="black", lw=1, zorder=0)
    if lower:
        _heat(lower[0], names[2:], losses, runs)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _points(
    panel: Any, name: str, losses: Sequence[str], runs: Sequence[Mapping[str, Any]]
) -> None:
    for row, loss in enumerate(losses):
        values = _values(runs, loss, name)
        colour = STYLES[row % len(STYLES)][0]
        panel.plot(values, [row] * len(values), "o", color=colour, alpha=0.6)
        if values:
            panel.plot(np.mean(values), row, "|", color=colour, ms=18, mew=2)
    panel.set(
        xlabel=name, yticks=range(len(losses)), yticklabels=losses,
        ylim=(len(losses) - 0.5, -0.5),
    )  # fmt: skip
    panel.grid(alpha=0.25)


def _heat(
    figure: Any,
    names: Sequence[str],
    losses: Sequence[str],
    runs: Sequence[Mapping[str, Any]],
) -> None:
    panel = figure.subplots()
    means = np.array(
        [
            [np.mean(_values(runs, loss, n) or [np.nan]) for n in names]
            for loss in losses
        ]
    )
    image = panel.imshow(means, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    short = [name.removeprefix("Dice ") for name in names]
    panel.set_xticks(range(len(names)), short, rotation=60, ha="right", fontsize=8)
    panel.set_yticks(range(len(losses)), losses)
    for row, column in np.ndindex(means.shape):
        panel.text(
            column, row, f"{means[row, column]:.2f}".removeprefix("0"),
            ha="center", va="center", fontsize=7,
            color="white" if means[row, column] < 0.6 else "black",
        )  # fmt: skip
    figure.colorbar(image, label="mean Dice")


def _values(runs: Sequence[Mapping[str, Any]], loss: str, name: str) -> list[float]:
    values = [run["measures"].get(name) for run in runs if run["loss"] == loss]
    return [v for v in values if v is not None]
