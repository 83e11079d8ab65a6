"""The tables and figures of a comparison of losses over seeds."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from randrop.files import replacing
from randrop.plots import STYLES

LABELS_SHOWN = 4
"""More measures than these are shown as a heat map, the first of them as points."""


def measures(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what of a metrics.json is compared.

    Parameters
    ----------
    metrics : mapping
        As scripts/evaluate.py or scripts/evaluate_labels.py writes it.

    Returns
    -------
    dict of str to float or None
        Larger is better; None where it is not defined.
    """
    if "labels" in metrics:
        found = {"mean Dice": metrics["mean_dice"], "mean IoU": metrics["mean_iou"]}
        names = list(metrics["labels"])[1:]
        return found | {f"Dice {n}": metrics["labels"][n]["dice"] for n in names}
    return {
        f"{lesion} {name}": result[key]
        for lesion, result in metrics["lesions"].items()
        for name, key in (
            ("average precision", "average_precision"),
            ("AUPR (33 thresholds)", "aupr_challenge"),
        )
    } | {
        f"{lesion} FROC score": (result["froc"] or {}).get("score")
        for lesion, result in metrics["lesions"].items()
    }


def mean_average_precision(measures: Mapping[str, float | None]) -> float | None:
    """Return the mean over the lesion types that have one."""
    known = [
        value
        for name, value in measures.items()
        if name.endswith(" average precision") and value is not None
    ]
    return float(np.mean(known)) if known else None


def summary(
    runs: Sequence[Mapping[str, Any]], reference: str | None = None
) -> dict[str, Any]:
    """Sum runs up: mean and spread of each loss, and paired differences.

    Parameters
    ----------
    runs : sequence of mapping
        Each with `loss`, `seed` and `measures`.
    reference : str, optional
        The loss that differences are to; the first by default.

    Returns
    -------
    dict
        `losses`: loss to measure to {mean, sd, seeds}; sd is the standard deviation
        over seeds (n - 1), None for one seed. `reference`: the loss that `differences`
        are to: each other loss to measure to {mean, low, high, better, seeds}: the mean
        over the seeds that both have, its 95 % interval by Student's t (None for one
        seed), and in how many seeds it is above 0.
    """
    table: dict[str, dict[int, Mapping[str, float | None]]] = {}
    for run in runs:
        table.setdefault(run["loss"], {})[run["seed"]] = run["measures"]
    if reference not in table:
        reference = next(iter(table), None)
    result: dict[str, Any] = {"losses": {}, "reference": reference, "differences": {}}
    names = list(dict.fromkeys(itertools.chain(*(run["measures"] for run in runs))))
    for loss, by_seed in table.items():
        result["losses"][loss] = {
            name: _spread([by_seed[s].get(name) for s in by_seed]) for name in names
        }
        if loss == reference:
            continue
        both = [seed for seed in by_seed if seed in table[reference]]
        result["differences"][loss] = {
            name: _difference(
                [by_seed[s].get(name) for s in both],
                [table[reference][s].get(name) for s in both],
            )
            for name in names
        }
    return result


def _spread(values: Sequence[float | None]) -> dict[str, float | int | None]:
    known = np.array([v for v in values if v is not None])
    return {
        "mean": float(known.mean()) if len(known) else None,
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "seeds": len(known),
    }


def _difference(
    values: Sequence[float | None], others: Sequence[float | None]
) -> dict[str, float | int | None]:
    pairs = zip(values, others, strict=True)
    known = np.array([a - b for a, b in pairs if a is not None and b is not None])
    n = len(known)
    result = _spread(known.tolist()) | {"low": None, "high": None}
    result["better"] = int((known > 0).sum())
    if n > 1:
        half = stats.t.ppf(0.975, n - 1) * known.std(ddof=1) / np.sqrt(n)
        result |= {"low": result["mean"] - half, "high": result["mean"] + half}
    del result["sd"]
    return {key: _plain(value) for key, value in result.items()}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def markdown(content: Mapping[str, Any]) -> str:
    """Return the tables of a summary as Markdown.

    Parameters
    ----------
    content : mapping
        As `summary` returns it, with `failed` too.
    """
    lines = ["Mean ± standard deviation over seeds.", ""]
    losses = content["losses"]
    if losses:
        lines += _table(losses, _mean_text)
    if content["differences"]:
        lines += [
            "",
            f"Difference to {content['reference']} with the same seed: mean, 95 % "
            "interval (Student's t), and how many seeds are better.",
            "",
            *_table(content["differences"], _difference_text),
        ]
    if content.get("costs"):
        lines += [
            "",
            "A training iteration without the update, on one thread.",
            "",
            "| loss | ms | loss layer | data layer |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {loss} | {cost['ms']:.0f} | {cost['loss_share']:.1%} | "
            f"{cost['data_share']:.1%} |"
            for loss, cost in content["costs"].items()
        ]
    if content.get("search"):
        rates = list(next(iter(content["search"].values())))
        lines += [
            "",
            "Mean average precision of each learning rate in the search, on training "
            "photographs that were held out.",
            "",
            "| loss | " + " | ".join(rates) + " | chosen |",
            "|---" * (len(rates) + 2) + "|",
        ]
        for loss, by_rate in content["search"].items():
            cells = ["–" if s is None else f"{s:.3f}" for s in by_rate.values()]
            chosen = content["learning_rates"].get(loss, "–")
            lines.append(f"| {loss} | " + " | ".join(cells) + f" | {chosen} |")
    for run in content.get("failed", []):
        lines += ["", f"Failed: {run['loss']}, seed {run['seed']}: {run['error']}"]
    return "\n".join(lines) + "\n"


def _table(rows: Mapping[str, Mapping[str, Any]], text: Any) -> list[str]:
    names = list(next(iter(rows.values())))
    lines = ["| loss | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for loss, row in rows.items():
        cells = [text(row[name]) for name in names]
        lines.append(f"| {loss} | " + " | ".join(cells) + " |")
    return lines


def _mean_text(cell: Mapping[str, Any]) -> str:
    if cell["mean"] is None:
        return "–"
    spread = "" if cell["sd"] is None else f" ± {cell['sd']:.3f}"
    return f"{cell['mean']:.3f}{spread}"


def _difference_text(cell: Mapping[str, Any]) -> str:
    if cell["mean"] is None:
        return "–"
    interval = ""
    if cell["low"] is not None:
        interval = f" [{cell['low']:+.3f}, {cell['high']:+.3f}]"
    return f"{cell['mean']:+.3f}{interval}, {cell['better']}/{cell['seeds']}"


def draw(path: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    """Draw every run as a point, a panel a measure; many measures as a heat map too."""
    losses = list(dict.fromkeys(run["loss"] for run in runs))
    names = list(runs[0]["measures"])
    many = len(names) > LABELS_SHOWN
    shown = names[:2] if many else names
    height = 1.6 + 0.42 * len(losses)
    figure = Figure(
        figsize=(4.2 * len(shown), height * (2 if many else 1)), layout="constrained"
    )
    upper, *lower = figure.subfigures(2 if many else 1, 1, squeeze=False)[:, 0]
    panels = upper.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, shown, strict=True):
        _points(panel, name, losses, runs)
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
