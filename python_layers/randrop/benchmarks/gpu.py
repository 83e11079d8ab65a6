"""What the contenders on a GPU share.

It needs only NumPy, because PyTorch may have its own Python.
"""

import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np

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


def seconds(run: Callable[[], Any], wait: Callable[[], Any] = int) -> float:
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


def gpu_here() -> dict[str, str]:
    """Return the name of the first GPU and its driver; {} without nvidia-smi."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True)
        name, driver = found.stdout.splitlines()[0].split(", ")
    except (OSError, subprocess.CalledProcessError, IndexError):
        return {}
    return {"gpu": name, "driver": driver}
