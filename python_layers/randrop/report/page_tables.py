"""The tables of the report on an evaluation."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from randrop.evaluation.operating import NOTHING

Line = tuple[str, list[str]]
"""A title, and a cell for each lesion type."""

_AT, _REGIONS = "at_threshold", ("at_threshold", "regions")

_GROUPS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "Pixels": (
        ("average precision", "{:.4f}", ("average_precision",)),
        ("AUPR, 33 thresholds", "{:.4f}", ("aupr_challenge",)),
        ("prevalence", "{:.2g}", ("prevalence",)),
        ("largest F1", "{:.3f}", ("best_f1",)),
        ("… at probability", "{:.4f}", ("threshold",)),
        ("… IoU there", "{:.3f}", ("iou",)),
        ("… sensitivity there", "{:.3f}", ("sensitivity",)),
        ("… precision there", "{:.3f}", ("precision",)),
    ),
    "Pixels, at a fixed threshold": (
        ("threshold", "{:.4f}", (_AT, "threshold")),
        ("F1", "{:.3f}", (_AT, "f1")),
        ("IoU", "{:.3f}", (_AT, "iou")),
        ("sensitivity", "{:.3f}", (_AT, "sensitivity")),
        ("precision", "{:.3f}", (_AT, "precision")),
    ),
    "Lesions": (
        ("lesions", "{:,}", ("froc", "lesions")),
        ("FROC score", "{:.3f}", ("froc", "score")),
        ("share found at the fixed threshold", "{:.3f}", (_AT, "lesions_found")),
        ("false alarms a photograph", "{:.1f}", (_AT, "alarms_per_photograph")),
    ),
    "Regions, at a fixed threshold": (
        ("lesions touched by a region", "{:,}", (*_REGIONS, "touched")),
        ("regions", "{:,}", (*_REGIONS, "called")),
        ("… that touch a lesion", "{:,}", (*_REGIONS, "right")),
        ("sensitivity", "{:.3f}", (*_REGIONS, "sensitivity")),
        ("precision", "{:.3f}", (*_REGIONS, "precision")),
        ("F1", "{:.3f}", (*_REGIONS, "f1")),
    ),
    "Probabilities": (
        ("mean", "{:.2g}", ("calibration", "mean_probability")),
        ("expected calibration error", "{:.2g}", ("calibration", "ece")),
        ("skill", "{:.3f}", ("calibration", "skill")),
        ("error of regions", "{:.2g}", (*_REGIONS, "ece")),
    ),
    "Photographs": (
        ("lesion pixels", "{:,}", ("positives",)),
        ("photographs with it", "{}", ("images_with_lesion",)),
        ("photographs", "{}", ("images",)),
    ),
}
"""Title of a table to its lines: title, format, and where the value is."""


def measures(results: Sequence[Mapping[str, Any]]) -> dict[str, list[Line]]:
    """Return the tables of the measures, by title.

    Parameters
    ----------
    results : sequence of mapping
        Of each lesion type, what metrics.json says. A value that is missing or None
        becomes a dash.
    """
    return {
        title: [
            (name, [_cell(form, functools.reduce(_inside, keys, r)) for r in results])
            for name, form, keys in lines
        ]
        for title, lines in _GROUPS.items()
    }


def _cell(form: str, value: Any) -> str:
    return "–" if value is None else form.format(value).replace("-", "−")


def _inside(value: Mapping[str, Any] | None, key: str) -> Any:
    return None if value is None else value.get(key)


def confusions(confusion: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the tables of what was taken for what.

    Parameters
    ----------
    confusion : mapping or None
        Of metrics.json (`evaluation.operating.taken_for`).

    Returns
    -------
    list of dict
        title; verb, before the heads; heads; rows: name, number of cases, and for each
        head its share of them, None where it does not apply.
    """
    if not confusion:
        return []
    tables = []
    for what, noun in (("regions", "lesions"), ("pixels", "pixels")):
        for way, title, verb in (
            ("called", f"{what} called", "are"),
            ("true", f"{noun} that are", "were called"),
        ):
            rows = confusion[what][way]
            heads = dict.fromkeys(
                (
                    *confusion[what]["called"],
                    *(key for row in rows.values() for key in row),
                )
            )
            for last in ("all", NOTHING):
                heads.pop(last, None)
            tables.append(
                {
                    "title": title,
                    "verb": verb,
                    "heads": [*heads, NOTHING],
                    "rows": [
                        (name, row["all"], [_share(row, h) for h in (*heads, NOTHING)])
                        for name, row in rows.items()
                    ],
                }
            )
    return tables


def _share(row: Mapping[str, int], head: str) -> float | None:
    return row[head] / row["all"] if head in row and row["all"] else None
