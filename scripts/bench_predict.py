"""Time predict.py as a whole, from the start of Python to the pictures, by model."""

WANTED: str = "Python 3.10 or newer"

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from randrop import cli
from randrop.benchmarks.timing import median
from randrop.data import phantom
from randrop.errors import UserError
from randrop.files import ownership, write_json
from randrop.prediction import model
from randrop.pycaffe import processes

ASPECT = 2848 / 4288
"""Height by width of a photograph of IDRiD: it shows no top and bottom of the eye."""

PREDICT = Path(__file__).with_name("predict.py")
MODELS = tuple(sorted(folder.name for folder in (model.SHIPPED, model.SMALL)))
BACKENDS = ("caffe", "onnxruntime", "opencv")


def draw(path: Path, width: int) -> None:
    """Write a synthetic photograph.

    In a process of its own: the peak memory of a program counts what its parent had.
    """
    image, _ = phantom.fundus(np.random.default_rng(0), width)
    height = round(ASPECT * width)
    cut = (len(image) - height) // 2
    cv2.imwrite(str(path), image[cut : cut + height, :, ::-1])


def predicted(
    photograph: Path, name: str, backend: str, threads: int
) -> dict[str, float]:
    """Run predict.py once; return its time in s and its peak memory in MB.

    Raises
    ------
    UserError
        If it fails; shows its last message.
    """
    number = str(threads)
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(tempfile.TemporaryDirectory())
        said = stack.enter_context(tempfile.TemporaryFile("w+"))
        command = [sys.executable, str(PREDICT), "--model", name]
        command += ["--backend", backend, "--out", out, str(photograph)]
        start = time.perf_counter()
        child = subprocess.Popen(
            processes.bound(command),
            env={
                **os.environ,
                "OMP_NUM_THREADS": number,
                "OPENBLAS_NUM_THREADS": number,
                "OPENCV_FOR_THREADS_NUM": number,
            },
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        # Unlike wait(), it gives the memory of this one process.
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            last = "\n".join(said.read().strip().splitlines()[-3:])
            raise UserError(f"predict.py with {name} on {backend} failed: {last}")
    return {"seconds": seconds, "peak_MB": usage.ru_maxrss / 1024}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(
        f"{__doc__} Without PHOTO it takes a synthetic photograph of IDRiD's size, "
        "4288 x 2848 pixels: the time hardly depends on what is on it.",
        "  scripts/bench_predict.py --out results/bench_predict.json\n"
        "  scripts/bench_predict.py --models idrid-small --backends onnxruntime "
        "photo.jpg",
    )
    add = parser.add_argument
    add("photo", type=Path, nargs="?", help="a photograph")
    add("--models", nargs="+", choices=MODELS, default=list(MODELS))
    add("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    add("--threads", type=int, nargs="+", default=[2])
    add("--rounds", type=int, default=3, help="predictions of each; median")
    add("--width", type=int, default=4288, help="of the synthetic photograph")
    add("--out", type=Path, help="write the figures to this JSON file")
    return parser.parse_args()


def main() -> None:
    """Time all alternately and print a table."""
    options = arguments()
    if options.out:
        ownership.check_kind(options.out, ".json", '"backend"')
    if min(options.rounds, *options.threads) < 1:
        raise UserError("--rounds and --threads must be at least 1")
    if options.width < 128:
        raise UserError(f"--width is {options.width}: give at least 128")
    with tempfile.TemporaryDirectory() as folder:
        photograph = options.photo
        if photograph is None:
            photograph = Path(folder, "photo.jpg")
            with processes.pool(1) as pool:
                pool.submit(draw, photograph, options.width).result()
        with Image.open(photograph) as image:
            width, height = image.size
        runs = [
            (name, backend, threads)
            for _ in range(options.rounds)
            for threads in options.threads
            for name in options.models
            for backend in options.backends
        ]
        found: dict[tuple[str, str, int], list[dict[str, float]]] = {}
        for run in tqdm(runs, unit="run"):
            found.setdefault(run, []).append(predicted(photograph, *run))
    content: dict[str, Any] = {
        "size": [height, width],
        "processors": os.cpu_count(),
        "rounds": options.rounds,
        "runs": [],
    }
    for (name, backend, threads), figures in found.items():
        entry = {"model": name, "backend": backend, "threads": threads}
        middle = median(figures)
        content["runs"].append({**entry, **middle})
        print(
            f"{name:12} {backend:12} {threads} threads {middle['seconds']:7.2f} s "
            f"{middle['peak_MB']:6.0f} MB"
        )
    if options.out:
        write_json(options.out, content)


if __name__ == "__main__":
    cli.run(main)
