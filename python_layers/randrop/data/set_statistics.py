"""Counts of photographs, lesions and pixels in a prepared set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from randrop.data.cases import STRUCTURES
from randrop.errors import UserError
from randrop.files import schema
from randrop.files.documents import Structure, Subset


def statistics(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Count photographs, lesions and pixels of each type in each subset.

    `share` is relative to the pixels of photographs in which the type was looked for;
    class weights derive from it.
    """
    found: dict[str, dict[str, Any]] = {}
    for case in manifest["cases"].values():
        for name in STRUCTURES:
            if name in case["unknown"]:
                continue
            own = case["lesions"].get(name, {"pixels": 0, "count": 0})
            line = found.setdefault(name, {}).setdefault(
                case["subset"],
                {"photographs": 0, "with": 0, "lesions": 0, "pixels": 0, "of": 0},
            )
            line["photographs"] += 1
            line["with"] += own["pixels"] > 0
            line["lesions"] += own["count"]
            line["pixels"] += own["pixels"]
            line["of"] += case["size"][0] * case["size"][1]
    for lines in found.values():
        for line in lines.values():
            line["share"] = line["pixels"] / line.pop("of")
    return {
        name: lines
        for name, lines in found.items()
        if any(line["pixels"] for line in lines.values())
    }


def frequency(folder: Path, lesions: Sequence[str]) -> list[float] | None:
    """Return the share of background and of each type in a prepared training set.

    None if scripts/prepare.py left no statistics.json.

    Raises
    ------
    UserError
        If the file is damaged, or lacks a type.
    """
    path = folder / "statistics.json"
    if not path.exists():
        return None
    remedy = "prepare the set again"
    found = schema.read_json(path, dict[Structure, dict[str, Subset]], remedy)
    for lesion in lesions:
        if "train" not in found.get(lesion, {}):
            raise UserError(f"{path} has no training share for {lesion}: {remedy}")
    shares = [found[lesion]["train"]["share"] for lesion in lesions]
    if sum(shares) > 1:
        raise UserError(
            f"{path} gives {', '.join(lesions)} shares that add up to more than 1 "
            f"({shares}): {remedy}"
        )
    return [1 - sum(shares), *shares]
