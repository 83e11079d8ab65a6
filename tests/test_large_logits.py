"""Finite logits, however large, give no NaN, and the vectors agree with one pixel."""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from loss_family import BY_TYPE, layer_text, loss_net, run
from test_vectors import FLAGS, SETS

from randrop.pycaffe.build import import_caffe

HERE = Path(__file__).parent
LARGE = (100.0, 1e4, 1e19, 1e30, 3e38)
SIZES = (1, 8, 16, 257)
MORE = {
    "ExpLogLoss": (
        {"gamma_cross": 1.5},
        {"gamma_cross": 20.0, "weight_cross": 0.0},
        {"gamma_cross": 20.0, "label_frequency": [1.0, 0.0]},
    ),
}


def cases():
    """Yield a name, type, options, logits and labels of every case."""
    for kind, member in BY_TYPE.items():
        for number, options in enumerate((*member.examples, *MORE.get(kind, ()))):
            for size in SIZES:
                for large in LARGE:
                    rng = np.random.default_rng([number, size])
                    x = rng.choice([-large, 0, large], (2, 2, size))
                    # One class is missing in every third case.
                    high = 1 if number % 3 == 2 else 2
                    shape = (2, 1, size) if member.is_softmax(options) else x.shape
                    t = rng.integers(0, high, shape)
                    name = f"{kind} {number} {options} {size} {large:g}"
                    yield name, member, options, x.astype(np.float32), t


@pytest.mark.parametrize("vectors", SETS)
def test_no_loss_of_finite_logits_is_nan(caffe, vectors):
    if SETS[vectors] not in FLAGS:
        pytest.skip(f"this processor has no {vectors}")
    folders = [HERE, HERE.parent / "python_layers"]
    child = subprocess.run(
        [sys.executable, __file__],
        env={
            **os.environ,
            "RANDROP_VECTORS": vectors,
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "GLOG_minloglevel": "2",
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = json.loads(child.stdout)
    assert found["cases"] > 300
    assert not found["nan"], "\n".join(found["nan"])


def test_no_numpy_loss_of_finite_logits_is_nan():
    nan = []
    for name, member, options, x, t in cases():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = member.function(x, t, **options)
        if np.isnan(result.loss) or np.isnan(result.grad).any():
            nan.append(name)
    assert not nan, "\n".join(nan)


def exp_log_of(caffe, folder, gamma, large, size):
    """Return the loss of `size` equal pixels whose true class has the lower logit."""
    options = {"gamma_cross": gamma}
    x = np.zeros((1, 2, size), np.float32)
    x[:, 0] = large
    t = np.ones((1, 1, size))
    net = loss_net(
        caffe, folder, x.shape, t.shape, layer_text(BY_TYPE["ExpLogLoss"], options)
    )
    return run(net, x, t)[0]


@pytest.mark.parametrize("gamma, large", [(1.5, 1e26), (10, 1e4), (20, 100), (2, 1e18)])
def test_a_large_power_is_not_cut_off(caffe, tmp_path, gamma, large):
    """The cross term is a mean over pixels: their number does not matter."""
    one = exp_log_of(caffe, tmp_path, gamma, large, 1)
    for size in (8, 16, 300):
        many = exp_log_of(caffe, tmp_path, gamma, large, size)
        assert many == pytest.approx(one, rel=1e-4), size


def main():
    """Write the cases that give NaN."""
    caffe = import_caffe()
    number, nan = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for name, member, options, x, t in cases():
            text = layer_text(member, options)
            net = loss_net(caffe, Path(folder), x.shape, t.shape, text)
            loss, grad, _ = run(net, x, t)
            number += 1
            if np.isnan(loss) or np.isnan(grad).any():
                nan.append(f"{name}: loss {loss}, {np.isnan(grad).sum()} gradients")
    json.dump({"cases": number, "nan": nan}, sys.stdout)


if __name__ == "__main__":
    main()
