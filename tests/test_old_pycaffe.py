"""The Python twins in Caffes that tell a Python layer less, or by other names."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from loss_family import loss_net, run

from randrop import losses


def twin(attribute, phase, axes="any"):
    done = subprocess.run(
        [
            sys.executable,
            REPOSITORY / "tests/old_caffe_child.py",
            attribute,
            phase,
            axes,
        ],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "python_layers")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loss, grad = json.loads(done.stdout)
    return loss, np.array(grad), done.stderr


def wanted(drop=True, **options):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 1, 5, 4)).astype(np.float32)
    label = rng.random((2, 1, 5, 4)) < 0.2
    return losses.random_drop(logits, label, drop=drop, seed=5, **options)


@pytest.mark.parametrize("axes", ["any", "four"])
@pytest.mark.parametrize("attribute", ["param_str", "param_str_"])
def test_options_are_read_by_either_name(attribute, axes):
    loss, grad, said = twin(attribute, "0", axes)
    result = wanted(schedule="LINEAR")
    assert loss == pytest.approx(result.loss, rel=1e-6)
    np.testing.assert_allclose(grad, 3.5 * result.grad, rtol=1e-5, atol=1e-9)
    assert "phase" not in said


def test_a_caffe_that_passes_no_options_gets_the_defaults():
    loss, _, _ = twin("none", "0")
    assert loss == pytest.approx(wanted().loss, rel=1e-6)


@pytest.mark.parametrize(
    ("phase", "drop"), [("0", True), ("1", False), ("train", True), ("test", False)]
)
def test_the_phase_is_a_number_or_a_word(phase, drop):
    loss, _, _ = twin("param_str", phase)
    assert loss == pytest.approx(wanted(drop, schedule="LINEAR").loss, rel=1e-6)
    assert wanted(True, schedule="LINEAR").loss != wanted(False, schedule="LINEAR").loss


def test_without_a_phase_it_drops_and_says_so():
    loss, _, said = twin("param_str_", "none")
    assert loss == pytest.approx(wanted(schedule="LINEAR").loss, rel=1e-6)
    assert "does not tell Python layers the phase" in said
    assert "schedule_type" in said


def test_the_real_pycaffe_by_the_old_name(caffe, tmp_path, monkeypatch):
    (tmp_path / "old_names.py").write_text(
        "from randrop.layers import SigmoidTopKCELossLayer\n\n\n"
        "class Old(SigmoidTopKCELossLayer):\n"
        "    def setup(self, bottom, top):\n"
        "        self.param_str_ = self.param_str\n"
        "        del self.param_str, self.phase\n"
        "        super().setup(bottom, top)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = """
      layer {
        name: "loss" type: "Python" bottom: "score" bottom: "t"
        top: "loss" loss_weight: 2
        python_param {
          module: "old_names" layer: "Old"
          param_str: '{"selection": "PERCENT", "k_percent": 20}'
        }
      }"""
    rng = np.random.default_rng(2)
    x, t = rng.normal(size=(2, 1, 6, 5)), rng.random((2, 1, 6, 5)) < 0.3
    net = loss_net(caffe, tmp_path, x.shape, t.shape, text)
    loss, grad, _ = run(net, x.astype(np.float32), t.astype(np.float32))
    result = losses.sigmoid_top_k(x, t, selection="PERCENT", k_percent=20)
    assert loss == pytest.approx(result.loss, rel=1e-5)
    np.testing.assert_allclose(grad, 2 * result.grad, rtol=1e-4, atol=1e-8)
