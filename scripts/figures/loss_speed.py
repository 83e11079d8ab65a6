"""The speed of losses: alone, and beside other programs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from figures.words import bullets, listed, span
from randrop.report.markdown import table


def loss_times(activation: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that makes the table of an activation's losses."""

    def made(content: Mapping[str, Any]) -> str:
        one, two = _megapixel(content, activation)
        shape = " × ".join(map(str, one["shape"]))
        heads = [
            *(f"{activation.lower()} {shape}", "ns", "two threads"),
            f"of copy ({one['copy_ns_per_pixel']:.2f})",
            *("times faster than PyTorch", "MONAI, nnU-Net", "full sort"),
        ]
        rows = []
        for loss, figures in one["losses"].items():
            times = figures["times_faster_than"]
            others = ("pytorch", "MONAI, nnU-Net", "full sort")
            rows.append(
                [
                    _loss(loss),
                    f"{figures['ns_per_pixel']:.1f}",
                    f"{two['losses'][loss]['ns_per_pixel']:.1f}",
                    f"{figures['ratio_to_copy']:.1f}",
                    *(f"{times[x]:.1f}" if x in times else "" for x in others),
                ]
            )
        return table(heads, rows)

    return made


def _megapixel(
    content: Mapping[str, Any], activation: str
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the cells for one and two threads of the first shape."""
    cells = [c for c in content["shapes"] if c["activation"] == activation]
    cells = [c for c in cells if c["shape"] == cells[0]["shape"]]
    one, two = sorted(cells, key=lambda cell: cell["threads"])[:2]
    return one, two


def _loss(name: str) -> str:
    if name == "cross-entropy":
        return "Caffe's own cross-entropy"
    plain, twin, rest = name.partition(", Python layer")
    return f"`{plain}`{twin}{rest}"


def loss_notes(content: Mapping[str, Any]) -> str:
    """Return how the times of a loss grow, and how much another thread helps."""
    one, two = _megapixel(content, "SIGMOID")
    drop = one["losses"]["random-drop:LOG"]["ns_per_pixel"]
    plain = one["others"]["pytorch"]["cross-entropy"]
    sizes = {round(pixels**0.5): ns for pixels, ns in content["growth"]["pixels"]}
    grown = ", ".join(f"{sizes[side]:.1f} at {side} × {side}" for side in (64, 512))
    last = max(sizes)
    by_k = content["growth"]["k_percent"]
    native = [n for n in one["losses"] if _is_native(n)]
    gain = [
        two["losses"][n]["ns_per_pixel"] / one["losses"][n]["ns_per_pixel"]
        for n in native
    ]
    return bullets(
        [
            f"Random drop takes {drop:.1f} ns per pixel, PyTorch's plain binary "
            f"cross-entropy {plain:.1f}, which drops and balances nothing.",
            f"Random drop, ns per pixel: {grown}, {sizes[last]:.1f} at {last} × {last} "
            "pixels. In small images, call overhead dominates.",
            f"The exact top-k loss selects without sorting: "
            f"{span([ns for _, ns in by_k], 1)} ns per pixel for {by_k[0][0]} to "
            f"{by_k[-1][0]} % of the pixels.",
            f"With two threads, one megapixel takes {span(gain, 2)} of the time of "
            "one thread.",
        ]
    )


def _is_native(name: str) -> bool:
    return name != "cross-entropy" and "Python" not in name


def loss_brief(content: Mapping[str, Any]) -> str:
    """Return one line about the losses."""
    times = []
    for activation in ("SIGMOID", "SOFTMAX"):
        one, _ = _megapixel(content, activation)
        times += [
            figures["times_faster_than"]["pytorch"]
            for name, figures in one["losses"].items()
            if _is_native(name)
        ]
    one, _ = _megapixel(content, "SIGMOID")
    drop = one["losses"]["random-drop:LOG"]
    caffe = one["losses"]["cross-entropy"]["ns_per_pixel"]
    return bullets(
        [
            "**Losses**, forward and backward: PyTorch takes "
            f"{span(times, 1)} times as long. Random drop takes "
            f"{drop['ns_per_pixel']:.1f} ns per pixel, Caffe's own cross-entropy "
            f"{caffe:.1f}."
        ]
    )


def loaded_losses(content: Mapping[str, Any]) -> str:
    """Return the times of the losses beside other programs."""
    return _loaded(content["losses"], "ns_per_pixel", _loaded_loss, 1)


def loaded_step(content: Mapping[str, Any]) -> str:
    """Return the times of a training step beside other programs."""
    return _loaded(content["step"], "ms", _loaded_step, 0)


def _loaded_loss(cell: Mapping[str, Any]) -> str:
    return f"{_loss(cell['loss'])} on a {cell['activation'].lower()}"


def _loaded_step(cell: Mapping[str, Any]) -> str:
    who = {"ONEDNN": "ours", "CAFFE": "Caffe's own layers"}[cell["engine"]]
    return f"U-Net {cell['base']}, batch {cell['batch']}, {cell['side']} pixels, {who}"


def _loaded(
    cells: Sequence[Mapping[str, Any]],
    key: str,
    name: Callable[[Mapping[str, Any]], str],
    digits: int,
) -> str:
    unit = key.replace("_per_pixel", "")
    heads = ["", f"quiet, 1 thread, {unit}", "2 threads", "2 to 1"]
    heads += ["loaded, 1 thread", "2 threads", "2 to 1"]
    rows = []
    for cell in cells:
        row = [name(cell)]
        for state in ("quiet", "loaded"):
            times = cell[key][state]
            row += [f"{times[n]:.{digits}f}" for n in ("1", "2")]
            row.append(f"{cell[key][f'{state}_ratio_2_to_1']:.2f}")
        rows.append(row)
    return table(heads, rows)


def loaded_notes(content: Mapping[str, Any]) -> str:
    """Return which of our figures two threads slow down beside other programs."""
    shape = " × ".join(map(str, content["shape"]))
    ours = [c for c in content["losses"] if c["loss"] != "cross-entropy"]
    slow = [
        f"{_loaded_loss(c)} ({c['ns_per_pixel']['loaded_ratio_2_to_1']:.2f})"
        for c in ours
        if c["ns_per_pixel"]["loaded_ratio_2_to_1"] > 1
    ]
    step = next(c["ms"] for c in content["step"] if c["engine"] == "ONEDNN")
    return bullets(
        [
            f"Measured with {content['loops']} busy loops on {content['processors']} "
            f"processors, shape {shape}.",
            f"Losses of ours for which two threads are slower than one there: "
            f"{listed(slow)}.",
            "The loops make the losses take "
            f"{span([_slowdown(c['ns_per_pixel'], '1') for c in ours], 2)} times as "
            "long on one thread, "
            f"{span([_slowdown(c['ns_per_pixel'], '2') for c in ours], 2)} times on "
            f"two; the step {_slowdown(step, '1'):.2f} and "
            f"{_slowdown(step, '2'):.2f} times.",
            "A training step of ours with two threads takes "
            f"{step['quiet_ratio_2_to_1']:.2f} of the time of one thread on a quiet "
            f"machine, {step['loaded_ratio_2_to_1']:.2f} beside the loops.",
        ]
    )


def _slowdown(times: Mapping[str, Any], threads: str) -> float:
    return times["loaded"][threads] / times["quiet"][threads]


def loaded_brief(content: Mapping[str, Any]) -> str:
    """Return one line about running beside other programs."""
    ratios = [
        cell["ns_per_pixel"]["loaded_ratio_2_to_1"]
        for cell in content["losses"]
        if cell["loss"] != "cross-entropy"
    ]
    return bullets(
        [
            "**Losses beside other programs** that keep every processor busy: two "
            f"threads take {span(ratios, 2)} times as long as one."
        ]
    )
