"""Time the native losses on a GPU as a share of what its memory can do."""

WANTED: str = "Python 3.10 or newer"

import argparse
import json
import time
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import numpy as np
from tqdm import tqdm

from randrop import cli
from randrop.benchmarks.timing import Pass, in_a_process, loss_net, made_net, median
from randrop.errors import UserError
from randrop.files import ownership, write_json
from randrop.losses.registry import timed
from randrop.pycaffe.build import caffe_root, import_caffe

SHAPES = {
    "SIGMOID": ([1, 1, 1024, 1024], [8, 4, 256, 256], [1, 1, 8192, 8192]),
    "SOFTMAX": ([1, 4, 1024, 1024], [8, 4, 256, 256], [1, 4, 8192, 8192]),
}
LEAST_SECONDS = 0.3


def arrays(activation: str, shape: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels: one repeated tile, as drawing all takes minutes."""
    rng = np.random.default_rng(0)
    size = (shape[0], shape[1] if activation == "SIGMOID" else 1, *shape[2:])
    repeats = [1, 1, max(1, shape[2] // 512), max(1, shape[3] // 512)]
    tile = [n // r for n, r in zip(shape, repeats, strict=True)]
    logits = np.tile(rng.normal(-2, 2, tile).astype(np.float32), repeats)
    tile[1] = size[1]
    label = (rng.random(tile) < 0.001) * rng.integers(1, max(2, shape[1]), tile)
    label = label if activation == "SOFTMAX" else label > 0
    return logits, np.tile(label.astype(np.float32), repeats)


def must_move(logits: int, labels: int) -> int:
    """Return the bytes that a pass must move.

    Forward reads both; backward reads both again and writes the gradient.
    """
    return 4 * (2 * (logits + labels) + logits)


def seconds(run: Pass, wait: Pass = int) -> float:
    """Return the time of one `run`; `wait` returns once all earlier runs are done."""
    run()
    wait()
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            run()
        wait()
        spent = time.perf_counter() - start
        if spent > LEAST_SECONDS:
            return spent / count
        count = max(2 * count, int(1.2 * count * LEAST_SECONDS / max(spent, 1e-6)))


def loss_seconds(name: str, activation: str, shape: list[int]) -> dict[str, float]:
    """Return the seconds of a loss, forward and backward together, and forward."""
    net = loss_net(name, activation, *arrays(activation, shape))
    last = len(net.layers) - 1

    def forward() -> None:
        # Its end waits for the device, because it reads the loss from there.
        net._forward(last, last)

    def both() -> None:
        net._backward(last, last)
        net._forward(last, last)

    return {"both": seconds(both), "forward": seconds(forward)}


def copy_rate(size: int) -> float:
    """Return the bytes per second that a copy of `size` bytes reads and writes.

    An identity Power layer is a copy within the device.
    """
    caffe = import_caffe()
    net = caffe.NetSpec()
    for name, count in (("x", size // 4), ("little", 1)):
        net[name] = caffe.layers.Input(input_param={"shape": {"dim": [count]}})
    net.y, net.end = caffe.layers.Power(net.x), caffe.layers.Power(net.little)
    made = made_net(net)
    made.forward()
    names = list(made._layer_names)
    copy, end = names.index("y"), names.index("end")

    def wait() -> None:
        made._forward(end, end)
        float(made.blobs["end"].data[0])

    return 2 * size / seconds(lambda: made._forward(copy, copy), wait)


def child(task: dict[str, Any]) -> dict[str, float]:
    """Time the copy, or one loss at one shape, in this process."""
    caffe = import_caffe()
    if task["device"] == "gpu":
        caffe.set_mode_gpu()
        caffe.set_device(0)
    if "copy" in task:
        return {"bytes_per_second": copy_rate(task["copy"])}
    return loss_seconds(task["loss"], task["activation"], task["shape"])


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(
        f"{__doc__} The limit is the time to copy the bytes that a loss must move: it "
        "reads logits and labels forward and backward, and writes the gradient.",
        "  scripts/bench_losses_gpu.py --out results/bench_losses_gpu.json",
    )
    add = parser.add_argument
    add("--device", choices=("gpu", "cpu"), default="gpu")
    add("--rounds", type=int, default=1, help="processes per loss")
    add("--losses", nargs="+", help="time only these losses")
    add(
        "--largest",
        type=int,
        default=2**26,
        metavar="PIXELS",
        help="skip shapes with more labels",
    )
    add("--out", type=Path, help="write the figures to this JSON file")
    add("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def check_gpu() -> None:
    """Refuse a Caffe without CUDA, which would end the process.

    Raises
    ------
    UserError
        Tells how to build one with it.
    """
    cache = caffe_root() / "build/CMakeCache.txt"
    if cache.exists() and "CPU_ONLY:BOOL=ON" in cache.read_text():
        raise UserError(
            f"the Caffe in {caffe_root()} has no CUDA: build one with "
            "scripts/build_caffe.py --gpu, or pass --device cpu"
        )


def main() -> None:
    """Time everything alternately and print a table."""
    options = arguments()
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    if options.out:
        ownership.check(options.out)
    if options.rounds < 1:
        raise UserError("--rounds must be at least 1")
    if options.device == "gpu":
        check_gpu()
    known = dict.fromkeys(loss for name in SHAPES for loss in timed(name))
    cells = [
        (activation, shape, loss)
        for activation, shapes in SHAPES.items()
        for shape in shapes
        for loss in timed(activation)
        if not options.losses or loss in options.losses
        if shape[0] * shape[2] * shape[3] <= options.largest
    ]
    if not cells:
        raise UserError(
            f"no loss is selected: choose from {', '.join(known)}, or raise --largest"
        )
    rates: dict[int, float] = {}
    content = []
    for activation, shape, loss in tqdm(cells, unit="loss"):
        logits = int(np.prod(shape))
        labels = logits if activation == "SIGMOID" else logits // shape[1]
        bytes_ = must_move(logits, labels)
        if bytes_ not in rates:
            task = {"device": options.device, "copy": bytes_ // 2}
            rates[bytes_] = in_a_process(__file__, task, 1)["bytes_per_second"]
        task = {
            "device": options.device,
            "loss": loss,
            "activation": activation,
            "shape": shape,
        }
        rounds = [in_a_process(__file__, task, 1) for _ in range(options.rounds)]
        spent = median(rounds, 9)
        entry = {
            "activation": activation,
            "shape": shape,
            "loss": loss,
            "ns_per_label": round(1e9 * spent["both"] / labels, 4),
            "forward_ns_per_label": round(1e9 * spent["forward"] / labels, 4),
            "copy_GB_per_second": round(rates[bytes_] / 1e9, 1),
            "share_of_copy": round(bytes_ / rates[bytes_] / spent["both"], 3),
        }
        content.append(entry)
        print(
            f"{activation.lower():8} {'x'.join(map(str, shape)):14} {loss:26} "
            f"{entry['ns_per_label']:9.4f} ns  {entry['share_of_copy']:6.1%} of copy"
        )
    if options.out:
        write_json(options.out, {"device": options.device, "losses": content})


if __name__ == "__main__":
    cli.run(main)
