"""Time PyTorch's losses on a GPU: `python -m randrop.benchmarks.torch_gpu TASK`.

The Python that runs it needs PyTorch with CUDA and NumPy, and nothing of Caffe.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch

from randrop.benchmarks.gpu import arrays, seconds
from randrop.benchmarks.torch_losses import of_pytorch


def timed(loss: Any, x: torch.Tensor, t: torch.Tensor, read: bool) -> float:
    """Return the seconds of one pass forward and backward.

    Parameters
    ----------
    loss : callable
    x, t : torch.Tensor
        Logits and labels.
    read : bool
        Read each loss before the next pass, as a solver does that prints it.
    """

    def run() -> None:
        x.grad = None
        value = loss(x, t)
        value.backward()
        if read:
            value.item()

    wait: Callable[[], Any] = torch.cuda.synchronize if x.is_cuda else int
    return seconds(run, wait)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of each loss of `task`, and what ran them."""
    where = torch.device(task["device"])
    logits, label = arrays(task["activation"], task["shape"])
    x = torch.from_numpy(logits).to(where).requires_grad_()
    t = torch.from_numpy(label).to(where)
    losses = of_pytorch()[task["activation"]]
    return {
        "version": torch.__version__,
        "losses": {
            name: [timed(losses[name], x, t, read) for read in (False, True)]
            for name in task["losses"]
            if name in losses
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
