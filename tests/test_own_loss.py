"""The page about a loss of one's own: its layer is a loss with the right gradient."""

import importlib
import sys

import numpy as np
import pytest
from doc_blocks import blocks

PAGE = "docs/how-to/a-loss-of-your-own.md"
INPUTS = "".join(
    f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param '
    "{ shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }\n"
    for name in ("score", "label")
)


@pytest.fixture
def build(caffe, tmp_path, monkeypatch):
    """A function that makes the page's net, with one text replaced."""
    found = [block for block in blocks() if block.page == PAGE]
    (program,) = (b.text for b in found if "caffe.Layer" in b.text)
    (layer,) = (b.text for b in found if "my_losses" in b.text and b is not program)
    (tmp_path / "my_losses.py").write_text(program)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(old="", new=""):
        path = tmp_path / "net.prototxt"
        path.write_text(INPUTS + "force_backward: true\n" + layer.replace(old, new))
        net = caffe.Net(str(path), caffe.TRAIN)
        rng = np.random.default_rng(0)
        net.blobs["score"].data[...] = rng.normal(scale=3, size=(2, 3, 4, 5))
        net.blobs["label"].data[...] = rng.random((2, 3, 4, 5)) < 0.3
        return net

    yield make
    sys.modules.pop("my_losses", None)
    importlib.invalidate_caches()


def losses_along(net, steps):
    blob = net.blobs["score"]
    before, direction = blob.data.copy(), blob.diff.copy()
    direction /= np.linalg.norm(direction)
    found = []
    for step in steps:
        blob.data[...] = before + step * direction
        found.append(float(net.forward()["loss"]))
    blob.data[...] = before
    return found


def test_its_gradient_is_the_slope(build):
    net = build()
    net.forward()
    net.backward()
    length = np.linalg.norm(net.blobs["score"].diff)
    less, more = losses_along(net, (-1e-2, 1e-2))
    assert (more - less) / 2e-2 == pytest.approx(length, rel=1e-3)
    assert length > 1


def test_with_weight_1_it_is_caffes_cross_entropy(build, caffe, tmp_path):
    ours = build('{"weight": 10}', '{"weight": 1}')
    path = tmp_path / "caffes.prototxt"
    path.write_text(
        INPUTS + 'force_backward: true\nlayer { name: "loss" bottom: "score" '
        'bottom: "label" top: "loss" type: "SigmoidCrossEntropyLoss" }'
    )
    theirs = caffe.Net(str(path), caffe.TRAIN)
    for name in ("score", "label"):
        theirs.blobs[name].data[...] = ours.blobs[name].data
    assert ours.forward()["loss"] == pytest.approx(theirs.forward()["loss"], rel=1e-6)
    ours.backward()
    theirs.backward()
    found, expected = (net.blobs["score"].diff for net in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_the_loss_weight_scales_the_gradient(build):
    gradients = []
    for weight in ("1", "3.5"):
        net = build("loss_weight: 1", f"loss_weight: {weight}")
        net.forward()
        net.backward()
        gradients.append(net.blobs["score"].diff.copy())
    np.testing.assert_allclose(gradients[1], 3.5 * gradients[0], rtol=1e-6)
