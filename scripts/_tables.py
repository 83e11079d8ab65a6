"""The measured figures of README and docs in Markdown, one function per table or list.

A function takes the content of one file of results/ or models/. Lists replace figures
in prose, so that no sentence outlives its measurement.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from randrop.report import comparison_tables, model_card
from randrop.report.markdown import bounds, table

OURS, CAFFE, TORCH = "oneDNN", "caffe", "pytorch"
NAMES = {
    OURS: "ours",
    CAFFE: "Caffe's own layers",
    TORCH: "PyTorch",
    "opencv": "OpenCV's dnn module",
    "onnxruntime": "onnxruntime",
}


def bullets(lines: Iterable[str]) -> str:
    """Return lines as a list."""
    return "\n".join(f"- {line}" for line in lines)


def listed(names: Sequence[str]) -> str:
    """Return "a, b and c", or "none"."""
    if len(names) < 2:
        return "".join(names) or "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def span(values: Iterable[float], digits: int) -> str:
    """Return the smallest and largest of some values, or the one value if all agree."""
    ends = dict.fromkeys(f"{end(values):.{digits}f}" for end in (min, max))
    return " to ".join(ends)


def quickstart(content: Mapping[str, Any]) -> str:
    """Return the results of the quickstart's network."""
    found = content["lesions"]["MA"]
    return (
        f"Microaneurysms are {100 * found['prevalence']:.2f} % of the phantom's "
        "pixels; the network finds them with an average precision of "
        f"{found['average_precision']:.2f}."
    )


# --- Comparisons of losses


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


# --- Speed


def training(content: Sequence[Mapping[str, Any]]) -> str:
    """Return the times of a training iteration."""
    heads = [
        *("", "threads", "ours, ms", "Caffe's own layers", "PyTorch"),
        *("ours / PyTorch", "memory: ours, Caffe, PyTorch, MB"),
        *("loss layer, ms", "data layer, ms"),
    ]
    rows = []
    for (setting, threads), runs in _by_setting(content).items():
        ours = runs[OURS]
        rows.append(
            [
                *(_setting(setting), f"{threads}"),
                *(f"{runs[who]['ms']:.0f}" for who in (OURS, CAFFE, TORCH)),
                f"{ours['ratio_to_pytorch']:.2f}",
                ", ".join(f"{runs[w]['peak_MB']:.0f}" for w in (OURS, CAFFE, TORCH)),
                f"{ours['loss ms']:.1f}",
                f"{ours['data ms']:.0f}" if ours.get("data ms") is not None else "",
            ]
        )
    return table(heads, rows)


def _by_setting(
    content: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, int], dict[str, Mapping[str, Any]]]:
    found: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for run in content:
        key = (run["setting"], run["threads"])
        found.setdefault(key, {})[run["contender"]] = run
    return found


def _setting(name: str) -> str:
    if name.startswith("unet"):
        base, batch = name.removeprefix("unet").split("-batch")
        return f"U-Net {base}, batch {batch}"
    return "3-D network"


def training_notes(content: Sequence[Mapping[str, Any]]) -> str:
    """Return where we are slower or take more memory."""
    runs = _by_setting(content)
    lines = [
        f"An iteration takes {span(_ratios(runs, TORCH), 2)} of PyTorch's time and "
        f"{span(_ratios(runs, CAFFE), 2)} of that of Caffe's own layers."
    ]
    more = {
        _setting(setting)
        for (setting, _), found in runs.items()
        if found[OURS]["peak_MB"] > found[TORCH]["peak_MB"]
    }
    names = [n for n in dict.fromkeys(_setting(s) for s, _ in runs) if n in more]
    lines.append(f"More memory than PyTorch: {listed(names)}.")
    return bullets(lines)


def _ratios(
    runs: Mapping[Any, Mapping[str, Mapping[str, Any]]], who: str
) -> list[float]:
    return [found[OURS]["ms"] / found[who]["ms"] for found in runs.values()]


def inference(content: Mapping[str, Any]) -> str:
    """Return the times of a prediction."""
    heads = ["", "one thread, s", "two threads, s", "memory, MB"]
    order = (OURS, "onnxruntime", "opencv", TORCH, CAFFE)
    rows = []
    for who in order:
        one, two = (_predicted(content, who, threads) for threads in (1, 2))
        seconds = (f"{run['seconds']:.1f}" for run in (one, two))
        rows.append([NAMES[who], *seconds, f"{two['peak_MB']:.0f}"])
    return table(heads, rows)


