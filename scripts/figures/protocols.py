"""The comparison of losses by a protocol, as far as it is run."""

from collections.abc import Mapping, Sequence
from typing import Any

from figures.words import bullets, listed
from randrop.report import protocol_tables
from randrop.report.markdown import bounds

FEWEST = 3
"""Folds that a verdict needs: with two, the interval hardly knows of seeds."""


def verdict(content: Mapping[str, Any]) -> str:
    """Return what is shown of each type, judged by the intervals, and what is open."""
    lines = [_of_type(content, lesion) for lesion in content["protocol"]["lesions"]]
    done = sum(count for count, _ in content["done"].values())
    total = sum(count for _, count in content["done"].values())
    if done < total:
        lines.append(
            f"{done} of {total} trainings are done; other losses have no figure yet."
        )
    return bullets(lines)


def still_open(content: Mapping[str, Any]) -> str:
    """Return what is not measured yet."""
    return protocol_tables.open_runs(content) or "All trainings are done."


def _of_type(content: Mapping[str, Any], lesion: str) -> str:
    """Return the losses by what their differences to the reference show."""
    reference = content["protocol"]["reference"]
    cells = {loss: own[lesion] for loss, own in content["losses"].items()}
    own = cells.pop(reference)
    groups: dict[str, list[str]] = {
        kind: [loss for loss in cells if _kind(cells[loss]) == kind]
        for kind in ("better", "undecided", "worse", "few")
    }
    said = [f"`{reference}` has {own['mean']:.3f}{bounds(own['interval'])}"]
    if groups["better"]:
        # By difference: the means of losses on other folds do not compare.
        groups["better"].sort(key=lambda loss: -cells[loss]["difference"])
        first, *rest = groups["better"]
        cell = cells[first]
        interval = bounds(cell["difference_interval"], "+")
        said.append(
            f"Better: `{first}` by {cell['difference']:+.3f}{interval}, on "
            f"{cell['better']} of {cell['common']} folds"
            + (f"; by less, {_names(rest)}" if rest else "")
        )
    for kind, words in (
        ("undecided", "No difference shown"),
        ("worse", "Worse"),
        ("few", f"Fewer than {FEWEST} folds, too few to judge"),
    ):
        if groups[kind]:
            said.append(f"{words}: {_names(groups[kind])}")
    if groups["better"]:
        cell = cells[groups["better"][0]]
        said.append(
            f"The probabilities of `{groups['better'][0]}` add up to {_excess(cell)} "
            f"times the pixels of {lesion}, those of `{reference}` to {_excess(own)} "
            "times"
        )
    return f"{lesion}: {'. '.join(said)}."


def _kind(cell: Mapping[str, Any]) -> str:
    if cell["common"] < FEWEST:
        return "few"
    low, high = cell["difference_interval"] or (-1, 1)
    return "worse" if high < 0 else "better" if low > 0 else "undecided"


def _excess(cell: Mapping[str, Any]) -> str:
    return f"{cell['calibration']['sum_ratio']:.1f}"


def _names(losses: Sequence[str]) -> str:
    return listed([f"`{loss}`" for loss in losses])


def rates(content: Mapping[str, Any]) -> str:
    """Return the score of each learning rate, of losses that tried one."""
    known = {loss: own for loss, own in content["scores"].items() if own}
    return protocol_tables.rates({**content, "scores": known})
