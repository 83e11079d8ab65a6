"""Logits that are NaN or infinite show in the loss, those of ignored pixels do not."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from loss_family import layer_text, loss_net, run
from nonfinite_child import cases, ignored_gradient
from test_vectors import FLAGS, SETS

HERE = Path(__file__).parent


def fails(name, member, options, where, loss, ignored_is_zero):
    """Whether a result breaks the rule."""
    # Minus infinity rules out a class other than the softmax's true one.
    ruled_out = (
        name.endswith("-inf")
        and where in ("other", "background")
        and member.is_softmax(options)
    )
    if where == "ignored" or ruled_out:
        return not np.isfinite(loss) or not ignored_is_zero
    return not np.isnan(loss) or not ignored_is_zero


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_shows_what_is_no_number_and_does_not_warn(dtype):
    wrong = []
    for name, member, options, x, t, where in cases():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = member.function(x.astype(dtype), t, **options)
        rest = ignored_gradient(member, options, result.grad, t)
        zero = (rest == 0).all()
        if fails(name, member, options, where, result.loss, zero):
            wrong.append(f"{name}: {result.loss}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("vectors", SETS)
def test_every_native_loss_shows_what_is_no_number(caffe, vectors):
    if SETS[vectors] not in FLAGS:
        pytest.skip(f"this processor has no {vectors}")
    child = subprocess.run(
        [sys.executable, HERE / "nonfinite_child.py"],
        env={
            **os.environ,
            "RANDROP_VECTORS": vectors,
            "PYTHONPATH": os.pathsep.join([str(HERE.parent / "python_layers")]),
            "GLOG_minloglevel": "2",
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = json.loads(child.stdout)
    wrong = [
        f"{name}: {found[name][0]}"
        for name, member, options, _, _, where in cases()
        if fails(name, member, options, where, *found[name])
    ]
    assert len(found) == len(list(cases()))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("python", [False, True])
def test_minus_infinity_rules_a_class_out(caffe, tmp_path, python):
    """Loss and gradient equal those of a logit low enough to make p = 0."""
    seen = 0
    for name, member, options, x, t, where in cases():
        if not (name.endswith("-inf") and where == "other" and "3x3x5x9" in name):
            continue
        if member.is_softmax(options):
            text = layer_text(member, options, python, mask=False)
            net = loss_net(caffe, tmp_path, x.shape, t.shape, text)
            loss, grad, _ = run(net, x, t)
            low_loss, low_grad, _ = run(net, np.maximum(x, -1e30), t)
            assert loss == low_loss, name
            np.testing.assert_array_equal(grad, low_grad, name)
            seen += 1
    assert seen > 8
