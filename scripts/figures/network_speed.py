"""The speed of networks: training iterations and predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

from figures.words import bullets, listed, span
from randrop.report.markdown import table

OURS, CAFFE, TORCH = "oneDNN", "caffe", "pytorch"
OURS_16, TORCH_16 = "oneDNN-bf16", "pytorch-bf16"
NAMES = {
    OURS: "ours",
    CAFFE: "Caffe's own layers",
    TORCH: "PyTorch",
    "opencv": "OpenCV's dnn module",
    "onnxruntime": "onnxruntime",
}

BACKENDS = {"caffe": "Caffe", "onnxruntime": "onnxruntime", "opencv": "OpenCV"}


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


def rounded(content: Sequence[Mapping[str, Any]]) -> str:
    """Return the times of a training iteration in float and in bfloat16."""
    heads = ["", "threads", "ours, ms", "ours, bfloat16", "PyTorch"]
    heads += ["PyTorch, bfloat16", "bfloat16 / float", "ours / PyTorch, bfloat16"]
    rows = []
    for (setting, threads), runs in _by_setting(content).items():
        four = [runs[who]["ms"] for who in (OURS, OURS_16, TORCH, TORCH_16)]
        ratios = four[1] / four[0], four[1] / four[3]
        rows.append(
            [
                *(_setting(setting), f"{threads}"),
                *(f"{ms:.0f}" for ms in four),
                *(f"{ratio:.2f}" for ratio in ratios),
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


def whole_prediction(content: Mapping[str, Any]) -> str:
    """Return the times of predict.py with each shipped model, by what runs it."""
    height, width = content["size"]
    backends = dict.fromkeys(run["backend"] for run in content["runs"])
    heads = [f"{width} × {height} pixels"]
    heads += [f"{BACKENDS[backend]}, s (MB)" for backend in backends]
    found: dict[str, list[str]] = {}
    for run in content["runs"]:
        name = f"`{run['model']}`, threads: {run['threads']}"
        cells = found.setdefault(name, [name])
        cells.append(f"{run['seconds']:.1f} ({run['peak_MB']:.0f})")
    return table(heads, list(found.values()))


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
