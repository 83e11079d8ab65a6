"""Losses over cells: native layer, Python twin and NumPy function agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_family import BY_TYPE, labels, layer_text, logits, loss_net, run

from randrop.errors import UserError
from randrop.losses.registry import LAYERS

KINDS = [kind for kind, layer in LAYERS.items() if layer.cells]
every = pytest.mark.parametrize("kind", KINDS)
# From a pixel to more than one thread takes at a time.
SHAPES = [(2, 3, 9, 7), (1, 1, 1, 1), (1, 4, 3, 4, 5), (3, 2, 17), (1, 2, 181, 191)]


def cells_of(rng, shape, most):
    """Cells in runs along the rows, as those of lesions are."""
    n, c, *spatial = shape
    area = int(np.prod(spatial))
    length = rng.integers(1, 40)
    runs = rng.integers(0, min(most, area), (n, c, area // length + 1))
    return np.repeat(runs, length, 2)[..., :area].reshape(shape)


@every
def test_native_equals_python_equals_numpy(caffe, tmp_path_factory, kind):
    member = BY_TYPE[kind]

    @settings(deadline=None, max_examples=60)
    @given(
        st.sampled_from(SHAPES),
        member.options,
        st.integers(0, 2**32 - 1),
        st.sampled_from([0.0, 0.05, 0.5]),
        st.sampled_from([0.1, 3.0, 30.0]),
        st.sampled_from([1, 3, 20, 1000]),
    )
    def check(shape, options, seed, share, spread, most):
        rng = np.random.default_rng(seed)
        t = labels(rng, member, options, shape, share)
        x = logits(rng, member, options, shape, spread)
        cells = cells_of(rng, shape, most)
        wanted = member.function(x.astype(float), t, cells=cells, **options)
        assert np.isfinite(wanted.loss)
        for python in (False, True):
            text = layer_text(member, options, python, 3.7, cells=True)
            folder = tmp_path_factory.mktemp("net")
            net = loss_net(caffe, folder, shape, t.shape, text, cells=True)
            loss, grad, _ = run(net, x, t, cells)
            assert loss == pytest.approx(wanted.loss, rel=2e-5, abs=1e-6)
            scale = abs(wanted.grad).max()
            np.testing.assert_allclose(
                grad, 3.7 * wanted.grad, rtol=1e-4, atol=2e-5 * scale + 1e-9
            )

    check()


@every
def test_a_twin_of_a_bad_cell_stops(caffe, tmp_path, kind):
    member, shape = BY_TYPE[kind], (1, 2, 3, 4)
    text = layer_text(member, {"activation": "SIGMOID"}, python=True, cells=True)
    net = loss_net(caffe, tmp_path, shape, shape, text, cells=True)
    with pytest.raises(UserError, match=r"cell 12 at \(0, 0, 0, 0\); allowed"):
        run(net, np.zeros(shape), np.zeros(shape), np.full(shape, 12))


@pytest.mark.parametrize("python", [False, True])
def test_cells_have_a_gradient_of_zero(caffe, tmp_path, python):
    """A net with force_backward requests it of the twin; the native layer has none."""
    member, shape = BY_TYPE["SoftDiceLoss"], (1, 2, 3, 4)
    options = {"activation": "SIGMOID"}
    text = layer_text(member, options, python, cells=True)
    text = "force_backward: true " + text
    net = loss_net(caffe, tmp_path, shape, shape, text, cells=True)
    loss, grad, _ = run(net, np.ones(shape), np.zeros(shape), np.zeros(shape))
    assert loss > 0
    assert grad.any()
    assert not net.blobs["cells"].diff.any()


def test_other_twins_take_no_cells(caffe, tmp_path):
    member, shape = BY_TYPE["TopKDiceLoss"], (1, 2, 3, 4)
    text = layer_text(member, {"activation": "SIGMOID"}, python=True, cells=True)
    with pytest.raises(UserError, match="3 bottoms and 2 tops: it needs logits and"):
        loss_net(caffe, tmp_path, shape, shape, text, cells=True)
