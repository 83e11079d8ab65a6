"""What the benchmarks share: timing each contender in its own process."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop.data.voronoi import cells_of_batch
from randrop.errors import UserError
from randrop.nets.losses import loss_layers, parse_losses
from randrop.pycaffe import processes
from randrop.pycaffe.build import PATIENCE, build_dir, import_caffe

Pass = Callable[[], Any]


def in_a_process(
    script: str, task: dict[str, Any], threads: int, **environment: str
) -> dict[str, float]:
    """Run `script --child TASK` and return the figures that it prints last.

    Raises
    ------
    UserError
        If it fails; shows its last message.
    """
    result = processes.run(
        [sys.executable, script, "--child", json.dumps(task)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
            "GLOG_minloglevel": "2",
            **PATIENCE,
            **environment,
        },
        capture_output=True,
        text=True,
    )
    if result.returncode:
        last = "\n".join(result.stderr.strip().splitlines()[-3:])
        raise UserError(f"{task} failed: {last}")
    return json.loads(result.stdout.splitlines()[-1])


def use_judges() -> None:
    """Let `import` find PyTorch and the other packages of build/judges."""
    sys.path.append(str(build_dir() / "judges"))


def check_judges(package: str, otherwise: str) -> None:
    """Refuse to continue without a package of build/judges.

    Raises
    ------
    UserError
        Tells what to do, or `otherwise`.
    """
    if not (build_dir() / "judges" / package).exists():
        raise UserError(
            f"{package} is not in build/judges: run scripts/build_caffe.py --judges, "
            f"or {otherwise}"
        )


def made_net(net: Any) -> Any:
    """Return the network of a NetSpec, in the TRAIN phase."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")
        path.write_text(str(net.to_proto()))
        return import_caffe().Net(str(path), import_caffe().TRAIN)


def loss_net(
    name: str,
    activation: str,
    logits: NDArray[np.float32],
    label: NDArray[np.float32],
    python: bool = False,
) -> Any:
    """Return a network that ends in a loss, after one pass forward and backward."""
    caffe = import_caffe()
    net = caffe.NetSpec()
    net.x = caffe.layers.Input(input_param={"shape": {"dim": list(logits.shape)}})
    net.label = caffe.layers.Input(input_param={"shape": {"dim": list(label.shape)}})
    # A learnable factor of 1, so that the loss has something to train.
    net.score = caffe.layers.Scale(net.x, axis=0, num_axes=0)
    losses = parse_losses(name, activation, python=python)
    blobs = {"x": logits, "label": label}
    if any(loss.cells for loss in losses):
        blobs["cells"] = cells_of_batch(label, logits.shape)
        net.cells = caffe.layers.Input(
            input_param={"shape": {"dim": list(logits.shape)}}
        )
    loss_layers(caffe, net, losses, None)
    made = made_net(net)
    for blob, values in blobs.items():
        made.blobs[blob].data[...] = values
    made.forward()
    made.backward()
    return made


def median(figures: list[dict[str, float]], digits: int = 2) -> dict[str, float]:
    """Return the median of each figure over the rounds."""
    return {
        name: round(float(np.median([f[name] for f in figures])), digits)
        for name in figures[0]
    }
