"""Comparisons of losses: on photographs (IDRiD) and on labelled sets (organs)."""

from collections.abc import Callable, Mapping
from typing import Any

from figures.words import bullets, listed
from randrop.report import comparison_tables
from randrop.report.markdown import bounds, table


def idrid_losses(content: Mapping[str, Any]) -> str:
    """Return the comparison of losses: precision, FROC, cost per iteration."""
    lesions = list(next(iter(content["photographs"].values())))
    heads = ["loss", "learning rate"]
    heads += [head for name in lesions for head in (name, "difference")]
    heads += [f"{name}, each seed" for name in lesions]
    heads += [f"{name} FROC" for name in lesions] + ["ms", "share of the loss"]
    rows = []
    for loss, row in content["photographs"].items():
        means, cost = content["losses"][loss], content["costs"][loss]
        rows.append(
            [
                f"`{loss}`",
                f"{content['learning_rates'][loss]}",
                *comparison_tables.photograph_cells(row),
                *(_each_seed(content, loss, name) for name in lesions),
                *(f"{means[f'{x} FROC score']['mean']:.3f}" for x in lesions),
                f"{cost['ms']:.0f}",
                f"{cost['loss_share']:.1%}",
            ]
        )
    return table(heads, rows)


def _each_seed(content: Mapping[str, Any], loss: str, lesion: str) -> str:
    return ", ".join(
        f"{run['measures'][f'{lesion} average precision']:.2f}"
        for run in content["runs"]
        if run["loss"] == loss
    )


def idrid_verdict(content: Mapping[str, Any]) -> str:
    """Return the losses below and above the reference, judged by their intervals."""
    lines = []
    for lesion in next(iter(content["photographs"].values())):
        below, equal, above = [], [], []
        for loss, row in content["photographs"].items():
            if "difference" not in row[lesion]:
                continue
            low, high = row[lesion]["difference_interval"]
            group = above if low > 0 else below if high < 0 else equal
            group.append(f"`{loss}`")
        rows = {loss: row[lesion] for loss, row in content["photographs"].items()}
        best = max(rows, key=lambda loss: rows[loss]["mean"])
        figures = ", ".join(
            f"`{loss}` {rows[loss]['mean']:.3f}{bounds(rows[loss]['interval'])}"
            for loss in dict.fromkeys([content["reference"], best])
        )
        lines.append(
            f"{lesion}: **worse than `{content['reference']}`**: {listed(below)}; "
            f"no difference shown: {listed(equal)}; better: {listed(above)}. "
            f"Average precision of the reference and the best: {figures}."
        )
    return bullets(lines)


def organs(*columns: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that makes a table of some organs, given their numbers."""
    measures = {f"organ {k}": f"Dice organ{k}" for k in columns}

    def made(content: Mapping[str, Any]) -> str:
        every = [m for m in next(iter(content["losses"].values())) if "organ" in m]
        heads = {"mean Dice": "mean Dice", "mean IoU": "mean IoU"}
        heads |= {"largest organ": every[0], **measures, "smallest organ": every[-1]}
        return table(
            ["loss", *heads],
            [
                [f"`{loss}`", *(_spread(means[m]) for m in heads.values())]
                for loss, means in content["losses"].items()
            ],
        )

    return made


def _spread(cell: Mapping[str, float]) -> str:
    return f"{cell['mean']:.3f} ± {cell['sd']:.3f}"


def organs_differences(content: Mapping[str, Any]) -> str:
    """Return the differences of the mean Dice from that of the reference."""
    lines = []
    for loss, cells in content["differences"].items():
        found = cells["mean Dice"]
        low, high = found["low"], found["high"]
        said = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
        lines.append(
            f"`{loss}` against `{content['reference']}`: {found['mean']:+.3f}"
            f"{bounds((low, high), '+')}, {said}"
        )
    return bullets(lines)
