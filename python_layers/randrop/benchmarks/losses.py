"""Timing the losses, forward and backward, against Caffe's, PyTorch's and others'."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from randrop.benchmarks.timing import Pass, loss_net, median, use_judges
from randrop.files import replacing
from randrop.losses.registry import timed

Measure = Callable[..., dict[str, float]]
"""Runs `child` for a task of these items, in a process of its own."""

# Python layers sort and allocate as NumPy does: one per activation is enough.
PYTHON = {"SIGMOID": "random-drop:LOG", "SOFTMAX": "exp-log"}
SHAPES = {
    "SIGMOID": ([1, 1, 1024, 1024], [8, 4, 256, 256]),
    "SOFTMAX": ([1, 4, 1024, 1024], [8, 4, 256, 256]),
}
CONTENDERS = ("native", "pytorch", "full sort", "MONAI, nnU-Net", "copy")
GROWTH = [64, 128, 256, 512, 1024, 2048, 4096, 8192]
POSITIVES = [0.0, 0.0001, 0.001, 0.01, 0.1, 0.5]


def arrays(
    activation: str, shape: list[int], positives: float = 0.001
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, 2, shape).astype(np.float32)
    if activation == "SIGMOID":
        return logits, (rng.random(shape) < positives).astype(np.float32)
    size = (shape[0], 1, *shape[2:])
    label = (rng.random(size) < positives) * rng.integers(1, shape[1], size)
    return logits, label.astype(np.float32)


def caffe_pass(
    name: str,
    activation: str,
    logits: np.ndarray,
    label: np.ndarray,
    python: bool = False,
) -> Pass:
    """Return a function that runs a loss layer forward and backward."""
    made = loss_net(name, activation, logits, label, python)

    def run() -> None:
        made.forward(start="loss")
        made.backward(end="loss")

    return run


def torch_passes(
    kind: str, activation: str, logits: np.ndarray, label: np.ndarray, threads: int
) -> dict[str, Pass]:
    """Return functions that run each PyTorch loss forward and backward."""
    use_judges()
    import torch

    from randrop.benchmarks import torch_losses

    torch.set_num_threads(threads)
    x = torch.from_numpy(logits).requires_grad_()
    t = torch.from_numpy(label)
    losses = {
        "pytorch": torch_losses.of_pytorch,
        "full sort": torch_losses.by_a_full_sort,
        "MONAI, nnU-Net": torch_losses.of_others,
    }[kind]()[activation]

    def timed(loss: Any) -> Pass:
        def run() -> None:
            x.grad = None
            loss(x, t).backward()

        return run

    return {name: timed(loss) for name, loss in losses.items()}


def copy_pass(activation: str, logits: np.ndarray, label: np.ndarray) -> Pass:
    """Return a function that moves as many bytes as a loss must, by copying arrays.

    Forward, it reads logits and label; backward, it reads logits and label and writes
    the gradient.
    """
    read = 2 * (logits.size + label.size)
    source = np.ones((read + logits.size) // 2, np.float32)
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)


def child(task: dict[str, Any]) -> dict[str, float]:
    """Return ns per pixel of each loss of a contender, timed alternately."""
    activation, shape = task["activation"], task["shape"]
    logits, label = arrays(activation, shape, task.get("positives", 0.001))
    if task["contender"] == "native":
        names = task.get("losses", timed(activation))
        passes = {n: caffe_pass(n, activation, logits, label) for n in names}
        if "losses" not in task:
            name = PYTHON[activation]
            passes[f"{name}, Python layer"] = caffe_pass(
                name, activation, logits, label, python=True
            )
    elif task["contender"] == "copy":
        passes = {"copy": copy_pass(activation, logits, label)}
    else:
        passes = torch_passes(
            task["contender"], activation, logits, label, task["threads"]
        )
    times: dict[str, list[float]] = {name: [] for name in passes}
    for turn in range(task["repeats"] + 1):
        for name, run in passes.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    scale = 1e9 / label.size
    # Beside other programs, the mean counts: the median hides interruptions of passes.
    middle = np.mean if task.get("mean") else np.median
    return {name: float(middle(values)) * scale for name, values in times.items()}


def compare(
    measure: Measure,
    contenders: Sequence[str],
    threads: Sequence[int],
    rounds: int,
    repeats: int,
) -> list[dict[str, Any]]:
    """Time all contenders at every shape and number of threads, alternately.

    Parameters
    ----------
    measure : callable
    contenders : sequence of str
        From `CONTENDERS`.
    threads : sequence of int
    rounds, repeats : int
        Processes per contender, and passes per process.
    """
    cells = [
        (activation, shape, number)
        for activation, shapes in SHAPES.items()
        for shape in shapes
        for number in threads
    ]
    content = []
    for activation, shape, number in tqdm(cells, "shapes", unit="shape"):
        found = [
            {
                who: measure(
                    contender=who,
                    activation=activation,
                    shape=shape,
                    threads=number,
                    repeats=repeats,
                )
                for who in contenders
            }
            for _ in range(rounds)
        ]
        figures = {who: median([r[who] for r in found]) for who in contenders}
        limit = figures.pop("copy")["copy"]
        native = figures.pop("native")
        losses = {}
        for name, value in native.items():
            losses[name] = {
                "ns_per_pixel": value,
                "ratio_to_caffes_cross_entropy": round(
                    value / native["cross-entropy"], 3
                ),
                "ratio_to_copy": round(value / limit, 2),
                "times_faster_than": {
                    who: round(others[name] / value, 1)
                    for who, others in figures.items()
                    if name in others
                },
            }
        content.append(
            {
                "activation": activation,
                "shape": shape,
                "threads": number,
                "copy_ns_per_pixel": limit,
                "losses": losses,
                "others": figures,
            }
        )
        show(content[-1])
    return content


def growth(measure: Measure, repeats: int) -> dict[str, Any]:
    """Time random drop for growing pixels or positives, and top-k for growing k."""
    common = {"contender": "native", "threads": 1, "activation": "SIGMOID"}
    square = [1, 1, 1024, 1024]
    result: dict[str, Any] = {"pixels": [], "positives": [], "k_percent": []}
    for side in tqdm(GROWTH, "growth", unit="size"):
        times = measure(
            **common,
            shape=[1, 1, side, side],
            repeats=5 if side > 2048 else repeats,
            losses=["random-drop:LOG"],
        )
        result["pixels"].append([side * side, round(times["random-drop:LOG"], 2)])
    for share in POSITIVES:
        times = measure(
            **common, shape=square, repeats=repeats, positives=share,
            losses=["random-drop:LOG"],
        )  # fmt: skip
        result["positives"].append([share, round(times["random-drop:LOG"], 2)])
    names = {k: f"top-k:selection=PERCENT,k_percent={k}" for k in (1, 10, 50, 90)}
    times = measure(
        **common, shape=square, repeats=repeats, losses=list(names.values())
    )
    result["k_percent"] = [[k, round(times[name], 2)] for k, name in names.items()]
    return result


def show(cell: dict[str, Any]) -> None:
    """Print a table."""
    shape = " x ".join(map(str, cell["shape"]))
    print(f"\n{cell['activation'].lower()} {shape}, {cell['threads']} threads")
    print(f"{'':32} ns/pixel  of copy  times faster than")
    for name, figure in cell["losses"].items():
        faster = figure["times_faster_than"]
        print(
            f"{name:32} {figure['ns_per_pixel']:8.2f} {figure['ratio_to_copy']:8.1f}  "
            + ", ".join(f"{who} {times}" for who, times in faster.items())
        )


def draw(content: dict[str, Any], path: Path) -> None:
    """Draw the first shape of each activation, and the growth with pixels."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cells = [c for c in content["shapes"] if c["threads"] == 1]
    cells = [next(c for c in cells if c["activation"] == a) for a in SHAPES]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    for ax, cell in zip(axes, cells, strict=False):
        names = list(cell["losses"])
        series = {"Caffe": {n: cell["losses"][n]["ns_per_pixel"] for n in names}}
        series |= cell["others"]
        for offset, (who, times) in enumerate(series.items()):
            have = [n for n in names if n in times]
            at = [names.index(n) + 0.2 * offset for n in have]
            ax.barh(at, [times[n] for n in have], height=0.2, label=who)
        ax.axvline(cell["copy_ns_per_pixel"], color="k", ls="--", label="copy")
        ax.set(xscale="log", xlabel="ns per pixel, one thread")
        ax.set_yticks(range(len(names)), names)
        ax.set_title(f"{cell['activation'].lower()} {cell['shape']}")
        ax.invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=9)
    pixels, times = zip(*content["growth"]["pixels"], strict=True)
    axes[2].plot(pixels, times, "o-")
    axes[2].set(
        xscale="log", ylim=(0, None), xlabel="pixels", ylabel="ns per pixel",
        title="random-drop:LOG, one thread",
    )  # fmt: skip
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)