def _predicted(content: Mapping[str, Any], who: str, threads: int) -> Mapping[str, Any]:
    return next(
        run
        for run in content["runs"]
        if (run["contender"], run["threads"]) == (who, threads)
    )


def inference_notes(content: Mapping[str, Any]) -> str:
    """Return which contenders are faster, and by how much."""
    ours = {n: _predicted(content, OURS, n)["seconds"] for n in (1, 2)}
    faster, slower = [], []
    for who, name in NAMES.items():
        if who == OURS:
            continue
        times = [_predicted(content, who, n)["seconds"] / ours[n] for n in (1, 2)]
        group = faster if max(times) < 1 else slower if min(times) > 1 else None
        if group is not None:
            group.append(f"{name} ({span(times, 2)} of our time)")
    return bullets([f"Faster than ours: {listed(faster)}.",
                    f"Slower: {listed(slower)}."])  # fmt: skip


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
            "pixels. In small images the calls count.",
            f"The exact top-k loss selects without sorting: "
            f"{span([ns for _, ns in by_k], 1)} ns per pixel for {by_k[0][0]} to "
            f"{by_k[-1][0]} % of the pixels.",
            f"With two threads, one megapixel takes {span(gain, 2)} of the time of "
            "one thread.",
        ]
    )


def _is_native(name: str) -> bool:
    return name != "cross-entropy" and "Python" not in name


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
            "A training step of ours with two threads takes "
            f"{step['quiet_ratio_2_to_1']:.2f} of the time of one thread on a quiet "
            f"machine, {step['loaded_ratio_2_to_1']:.2f} beside the loops.",
        ]
    )


# --- README's summary of the speed


def training_brief(content: Sequence[Mapping[str, Any]]) -> str:
    """Return one line about training."""
    runs = _by_setting(content)
    return bullets(
        [
            f"**Training**: an iteration takes {span(_ratios(runs, TORCH), 2)} of "
            f"PyTorch's time, {span(_ratios(runs, CAFFE), 2)} of that of Caffe's own "
            "layers."
        ]
    )


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


def inference_brief(content: Mapping[str, Any]) -> str:
    """Return one line about prediction."""
    height, width = content["size"]
    times = ", ".join(
        f"{name} {_predicted(content, who, 2)['seconds']:.1f}"
        for who, name in NAMES.items()
    )
    return bullets(
        [
            f"**Prediction** of {width} × {height} pixels, two threads, in seconds: "
            f"{times}."
        ]
    )


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


def cuda_faults(content: Mapping[str, Any]) -> str:
    """Return how many kernel faults the emulated tests catch."""
    return f"The tests catch {content['caught']} of {content['faults']} such faults."


_IDRID = "results/idrid_losses.json"
_TRAINING = "results/bench_training.json"
_INFERENCE = "results/bench_inference.json"
_LOSSES = "results/bench_losses.json"
_LOADED = "results/bench_loaded.json"

TABLES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "quickstart": ("results/quickstart_metrics.json", quickstart),
    "idrid-losses": (_IDRID, idrid_losses),
    "idrid-verdict": (_IDRID, idrid_verdict),
    "idrid-model": (
        "models/idrid/metrics.json",
        lambda content: model_card.measured_table(content["lesions"]),
    ),
    "organs2d": ("results/organs2d.json", organs("6", "7")),
    "organs2d-differences": ("results/organs2d.json", organs_differences),
    "organs3d": ("results/organs3d.json", organs("10")),
    "organs3d-differences": ("results/organs3d.json", organs_differences),
    "cuda-faults": ("results/cuda_mutants.json", cuda_faults),
    "training": (_TRAINING, training),
    "training-notes": (_TRAINING, training_notes),
    "training-brief": (_TRAINING, training_brief),
    "inference": (_INFERENCE, inference),
    "inference-notes": (_INFERENCE, inference_notes),
    "inference-brief": (_INFERENCE, inference_brief),
    "losses-sigmoid": (_LOSSES, loss_times("SIGMOID")),
    "losses-softmax": (_LOSSES, loss_times("SOFTMAX")),
    "losses-notes": (_LOSSES, loss_notes),
    "losses-brief": (_LOSSES, loss_brief),
    "loaded-losses": (_LOADED, loaded_losses),
    "loaded-step": (_LOADED, loaded_step),
    "loaded-notes": (_LOADED, loaded_notes),
    "loaded-brief": (_LOADED, loaded_brief),
}
"""By the name of a table: the file that it is made from, and what makes it."""
