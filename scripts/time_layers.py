"""Time a training iteration layer by layer."""

WANTED: str = "Python 3.10 or newer"

import argparse
import os
import time
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import numpy as np

from randrop import cli
from randrop.errors import UserError
from randrop.files import ownership, write_json
from randrop.pycaffe.build import environment, import_caffe

EXAMPLES = """\
  scripts/time_layers.py --run build/run
  scripts/time_layers.py --net prototxt/unet/train_val.prototxt --threads 2
"""


def layer_seconds(net: Any, passes: int) -> dict[str, tuple[float, float]]:
    """Return each layer's median seconds forward and backward, in layer order."""
    names = list(net._layer_names)
    spent: dict[str, tuple[list[float], list[float]]] = {n: ([], []) for n in names}
    for turn in range(passes + 1):
        for way, numbers, call in (
            (0, range(len(names)), net._forward),
            (1, reversed(range(len(names))), net._backward),
        ):
            for number in numbers:
                start = time.perf_counter()
                call(number, number)
                if turn:
                    spent[names[number]][way].append(time.perf_counter() - start)
    return {
        name: (float(np.median(forward)), float(np.median(backward)))
        for name, (forward, backward) in spent.items()
    }


def shares(net: Any, seconds: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Return the milliseconds of all layers, and the shares of losses and data."""
    spent = {"loss": 0.0, "data": 0.0}
    for layer, (name, both) in zip(net.layers, seconds.items(), strict=True):
        # A Python layer's type does not tell; these nets name their losses "loss...".
        if layer.type.endswith("Loss") or name.startswith("loss"):
            spent["loss"] += sum(both)
        elif name == "data":
            spent["data"] += sum(both)
    total = sum(map(sum, seconds.values()))
    return {
        "ms": round(1e3 * total, 2),
        "loss_share": round(spent["loss"] / total, 4),
        "data_share": round(spent["data"] / total, 4),
    }


def main() -> None:
    """Load the network, time its layers, print and optionally write the times."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--run", type=Path, help="output folder of scripts/train.py")
    add("--net", type=Path, help="or a training prototxt")
    add("--passes", type=int, default=5, help="timed passes, after one warm-up pass")
    add("--threads", type=int, default=1)
    add("--out", type=Path, help="write the figures to this JSON file")
    options: argparse.Namespace = parser.parse_args()
    if (options.run is None) == (options.net is None):
        parser.error("give --run or --net")
    path = options.net or options.run / "train_val.prototxt"
    if not path.is_file():
        raise UserError(
            f"the network {path} does not exist: give a run of scripts/train.py, or a "
            "prototxt"
        )
    if options.passes < 1 or options.threads < 1:
        raise UserError("--passes and --threads must be at least 1")
    if options.out:
        ownership.check_kind(options.out, ".json", '"loss_share"')
    os.environ.update(environment())
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    caffe = import_caffe()
    net = caffe.Net(str(path), caffe.TRAIN)
    seconds = layer_seconds(net, options.passes)
    found = shares(net, seconds)
    for name, (forward, backward) in seconds.items():
        part = (forward + backward) / sum(map(sum, seconds.values()))
        print(
            f"{name:24} {1e3 * forward:9.3f} ms  {1e3 * backward:9.3f} ms  {part:6.1%}"
        )
    print(
        f"{found['ms']:.1f} ms forward and backward; losses {found['loss_share']:.1%}, "
        f"data {found['data_share']:.1%}"
    )
    if options.out:
        layers = {n: [round(1e3 * s, 4) for s in both] for n, both in seconds.items()}
        write_json(options.out, {**found, "layers": layers})


if __name__ == "__main__":
    cli.run(main)
