"""The tables and the figure of a protocol."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from randrop.files import replacing, write_json, write_text
from randrop.report import drawing
from randrop.report.markdown import bounds, table


def write(path: Path, content: Mapping[str, Any]) -> str:
    """Write a summary as JSON, with .md and .png beside it; return the tables."""
    text = markdown(content)
    write_json(path, content)
    write_text(path.with_suffix(".md"), text)
    draw(path.with_suffix(".png"), content)
    return text


def markdown(content: Mapping[str, Any]) -> str:
    """Return all tables as Markdown.

    Parameters
    ----------
    content : mapping
        As `training.protocol.summary` returns it.
    """
    reference = content["protocol"]["reference"]
    parts = [
        f"# {content['protocol']['title']}",
        open_runs(content),
        "Average precision on the test photographs: mean over folds, 95 % interval "
        f"over folds and photographs, and the difference to {reference} on the same "
        "folds with the number of folds that are better.",
        precisions(content),
        "Lesions and probabilities: FROC score; sum of the probabilities divided by "
        "the number of lesion pixels (1 is right); expected calibration error where "
        "the probability is at least 0.1.",
        calibrations(content),
        "What is called a lesion where half of its pixels are found: false pixels per "
        "true pixel by what they lie on, and the average precision if the pixels of "
        "another type are left out.",
        confusions(content),
        "Average precision on the validation photographs along the training, mean over "
        "folds.",
        growths(content),
        "Mean average precision of each learning rate on the validation photographs of "
        "the first fold.",
        rates(content),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def open_runs(content: Mapping[str, Any]) -> str:
    """Return which losses are not finished; empty if all are."""
    left = [
        f"{loss} ({done} of {total} trainings)"
        for loss, (done, total) in content["done"].items()
        if done < total
    ]
    return f"Not finished: {', '.join(left)}." if left else ""


def _kind(content: Mapping[str, Any]) -> str:
    """Return what the rows are; summaries of an earlier version compare losses."""
    return content.get("kind", "loss")


def precisions(content: Mapping[str, Any]) -> str:
    """Return the table of average precision and its difference to the reference."""
    lesions = content["protocol"]["lesions"]
    heads = [_kind(content), "learning rate"]
    heads += [head for name in lesions for head in (name, f"{name}, difference")]
    rows = []
    for loss, own in content["losses"].items():
        row = [f"`{loss}`", f"{content['rates'][loss]:g}"]
        for name in lesions:
            cell = own[name]
            row.append(f"{cell['mean']:.3f}{bounds(cell['interval'])}")
            row.append(_difference(cell))
        rows.append(row)
    return table(heads, rows)


def _difference(cell: Mapping[str, Any]) -> str:
    if "difference" not in cell:
        return ""
    interval = bounds(cell["difference_interval"], "+")
    return f"{cell['difference']:+.3f}{interval}, {cell['better']} of {cell['common']}"


def calibrations(content: Mapping[str, Any]) -> str:
    """Return the table of FROC score and calibration."""
    lesions = content["protocol"]["lesions"]
    kinds = ("FROC", "sum of p", "ECE")
    rows = []
    for loss, own in content["losses"].items():
        row = [f"`{loss}`"]
        for name in lesions:
            calibrated = own[name]["calibration"]
            error = calibrated["error"]
            row += [
                f"{own[name]['froc_score']:.3f}",
                f"{calibrated['sum_ratio']:.1f}",
                "–" if error is None else f"{error:.3f}",
            ]
        rows.append(row)
    return table(
        [_kind(content), *(f"{name} {k}" for name in lesions for k in kinds)], rows
    )


def confusions(content: Mapping[str, Any]) -> str:
    """Return the table of what false pixels lie on."""
    lesions = content["protocol"]["lesions"]
    heads, rows = [_kind(content)], []
    for loss, own in content["losses"].items():
        row = [f"`{loss}`"]
        for name in lesions:
            found = own[name]["confusion"]
            if found is None:
                continue
            for key, words in (("false_per_true", "on"), ("without", "without")):
                for other, value in found[key].items():
                    if not rows:
                        heads.append(
                            f"{name} {words} {other}".replace("on else", "else")
                        )
                    row.append(f"{value:.3f}")
        rows.append(row)
    return table(heads, rows)


def growths(content: Mapping[str, Any]) -> str:
    """Return the table of the precision along the training."""
    at = content["protocol"]["curve"]
    lesions = content["protocol"]["lesions"]
    return table(
        [_kind(content), *(f"{name} at {n}" for name in lesions for n in at)],
        [
            [
                f"`{loss}`",
                *(
                    "–" if value is None else f"{value:.3f}"
                    for name in lesions
                    for value in own[name]
                ),
            ]
            for loss, own in content["growth"].items()
        ],
    )


def rates(content: Mapping[str, Any]) -> str:
    """Return the table of the learning rates."""
    tried = [f"{rate:g}" for rate in content["protocol"]["learning_rates"]]
    return table(
        [_kind(content), *tried, "chosen"],
        [
            [
                f"`{loss}`",
                *(f"{own[r]:.3f}" if r in own else "–" for r in tried),
                f"{content['rates'][loss]:g}" if loss in content["rates"] else "–",
            ]
            for loss, own in content["scores"].items()
        ],
    )


def draw(path: Path, content: Mapping[str, Any]) -> None:
    """Draw the average precision of every loss: each fold, mean and interval."""
    lesions = content["protocol"]["lesions"]
    losses = list(content["losses"])
    height = 1.2 + 0.32 * len(losses)
    figure = drawing.figure(figsize=(4.5 * len(lesions) + 1.5, height))
    for k, name in enumerate(lesions):
        axes = figure.add_subplot(1, len(lesions), k + 1)
        for y, loss in enumerate(losses):
            cell = content["losses"][loss][name]
            if cell["interval"] is not None:
                axes.plot(cell["interval"], (y, y), color="0.7", linewidth=5)
            axes.plot(cell["folds"], [y] * len(cell["folds"]), "o", markersize=4)
            axes.plot(cell["mean"], y, "|", color="black", markersize=14)
        axes.set_yticks(range(len(losses)), losses if k == 0 else [""] * len(losses))
        axes.set_ylim(len(losses) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_title(f"{name}: average precision")
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
    figure.supxlabel("each fold, mean and 95 % interval", fontsize="medium")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
