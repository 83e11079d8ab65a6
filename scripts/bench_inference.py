"""Time the prediction of a whole fundus photograph, in the tiles of predict.py."""

WANTED: str = "Python 3.10 or newer"

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from randrop import cli, nets
from randrop.benchmarks.timing import check_judges, in_a_process, median, use_judges
from randrop.errors import UserError
from randrop.files import ownership, write_json
from randrop.prediction import inference, tiles
from randrop.pycaffe.build import import_caffe

CONTENDERS = ("oneDNN", "caffe", "opencv", "onnxruntime", "pytorch")
STRIDE = 8


def photograph(
    height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a network input and its field of view, a circle as high as the photograph.

    The time of a network does not depend on the content.
    """
    y, x = np.ogrid[:height, :width]
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 2) ** 2
    noise = np.random.default_rng(0).standard_normal((3, height, width), np.float32)
    noise *= inside
    return noise, inside


def deploy_files(folder: Path, base: int) -> tuple[Path, Path]:
    """Write a deployed U-Net with random weights."""
    caffe = import_caffe()
    deploy, weights = folder / "deploy.prototxt", folder / "net.caffemodel"
    deploy.write_text(nets.unet(1, base_channels=base))
    net = caffe.Net(str(deploy), caffe.TEST)
    rng = np.random.default_rng(0)
    for name, blobs in net.params.items():
        if net.layer_dict[name].type == "BatchNorm":
            for blob, value in zip(blobs, (0, 1, 1), strict=True):
                blob.data[...] = value
        elif len(blobs[0].shape) > 1:
            scale = np.sqrt(2 / np.prod(blobs[0].shape[1:]))
            blobs[0].data[...] = rng.normal(0, scale, blobs[0].shape)
    net.save(str(weights))
    return deploy, weights


def torch_forward(base: int, threads: int) -> Any:
    """Return the same network in PyTorch."""
    use_judges()
    import torch

    from randrop.benchmarks import torch_nets

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch_nets.UNet(1, base), torch.nn.Sigmoid()).eval()

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return net(torch.from_numpy(batch)).numpy()

    return forward


def child(task: dict[str, Any]) -> dict[str, float]:
    """Time one contender in this process."""
    contender, threads = task["contender"], task["threads"]
    image, inside = photograph(*task["size"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if contender == "pytorch":
            forward = torch_forward(task["base"], threads)
        else:
            # As in_a_process sets it, the others read the number of threads themselves.
            cv2.setNumThreads(threads)
            backend = contender if contender in ("opencv", "onnxruntime") else "caffe"
            network = inference.load(*deploy_files(folder, task["base"]), backend)
            forward = network.forward
        times: list[float] = []
        for turn in range(task["repeats"] + 1):
            start = time.perf_counter()
            tiles.predict(
                forward,
                image,
                inside,
                channels=1,
                stride=STRIDE,
                tile=task["tile"],
            )
            if turn:
                times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": float(np.median(times)), "peak_MB": peak / 1024}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(
        f"{__doc__} Our Caffe through oneDNN, Caffe's own layers, OpenCV's dnn module "
        "and onnxruntime with the same network as ONNX, and PyTorch with the same (of "
        "build/judges: scripts/build_caffe.py --judges). The times cover "
        "randrop.prediction.tiles.predict as a whole.",
        "  scripts/bench_inference.py --out results/bench_inference.json",
    )
    add = parser.add_argument
    add("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    add("--size", type=int, nargs=2, default=[2848, 4288], metavar=("H", "W"))
    add("--base", type=int, default=16, help="channels of the first level")
    add("--tile", type=int, default=512)
    add("--threads", type=int, nargs="+", default=[1, 2])
    add("--repeats", type=int, default=1, help="photographs timed per process")
    add("--rounds", type=int, default=1, help="processes per contender")
    add("--out", type=Path, help="write the figures to this JSON file")
    add("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Time all contenders alternately and print a table."""
    options = arguments()
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    if options.out:
        ownership.check_kind(options.out, ".json", '"contender"')
    if min(options.repeats, options.rounds, options.base, *options.threads) < 1:
        raise UserError("--repeats, --rounds, --base and --threads must be at least 1")
    if min(options.size) < STRIDE:
        raise UserError(f"--size is {options.size}: give at least {STRIDE} x {STRIDE}")
    tiles.check(options.tile, 64, STRIDE)
    if "pytorch" in options.contenders:
        check_judges("torch", "exclude it with --contenders")
    runs = [
        (threads, contender)
        for threads in options.threads
        for _ in range(options.rounds)
        for contender in options.contenders
    ]
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for threads, contender in tqdm(runs, unit="run"):
        task = {
            "contender": contender,
            "threads": threads,
            **{k: getattr(options, k) for k in ("size", "base", "tile", "repeats")},
        }
        engine = "CAFFE" if contender == "caffe" else "ONEDNN"
        figures = in_a_process(__file__, task, threads, RANDROP_ENGINE=engine)
        found.setdefault((threads, contender), []).append(figures)
    content: dict[str, Any] = {k: getattr(options, k) for k in ("size", "base", "tile")}
    content["runs"] = []
    for (threads, contender), figures in found.items():
        entry = {"threads": threads, "contender": contender, **median(figures)}
        content["runs"].append(entry)
        print(
            f"{threads} threads  {contender:12} {entry['seconds']:7.2f} s  "
            f"{entry['peak_MB']:6.0f} MB"
        )
    if options.out:
        write_json(options.out, content)


if __name__ == "__main__":
    cli.run(main)
