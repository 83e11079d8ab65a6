"""Time the native losses on a GPU as a share of what its memory can do."""

WANTED: str = "Python 3.10 or newer"

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import numpy as np
from tqdm import tqdm

import randrop
from randrop import cli
from randrop.benchmarks.gpu import SHAPES, arrays, gpu_here, must_move, seconds
from randrop.benchmarks.timing import in_a_process, loss_net, made_net, median
from randrop.errors import UserError
from randrop.files import ownership, write_json
from randrop.losses.registry import timed
from randrop.pycaffe.build import caffe_root, import_caffe


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


def child(task: dict[str, Any]) -> dict[str, Any]:
    """Time the copy and some losses at one shape, in this process."""
    caffe = import_caffe()
    if task["device"] == "gpu":
        caffe.set_mode_gpu()
        caffe.set_device(0)
    activation, shape = task["activation"], task["shape"]
    return {
        "bytes_per_second": copy_rate(bytes_of(activation, shape) // 2),
        "losses": {
            loss: loss_seconds(loss, activation, shape) for loss in task["losses"]
        },
    }


def bytes_of(activation: str, shape: list[int]) -> int:
    """Return the bytes that a loss must move at a shape."""
    logits = int(np.prod(shape))
    return must_move(logits, labels_of(activation, shape))


def labels_of(activation: str, shape: list[int]) -> int:
    """Return the number of labels at a shape."""
    return int(np.prod(shape)) // (1 if activation == "SIGMOID" else shape[1])


def torch_seconds(
    python: str, device: str, activation: str, shape: list[int], losses: list[str]
) -> dict[str, Any]:
    """Return the seconds of PyTorch's losses, in a process of another Python.

    Raises
    ------
    UserError
        If it fails; shows its last message.
    """
    task = {
        "device": "cuda" if device == "gpu" else device,
        "activation": activation,
        "shape": shape,
        "losses": losses,
    }
    result = subprocess.run(
        [python, "-m", "randrop.benchmarks.torch_gpu", json.dumps(task)],
        # Without what the first Python needs to find its own libraries.
        env={
            **{k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"},
            "PYTHONPATH": os.pathsep.join(
                filter(
                    None,
                    [
                        str(Path(randrop.__file__).parents[1]),
                        os.environ.get("PYTHONPATH"),
                    ],
                )
            ),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        last = "\n".join(result.stderr.strip().splitlines()[-3:])
        raise UserError(f"--pytorch {python} failed: {last}")
    return json.loads(result.stdout.splitlines()[-1])


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
        help="skip larger shapes",
    )
    add(
        "--pytorch",
        metavar="PYTHON",
        help="also time PyTorch's losses, by this Python with PyTorch and CUDA",
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
        ownership.check_kind(options.out, ".json", '"losses": [')
    if options.rounds < 1:
        raise UserError("--rounds must be at least 1")
    if options.pytorch and not shutil.which(options.pytorch):
        raise UserError(f"--pytorch {options.pytorch}: there is no such program")
    if options.device == "gpu":
        check_gpu()
    known = dict.fromkeys(loss for name in SHAPES for loss in timed(name))
    cells = [
        (activation, shape, losses)
        for activation, shapes in SHAPES.items()
        for losses in [
            [name for name in timed(activation) if name in (options.losses or known)]
        ]
        if losses
        for shape in shapes
        if shape[0] * shape[2] * shape[3] <= options.largest
    ]
    if not cells:
        raise UserError(
            f"no loss is selected: choose from {', '.join(known)}, or raise --largest"
        )
    content: dict[str, Any] = {"device": options.device, "losses": []}
    if options.device == "gpu":
        content |= gpu_here()
    for activation, shape, losses in tqdm(cells, unit="shape"):
        content["losses"] += time_cell(activation, shape, losses, options, content)
        if options.out:
            write_json(options.out, content)


def time_cell(
    activation: str,
    shape: list[int],
    losses: list[str],
    options: argparse.Namespace,
    content: dict[str, Any],
) -> list[dict[str, Any]]:
    """Time some losses at one shape, print a line for each and return the figures."""
    task = {
        "device": options.device,
        "losses": losses,
        "activation": activation,
        "shape": shape,
    }
    rounds = [in_a_process(__file__, task, 1) for _ in range(options.rounds)]
    rate = float(np.median([turn["bytes_per_second"] for turn in rounds]))
    theirs: dict[str, list[float]] = {}
    if options.pytorch:
        found = torch_seconds(
            options.pytorch, options.device, activation, shape, losses
        )
        content["pytorch"], theirs = found["version"], found["losses"]
    labels = labels_of(activation, shape)
    entries = []
    for loss in losses:
        spent = median([turn["losses"][loss] for turn in rounds], 9)
        entry = {
            "activation": activation,
            "shape": shape,
            "loss": loss,
            "ns_per_label": round(1e9 * spent["both"] / labels, 5),
            "forward_ns_per_label": round(1e9 * spent["forward"] / labels, 5),
            "copy_GB_per_second": round(rate / 1e9, 1),
            "share_of_copy": round(
                bytes_of(activation, shape) / rate / spent["both"], 3
            ),
        }
        if loss in theirs:
            entry["pytorch_ns_per_label"], entry["pytorch_read_ns_per_label"] = (
                round(1e9 * value / labels, 5) for value in theirs[loss]
            )
        entries.append(entry)
        tqdm.write(
            f"{activation.lower():8} {'x'.join(map(str, shape)):14} {loss:26} "
            f"{entry['ns_per_label']:9.5f} ns  {entry['share_of_copy']:6.1%} of copy"
            + (
                f"  PyTorch {entry['pytorch_ns_per_label']:9.5f} ns"
                if loss in theirs
                else ""
            )
        )
    return entries


if __name__ == "__main__":
    cli.run(main)
