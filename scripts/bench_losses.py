"""Time the losses, forward and backward, against Caffe's own cross-entropy."""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import numpy as np
from tqdm import tqdm

from randrop import cli
from randrop.caffe_build import import_caffe
from randrop.errors import UserError
from randrop.files import write_json
from randrop.nets.losses import loss_layers, parse_losses

LOSSES = {
    "SIGMOID": (
        *("cross-entropy", "random-drop:LINEAR", "random-drop:SQU", "random-drop:LOG"),
        *("class-balanced", "top-k", "top-k:selection=PERCENT", "bin", "focal", "dice"),
        "top-k-dice",
    ),
    "SOFTMAX": (
        *("cross-entropy", "top-k", "focal", "dice", "top-k-dice", "exp-log"),
        "weighted-cross-entropy",
    ),
}
# Python layers sort and allocate as NumPy does: one of each activation tells enough.
PYTHON = {"SIGMOID": "random-drop:LOG", "SOFTMAX": "exp-log"}


def loss_net(
    folder: str, text: str, activation: str, shape: tuple[int, ...], python: bool
) -> Any:
    """Return a net that is logits, label and one loss."""
    caffe = import_caffe()
    label = shape if activation == "SIGMOID" else (shape[0], 1, *shape[2:])
    net = caffe.NetSpec()
    net.x = caffe.layers.Input(input_param={"shape": {"dim": list(shape)}})
    net.label = caffe.layers.Input(input_param={"shape": {"dim": list(label)}})
    # A learnt factor of 1, so that the loss has something to train.
    net.score = caffe.layers.Scale(net.x, axis=0, num_axes=0)
    loss_layers(caffe, net, parse_losses(text, activation, python=python), None)
    path = Path(folder, "net.prototxt")
    path.write_text(str(net.to_proto()))
    return caffe.Net(str(path), caffe.TRAIN)


def measure(
    activation: str, shape: tuple[int, ...], repeats: int, seed: int
) -> dict[str, dict[str, float]]:
    """Time every loss on the same logits and label, in turn, `repeats` times.

    Returns
    -------
    dict
        For each loss the median, least and greatest time, ns per pixel, and the ratio
        of the medians to Caffe's loss.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 2, shape)
    label = (rng.random((shape[0], 1, *shape[2:])) < 0.001).astype(int)
    if activation == "SIGMOID":
        label = rng.random(shape) < 0.001
    elif shape[1] > 2:
        label *= rng.integers(1, shape[1], label.shape)
    names = {name: (name, False) for name in LOSSES[activation]}
    names[f"{PYTHON[activation]}, Python layer"] = (PYTHON[activation], True)
    nets = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (text, python) in names.items():
            net = nets[name] = loss_net(folder, text, activation, shape, python)
            net.blobs["x"].data[...] = logits
            net.blobs["label"].data[...] = label
            net.forward()
            net.backward()
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    for _ in tqdm(range(repeats), f"{activation.lower()}", unit="round"):
        for name, net in nets.items():
            start = time.perf_counter()
            net.forward(start="loss")
            net.backward(end="loss")
            seconds[name].append(time.perf_counter() - start)
    scale = 1e9 / (logits.size / (1 if activation == "SIGMOID" else shape[1]))
    base = np.median(seconds["cross-entropy"])
    return {
        name: {
            "ns_per_pixel": round(float(np.median(times)) * scale, 2),
            "least": round(min(times) * scale, 2),
            "greatest": round(max(times) * scale, 2),
            "ratio_to_caffe": round(float(np.median(times) / base), 2),
        }
        for name, times in seconds.items()
    }


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(
        __doc__, "  scripts/bench_losses.py --out results/bench_losses.json"
    )
    add = parser.add_argument
    add("--sigmoid", type=int, nargs="+", default=[1, 1, 1024, 1024], metavar="N",
        help="shape of the logits")  # fmt: skip
    add("--softmax", type=int, nargs="+", default=[1, 4, 1024, 1024], metavar="N",
        help="shape of the logits")  # fmt: skip
    add("--repeats", type=int, default=20)
    add("--seed", type=int, default=0)
    add("--out", type=Path, help="write the figures there as JSON")
    return parser.parse_args()


def main() -> None:
    """Time the losses on one thread and print a table."""
    options = arguments()
    if options.repeats < 1:
        raise UserError("--repeats must be at least 1")
    content = {}
    for activation in ("SIGMOID", "SOFTMAX"):
        shape = tuple(getattr(options, activation.lower()))
        if len(shape) < 2 or min(shape) < 1 or (activation, shape[1]) == ("SOFTMAX", 1):
            raise UserError(
                f"--{activation.lower()} {' '.join(map(str, shape))}: N, C and spatial "
                "axes; a softmax wants two classes or more"
            )
        figures = measure(activation, shape, options.repeats, options.seed)
        content[activation.lower()] = {"shape": list(shape), "losses": figures}
        print(f"{activation.lower() + ', one thread':32} ns/pixel  ratio to Caffe's")
        for name, figure in figures.items():
            print(f"{name:32} {figure['ns_per_pixel']:8} {figure['ratio_to_caffe']:6}")
    if options.out:
        write_json(options.out, content)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cli.run(main)
