"""Time training iterations: Caffe through oneDNN, Caffe as it was, and PyTorch."""

WANTED: str = "Python 3.10 or newer"

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import numpy as np
from tqdm import tqdm

from randrop import cli, nets
from randrop.benchmarks.timing import check_judges, in_a_process, median, use_judges
from randrop.data.phantom_set import write_phantom
from randrop.errors import UserError
from randrop.files import ownership, write_json
from randrop.pycaffe.build import import_caffe
from time_layers import layer_seconds

CONTENDERS = ("oneDNN", "caffe", "pytorch")
ROUNDED = ("oneDNN-bf16", "pytorch-bf16")
ENGINES = {"caffe": "CAFFE", "oneDNN-bf16": "ONEDNN_BF16"}
SETTINGS = {
    f"unet{base}-batch{batch}": {"base": base, "shape": [batch, 3, 256, 256]}
    for base in (16, 32)
    for batch in (2, 8)
}
SETTINGS["explog3d-32"] = {"base": 8, "shape": [1, 1, 32, 32, 32]}
LABELS_3D = 20


def arrays(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the data and labels that all contenders train on."""
    rng = np.random.default_rng(0)
    data = rng.normal(0, 1, shape).astype(np.float32)
    size = (shape[0], 1, *shape[2:])
    if len(shape) == 4:
        return data, (rng.random(size) < 0.001).astype(np.float32)
    return data, rng.integers(0, LABELS_3D, size).astype(np.float32)


def caffe_step(setting: dict[str, Any], folder: Path) -> tuple[Any, Any]:
    """Return a function that runs one iteration with Caffe, and its net."""
    caffe = import_caffe()
    caffe.set_mode_cpu()
    shape = tuple(setting["shape"])
    feed = nets.InputFeed(shape, (shape[0], 1, *shape[2:]))
    if len(shape) == 4:
        losses = nets.parse_losses("random-drop:LOG", "SIGMOID")
        text = nets.unet(1, feed, losses, base_channels=setting["base"])
    else:
        losses = nets.parse_losses("exp-log", "SOFTMAX")
        text = nets.explog3d(LABELS_3D, feed, losses, shape=shape[1:])
    net, solver = folder / "net.prototxt", folder / "solver.prototxt"
    net.write_text(text)
    lines = nets.solver(str(net), 10**6, 1, str(folder / "s")).splitlines()
    out = ("test_", "snapshot:", "display:")
    solver.write_text("\n".join(x for x in lines if not x.startswith(out)))
    made = caffe.get_solver(str(solver))
    made.net.blobs["data"].data[...], made.net.blobs["label"].data[...] = arrays(shape)
    return lambda: made.step(1), made.net


def torch_step(setting: dict[str, Any], threads: int, rounded: bool) -> Any:
    """Return a function that runs one iteration with PyTorch."""
    use_judges()
    import torch

    from randrop.benchmarks import torch_losses, torch_nets

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    shape = tuple(setting["shape"])
    data, label = map(torch.from_numpy, arrays(shape))
    if len(shape) == 4:
        net, loss = torch_nets.UNet(1, setting["base"]), torch_losses.random_drop
    else:
        net, loss = torch_nets.ExpLog3d(LABELS_3D), torch_losses.exp_log
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            scores = net(data)
        value = loss(scores.float(), label)
        value.backward()
        optimizer.step()
        value.item()

    return step


def shares(net: Any) -> dict[str, float]:
    """Return the ms per iteration of the loss, and of all layers."""
    seconds = layer_seconds(net, 2)
    return {
        "loss": 1e3 * sum(seconds["loss"]),
        "all layers": 1e3 * sum(map(sum, seconds.values())),
    }


def data_share(setting: dict[str, Any], data: Path, folder: Path) -> float:
    """Return the ms that an iteration waits for patches that a worker cuts ahead."""
    caffe = import_caffe()
    feed = nets.PatchFeed(
        {"root": str(data), "lesions": ["MA"], "batch_size": setting["shape"][0]}
    )
    losses = nets.parse_losses("random-drop:LOG", "SIGMOID")
    path = folder / "fed.prototxt"
    path.write_text(nets.unet(1, feed, losses, base_channels=setting["base"]))
    net = caffe.Net(str(path), caffe.TRAIN)
    waited = []
    for _ in range(6):
        start = time.perf_counter()
        net._forward(0, 0)
        waited.append(1e3 * (time.perf_counter() - start))
        net._forward(1, len(net.layers) - 1)
        net.backward()
    return float(np.median(waited[1:]))


def child(task: dict[str, Any]) -> dict[str, float]:
    """Time one contender in this process."""
    setting, threads = SETTINGS[task["setting"]], task["threads"]
    with tempfile.TemporaryDirectory() as folder:
        net = None
        if task["contender"].startswith("pytorch"):
            step = torch_step(setting, threads, task["contender"] in ROUNDED)
        else:
            step, net = caffe_step(setting, Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        step()
        times: list[float] = []
        while len(times) < task["repeats"]:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = {
            "ms": 1e3 * float(np.median(times)),
            "least": 1e3 * min(times),
            "peak_MB": peak / 1024,
            "of_that_MB": (peak - before) / 1024,
        }
        if net is not None:
            result |= {f"{name} ms": value for name, value in shares(net).items()}
            if task["data"] and len(setting["shape"]) == 4:
                result["data ms"] = data_share(
                    setting, Path(task["data"]), Path(folder)
                )
        return result


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(
        f"{__doc__} PyTorch comes from build/judges (scripts/build_caffe.py --judges).",
        "  scripts/bench_training.py --out results/bench_training.json\n"
        "  scripts/bench_training.py --settings unet16-batch2 unet32-batch2 \\\n"
        "      --contenders oneDNN oneDNN-bf16 pytorch pytorch-bf16 \\\n"
        "      --out results/bench_bf16.json",
    )
    add = parser.add_argument
    add("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    add(
        "--contenders",
        nargs="+",
        choices=CONTENDERS + ROUNDED,
        default=list(CONTENDERS),
        help="those with bf16 multiply in bfloat16 (PyTorch: autocast)",
    )
    add("--threads", type=int, nargs="+", default=[1, 2])
    add("--repeats", type=int, default=7, help="iterations timed per round")
    add("--rounds", type=int, default=3, help="processes per contender")
    add("--out", type=Path, help="write the figures to this JSON file")
    add("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Time all contenders at all settings, alternately, and print a table."""
    options = arguments()
    if min(options.repeats, options.rounds, *options.threads) < 1:
        raise UserError("--repeats, --rounds and --threads must be at least 1")
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    if options.out:
        ownership.check_kind(options.out, ".json", '"setting"')
    if {"pytorch", "pytorch-bf16"} & {*options.contenders}:
        check_judges("torch", "exclude PyTorch with --contenders oneDNN caffe")
    runs = [
        (name, threads, contender)
        for name in options.settings
        for threads in options.threads
        for _ in range(options.rounds)
        for contender in options.contenders
    ]
    found: dict[tuple[str, int, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "phantom")
        write_phantom(data, images=8, size=1024, lesions=["MA"])
        for run in tqdm(runs, unit="run"):
            name, threads, contender = run
            task = {
                "setting": name,
                "threads": threads,
                "contender": contender,
                "repeats": options.repeats,
                "data": str(data) if contender == "oneDNN" else "",
            }
            figures = in_a_process(
                __file__,
                task,
                threads,
                RANDROP_ENGINE=ENGINES.get(contender, "ONEDNN"),
            )
            found.setdefault(run, []).append(figures)
    content = []
    for (name, threads, contender), figures in found.items():
        middle = median(figures, 1)
        peer = found.get((name, threads, "pytorch"))
        entry = {"setting": name, "threads": threads, "contender": contender, **middle}
        if peer:
            entry["ratio_to_pytorch"] = round(
                middle["ms"] / float(np.median([f["ms"] for f in peer])), 2
            )
        content.append(entry)
        print(
            f"{name:16} {threads} threads  {contender:12} {entry['ms']:8.1f} ms  "
            f"{entry.get('ratio_to_pytorch', '-')!s:>5} of PyTorch  "
            f"{entry['peak_MB']:6.0f} MB"
        )
    if options.out:
        write_json(options.out, content)


if __name__ == "__main__":
    cli.run(main)
