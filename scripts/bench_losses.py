"""Time the losses, forward and backward, against Caffe's sigmoid cross-entropy."""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import _start  # noqa: F401

import numpy as np

from randrop import cli
from randrop.caffe_build import import_caffe
from randrop.files import write_json

BASELINE = "SigmoidCrossEntropyLoss"
SCHEDULES = ("LINEAR", "SQU", "LOG", "NONE")
INPUT = """
layer {{ name: "{name}" type: "Input" top: "{name}"
        input_param {{ shape {{ {dims} }} }} }}
"""
SCORE = """
layer { name: "score" type: "Scale" bottom: "x" top: "score"
        scale_param { axis: 0 num_axes: 0 } }
"""
LOSS = """
layer {{ name: "loss" bottom: "score" bottom: "label" top: "loss" loss_weight: 1
        {layer} }}
"""


def losses() -> dict[str, str]:
    """Return the layers to time: name and prototxt."""
    layers = {f"Caffe {BASELINE}": f'type: "{BASELINE}"'}
    for schedule in SCHEDULES:
        layers[f"random drop {schedule}"] = (
            'type: "SigmoidRandomDropCELoss" '
            f"randrop_loss_param {{ schedule_type: {schedule} }}"
        )
    options = json.dumps({"schedule_type": "LOG"})
    layers["random drop LOG, Python layer"] = (
        'type: "Python" python_param { module: "randrop.layers" '
        f"layer: \"SigmoidRandomDropCELossLayer\" param_str: '{options}' }}"
    )
    return layers


def measure(shape: tuple[int, ...], repeats: int, seed: int) -> dict[str, dict]:
    """Time every loss on the same logits and label, in turn, `repeats` times.

    Returns
    -------
    dict
        For each loss the median, least and greatest time, ns per pixel, and the ratio
        of the medians to Caffe's loss.
    """
    caffe = import_caffe()
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 2, shape)
    label = rng.random(shape) < 0.001
    dims = " ".join(f"dim: {d}" for d in shape)
    nets = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, layer in losses().items():
            path = Path(folder, "net.prototxt")
            path.write_text(
                INPUT.format(name="x", dims=dims)
                + INPUT.format(name="label", dims=dims)
                + SCORE
                + LOSS.format(layer=layer)
            )
            net = nets[name] = caffe.Net(str(path), caffe.TRAIN)
            net.blobs["x"].data[...] = logits
            net.blobs["label"].data[...] = label
            net.forward()
            net.backward()
    seconds = {name: [] for name in nets}
    for _ in range(repeats):
        for name, net in nets.items():
            start = time.perf_counter()
            net.forward(start="loss")
            net.backward(end="loss")
            seconds[name].append(time.perf_counter() - start)
    scale = 1e9 / logits.size
    base = np.median(seconds[f"Caffe {BASELINE}"])
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
    parser.add_argument(
        "--shape", type=int, nargs="+", default=[1, 1, 1024, 1024], metavar="N"
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    return parser.parse_args()


def main() -> None:
    """Time the losses on one thread and print a table."""
    options = arguments()
    figures = measure(tuple(options.shape), options.repeats, options.seed)
    print(f"{'forward + backward, one thread':40} ns/pixel  ratio")
    for name, figure in figures.items():
        print(f"{name:40} {figure['ns_per_pixel']:8} {figure['ratio_to_caffe']:6}")
    if options.out:
        write_json(options.out, {"shape": options.shape, "losses": figures})


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cli.run(main)
