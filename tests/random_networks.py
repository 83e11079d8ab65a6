"""Small random networks of Caffe, translated and folded, compute what Caffe computes.

    python tests/random_networks.py --networks 500 --damaged 500 [--seed 0]

Each network has random layers with random options: shared weights, groups, dilation,
odd sides, blobs that are read twice, layers in place. Its output by pycaffe must equal
that of the folded network, of onnxruntime and of OpenCV, for two sizes of the input,
unless a message refuses it by name; and what the ONNX file says of its output must be
true. Damaged networks (numbers, blobs, names, layers) must end in a translation or in a
message with the name of the file. What Caffe refuses must be refused.
tests/test_random_networks.py runs some of them.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import conftest  # noqa: F401  It says where the project is.
import numpy as np
import small_unet
from damaged_networks import assert_damaged_is_refused_or_translated, caffe_accepts
from random_layers import make

from randrop.errors import UserError
from randrop.exchange import onnx_model
from randrop.prediction import folding, without_caffe

RUNTIMES = {
    "onnxruntime": without_caffe.in_onnxruntime,
    "opencv": without_caffe.in_opencv,
}


def compare(caffe, folder, seed, runtimes=tuple(RUNTIMES)):
    """Compare all ways to compute a random network; return what was refused.

    Raises
    ------
    AssertionError
    """
    deploy, weights = folder / "deploy.prototxt", folder / "final.caffemodel"
    text, shape = make(seed)
    deploy.write_text(text)
    net = caffe.Net(str(deploy), caffe.TEST)
    small_unet.randomise(net, seed)
    net.save(str(weights))
    rng = np.random.default_rng(seed)
    larger = (*shape[:2], shape[2] + rng.integers(1, 9), shape[3] + rng.integers(1, 9))
    batches = [rng.normal(0, 1, s).astype(np.float32) for s in (shape, larger)]
    expected = [_by_caffe(net, batch) for batch in batches]
    if not all(np.isfinite(values).all() for values in expected):
        # A window outside the sides gives the smallest number that there is.
        model_is_refused(deploy, weights)
        return ["translation"]
    folded = folding.fold(deploy, weights)
    if folded:
        parts = folder / "folded.prototxt", folder / "folded.caffemodel"
        parts[0].write_text(folded.deploy)
        parts[1].write_bytes(folded.weights)
        other = caffe.Net(*map(str, parts), caffe.TEST)
        for batch, values in zip(batches, expected, strict=True):
            _assert_same(_by_caffe(other, batch), values, "folded")
    try:
        model, _, multiple = onnx_model.convert(deploy, weights)
    except UserError as error:
        assert str(error).startswith(f"{deploy}: layer '"), error
        return ["translation"]
    refused = []
    for name in runtimes:
        try:
            forward = RUNTIMES[name](model)
            for batch, values in zip(batches, expected, strict=True):
                found = forward(batch)
                _assert_same(found, values, name)
            if name == "onnxruntime":
                sides = [multiple * (side // multiple + 2) for side in shape[2:]]
                batch = np.zeros((shape[0] + 1, shape[1], *sides), np.float32)
                if "Reshape" not in text:
                    _assert_declared(model, batch, forward(batch))
        except UserError as error:
            assert name == "opencv", error
            refused.append(name)
    return refused


def model_is_refused(deploy, weights):
    """Assert that a network is not translated."""
    try:
        onnx_model.convert(deploy, weights)
    except UserError as error:
        assert "smaller than the stride" in str(error)
        return
    raise AssertionError("translated, though no program computes it")


def _by_caffe(net, batch):
    net.blobs[net.inputs[0]].reshape(*batch.shape)
    net.blobs[net.inputs[0]].data[...] = batch
    return net.forward()[net.outputs[0]].copy()


def _assert_same(found, expected, what):
    assert found.shape == expected.shape, what
    scale = max(1, np.abs(expected).max())
    assert np.abs(found - expected).max() < 1e-4 * scale, what


def _assert_declared(model, batch, found):
    """Assert that the names and numbers of the file's axes are true."""
    graph = model.graph
    axes = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (graph.input[0], graph.output[0])
    ]
    sides = dict(zip(axes[0], batch.shape, strict=True))
    assert len(axes[1]) == found.ndim
    for axis, side in zip(axes[1], found.shape, strict=True):
        known = axis if isinstance(axis, int) else sides.get(axis, side)
        assert known == side, (axes, batch.shape, found.shape)


def main():
    """Run and print the counts; return 1 if anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, number in (("networks", 200), ("damaged", 200), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=number)
    options = parser.parse_args()
    os.environ.setdefault("GLOG_minloglevel", "2")
    from randrop.pycaffe.build import import_caffe

    caffe = import_caffe()
    ends, failed = Counter(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(options.seed, options.seed + options.networks):
            try:
                ends.update(compare(caffe, folder, seed) or ["equal"])
            except AssertionError as error:
                failed += 1
                print(f"--seed {seed} --networks 1: {error}", flush=True)
        for seed in range(options.seed, options.seed + options.damaged):
            try:
                deploy, good = assert_damaged_is_refused_or_translated(folder, seed)
                ends["damaged, " + ("translated" if good else "refused")] += 1
                assert not good or caffe_accepts(caffe, deploy), "Caffe refuses it"
            except Exception as error:
                failed += 1
                words = f"{type(error).__name__}: {error}"
                print(f"--seed {seed} --damaged 1: {words}", flush=True)
    print(dict(ends), f"failed: {failed}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
