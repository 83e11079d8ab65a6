"""What a GPU computed, and how fast."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from figures.words import bullets, listed, span
from randrop.report.markdown import table


def gpu_times(activation: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that makes the table of an activation's losses."""

    def made(content: Mapping[str, Any]) -> str:
        cells = [c for c in content["losses"] if c["activation"] == activation]
        shapes = list(dict.fromkeys(tuple(cell["shape"]) for cell in cells))
        heads = [f"{activation.lower()}, µs"]
        for shape in shapes:
            heads += [" × ".join(map(str, shape)), "PyTorch", "share of copy"]
        rows = []
        for loss in dict.fromkeys(cell["loss"] for cell in cells):
            row = [f"`{loss}`"]
            for shape in shapes:
                cell = next(
                    c for c in cells if c["loss"] == loss and tuple(c["shape"]) == shape
                )
                theirs = cell.get("pytorch_ns_per_label")
                row += [
                    _microseconds(cell, cell["ns_per_label"]),
                    "" if theirs is None else _microseconds(cell, theirs),
                    f"{cell['share_of_copy']:.2f}",
                ]
            rows.append(row)
        return table(heads, rows)

    return made


def _microseconds(cell: Mapping[str, Any], per_label: float) -> str:
    shape = cell["shape"]
    labels = shape[0] * shape[2] * shape[3]
    if cell["activation"] == "SIGMOID":
        labels *= shape[1]
    return f"{per_label * labels / 1000:.0f}"


def _ratios(cells: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {
        cell["loss"]: cell["pytorch_ns_per_label"] / cell["ns_per_label"]
        for cell in cells
        if "pytorch_ns_per_label" in cell
    }


def gpu_notes(content: Mapping[str, Any]) -> str:
    """Return the machine, and where PyTorch is faster."""
    slower = []
    for cell in content["losses"]:
        for loss, ratio in _ratios([cell]).items():
            if ratio < 1:
                shape = " × ".join(map(str, cell["shape"]))
                kind = cell["activation"].lower()
                slower.append(f"`{loss}` on a {kind}, {shape} ({ratio:.2f})")
    largest = max(c["copy_GB_per_second"] for c in content["losses"])
    return bullets(
        [
            f"{content['gpu']}, driver {content['driver']}, PyTorch "
            f"{content['pytorch']}; the fastest copy moves {largest:.0f} GB/s.",
            f"Faster in PyTorch (its share of our time): {listed(slower)}.",
        ]
    )


def gpu_brief(content: Mapping[str, Any]) -> str:
    """Return one line about the losses on a GPU."""
    drop = next(c for c in content["losses"] if c["loss"] == "random-drop:LOG")
    ratios = _ratios(content["losses"])
    every = [ratio for c in content["losses"] for ratio in _ratios([c]).values()]
    assert ratios
    return bullets(
        [
            f"**Losses on a GPU** ({content['gpu']}): PyTorch takes {span(every, 2)} "
            f"times as long. A megapixel of random drop takes "
            f"{_microseconds(drop, drop['ns_per_label'])} µs, forward and backward."
        ]
    )


def gpu_tests(content: Mapping[str, Any]) -> str:
    """Return what ran on a GPU, and what it found."""
    stages = content["stages"]
    lines = []
    for name, stage in stages.items():
        what = "tests of Caffe and of our layers" if name == "tests" else "tests"
        found = f"{stage['tests']} {what}, {len(stage['failed'])} failed"
        if name != "tests":
            found += f", {stage['reports']} reports"
        label = "Without a tool" if name == "tests" else f"`{name}`"
        lines.append(f"{label}: {found}, {stage['seconds']:.0f} s.")
    return bullets(
        [f"{content['gpu']}, driver {content['driver']}.", *lines],
    )
