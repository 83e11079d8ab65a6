"""The comparison of losses by a protocol, as far as it is run."""

from collections.abc import Mapping
from typing import Any

from figures.words import bullets, listed
from randrop.report import protocol_tables
from randrop.report.markdown import bounds

FEWEST = 3
"""Folds that a verdict needs: with two, the interval hardly knows of seeds."""


def verdict(content: Mapping[str, Any]) -> str:
    """Return what is shown of each type, judged by the intervals, and what is open."""
    reference = content["protocol"]["reference"]
    lines = []
    for lesion in content["protocol"]["lesions"]:
        groups: dict[str, list[str]] = {
            "worse": [], "undecided": [], "better": [], "few": []
        }  # fmt: skip
        for loss, own in content["losses"].items():
            cell = own[lesion]
            if "difference" not in cell:
                continue
            low, high = cell["difference_interval"] or (-1, 1)
            kind = "worse" if high < 0 else "better" if low > 0 else "undecided"
            if cell["common"] < FEWEST:
                kind = "few"
            interval = bounds(cell["difference_interval"], "+")
            groups[kind].append(
                f"`{loss}` {cell['difference']:+.3f}{interval} on {cell['common']} "
                f"fold{'s' * (cell['common'] != 1)}, above it on {cell['better']}"
            )
        own = content["losses"][reference][lesion]
        said = [
            f"{words}: {listed(groups[kind])}"
            for kind, words in (
                ("worse", f"worse than `{reference}`"),
                ("undecided", "no difference shown"),
                ("better", "better"),
                ("few", f"fewer than {FEWEST} folds, too few to judge"),
            )
            if groups[kind]
        ]
        lines.append(
            f"{lesion}: `{reference}` has {own['mean']:.3f}{bounds(own['interval'])}; "
            + "; ".join(said or ["nothing else is measured yet"])
            + "."
        )
    done = sum(count for count, _ in content["done"].values())
    total = sum(count for _, count in content["done"].values())
    if done < total:
        lines.append(
            f"{done} of {total} trainings are done; other losses have no figure yet."
        )
    return bullets(lines)


def rates(content: Mapping[str, Any]) -> str:
    """Return the score of each learning rate, of losses that tried one."""
    known = {loss: own for loss, own in content["scores"].items() if own}
    return protocol_tables.rates({**content, "scores": known})
