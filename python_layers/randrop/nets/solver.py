"""The solver file."""

import json


def solver(
    net: str,
    iterations: int,
    test_iterations: int,
    snapshot_prefix: str,
    learning_rate: float = 1e-3,
    test_interval: int = 200,
    snapshot: int = 1000,
    seed: int = 1,
    gpu: bool = False,
) -> str:
    """Return the prototxt of a solver that trains from scratch.

    It uses Adam, whose steps do not depend on the scale of the loss: sums over pixels
    and means train alike. The rate falls linearly to 0. Caffe adds weight decay to the
    gradient before Adam normalises it: 1e-5 is negligible against the gradient of a
    loss summed over pixels; for a mean, divide it by the number of pixels.
    """
    return "\n".join(
        [
            f"net: {_quoted(net)}",
            'type: "Adam"',
            f"base_lr: {learning_rate:g}",
            'lr_policy: "poly"',
            "power: 1",
            "momentum: 0.9",
            "momentum2: 0.999",
            "weight_decay: 1e-5",
            f"max_iter: {iterations}",
            f"test_iter: {test_iterations}",
            f"test_interval: {test_interval}",
            "test_initialization: false",
            "display: 10",
            "average_loss: 10",
            f"snapshot: {snapshot}",
            f"snapshot_prefix: {_quoted(snapshot_prefix)}",
            f"random_seed: {seed}",
            f"solver_mode: {'GPU' if gpu else 'CPU'}",
            "",
        ]
    )


def _quoted(text: str) -> str:
    """Return a string quoted for prototxt: JSON's quoting, except for Unicode."""
    return json.dumps(text, ensure_ascii=False)
