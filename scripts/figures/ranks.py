"""Training on several ranks: the same as one process, and how fast."""

from collections.abc import Mapping
from typing import Any

from figures.words import listed


def losses(content: Mapping[str, Any]) -> str:
    """Return for each loss how far several ranks are from one, or why it is refused."""
    rows = [own for own in content["losses"] if "ranks" in own]
    numbers = list(rows[0]["ranks"])
    lines = [
        f"| loss | {' | '.join(f'gradient, {n} ranks' for n in numbers)} | "
        f"{' | '.join(f'weights, {n} ranks' for n in numbers)} | masks |",
        f"|---|{'---:|' * 2 * len(numbers)}---|",
    ]
    for own in content["losses"]:
        if "refused" in own:
            why = own["refused"].partition("ranks: ")[2]
            cells = ["refused", *[""] * (2 * len(numbers) - 1)]
            lines.append(f"| `{own['loss']}` | {' | '.join(cells)} | {why} |")
            continue
        cells = [
            f"{own['ranks'][n][what]:.0e}"
            for what in ("gradient", "weights")
            for n in numbers
        ]
        changed = [own["ranks"][n].get("mask_elements") for n in numbers]
        mask = "" if changed[0] is None else "the same"
        if any(changed):
            mask = f"{listed([str(n) for n in changed])} elements differ"
        lines.append(f"| `{own['loss']}` | {' | '.join(cells)} | {mask} |")
    return "\n".join(lines)


def speed(content: Mapping[str, Any]) -> str:
    """Return the measured times of an iteration."""
    n = content["ranks"]
    lines = [
        f"| network | 1 thread | {n} threads | {n} ranks | ranks against threads | "
        "gradients | averaging | in memory alone |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for own in content["networks"]:
        alone, threads, ranks = (own[k] for k in ("one thread", "threads", "ranks"))
        share = ranks["exchange"] / ranks["seconds"]
        lines.append(
            f"| {own['net'].replace(':', ', ')} | {alone['seconds']:.2f} s | "
            f"{threads['seconds']:.2f} s | {ranks['seconds']:.2f} s | "
            f"{threads['seconds'] / ranks['seconds']:.2f} times | "
            f"{own['bytes'] / 1e6:.1f} MB | {100 * share:.0f} % | "
            f"{1000 * own['in_memory']:.1f} ms |"
        )
    return "\n".join(lines)


def foretold(content: Mapping[str, Any]) -> str:
    """Return the efficiencies of many ranks on several networks."""
    first = content["networks"][0]["foretold"]
    ranks = [row["ranks"] for row in first]
    lines = [
        f"| network | between machines | {' | '.join(f'{n} ranks' for n in ranks)} | "
        "a batch of 256 pays until |",
        f"|---|---|{'---:|' * (len(ranks) + 1)}",
    ]
    for own in content["networks"]:
        for name in first[0]["efficiency"]:
            cells = [
                f"{100 * row['efficiency'][name]:.0f} %" for row in own["foretold"]
            ]
            until = own["pays_until"][name]
            lines.append(
                f"| {own['net'].replace(':', ', ')} | {name} | {' | '.join(cells)} | "
                f"{until} ranks |"
            )
    return "\n".join(lines)
