"""Every native layer, its Python twin and the NumPy function agree, through pycaffe."""

import os
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_family import BY_TYPE, FAMILY, labels, layer_text, logits, loss_net, run

from randrop.losses.registry import LAYERS

shapes = st.tuples(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 7)
) | st.tuples(*[st.integers(1, 4)] * 5)


@pytest.mark.parametrize("member", FAMILY, ids=lambda m: m.type)
def test_native_equals_python_equals_numpy(caffe, tmp_path_factory, member):
    largest = {"loss": 0.0, "grad": 0.0}

    @settings(deadline=None, max_examples=120)
    @given(
        shapes,
        member.options,
        st.integers(0, 2**32 - 1),
        st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        st.sampled_from([0.1, 3.0, 30.0]),
    )
    def check(shape, options, seed, share, spread):
        rng = np.random.default_rng(seed)
        t = labels(rng, member, options, shape, share)
        x = logits(rng, member, options, shape, spread)
        wanted = member.function(x.astype(float), t, **options)
        assert np.isfinite(wanted.loss)
        for python in (False, True):
            text = layer_text(member, options, python, 3.7)
            folder = tmp_path_factory.mktemp("net")
            net = loss_net(caffe, folder, shape, t.shape, text)
            loss, grad, mask = run(net, x, t)
            if mask is not None:
                np.testing.assert_array_equal(mask, wanted.mask)
            assert loss == pytest.approx(wanted.loss, rel=2e-5, abs=1e-6)
            scale = abs(wanted.grad).max()
            np.testing.assert_allclose(
                grad, 3.7 * wanted.grad, rtol=1e-4, atol=2e-5 * scale + 1e-9
            )
            off = abs(loss - wanted.loss) / max(1.0, abs(wanted.loss))
            largest["loss"] = max(largest["loss"], off)
            off = abs(grad / 3.7 - wanted.grad).max() / max(scale, 1e-30)
            largest["grad"] = max(largest["grad"], off if scale > 1e-6 else 0.0)

    check()
    print(
        f"{member.type}: largest difference to NumPy in double precision, relative: "
        f"loss {largest['loss']:.1e}, gradient {largest['grad']:.1e} of its largest"
    )


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize(
    "kind",
    [m.type for m in FAMILY if "include_background" in LAYERS[m.type].parameters],
)
def test_background_may_be_left_out(caffe, tmp_path, kind, python):
    member = BY_TYPE[kind]
    options = {"include_background": False}
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (2, 3, 5, 4)).astype(np.float32)
    t = labels(rng, member, {"activation": "SOFTMAX"}, x.shape)
    text = layer_text(member, options, python)
    loss, grad, _ = run(loss_net(caffe, tmp_path, x.shape, t.shape, text), x, t)
    wanted = member.function(x.astype(float), t, **options)
    assert loss == pytest.approx(wanted.loss, rel=1e-5)
    np.testing.assert_allclose(grad, wanted.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SoftmaxFocalCELoss", {"class_alpha": [0.2, 0.5, 1.0]}),
        ("ExpLogLoss", {"label_frequency": [10.0, 0.0, 1.0]}),
    ],
)
def test_lists_of_one_value_a_class(caffe, tmp_path, kind, options, python):
    member = BY_TYPE[kind]
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (2, 3, 4, 3, 2)).astype(np.float32)
    t = rng.integers(0, 3, (2, 4, 3, 2)).astype(np.float32)
    text = layer_text(member, options, python)
    loss, grad, _ = run(loss_net(caffe, tmp_path, x.shape, t.shape, text), x, t)
    wanted = member.function(x.astype(float), t, **options)
    assert loss == pytest.approx(wanted.loss, rel=1e-5)
    np.testing.assert_allclose(grad, wanted.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("logit", [-90, -96, -100, -102])
@pytest.mark.parametrize("kind", ["SoftDiceLoss", "TopKDiceLoss"])
@pytest.mark.parametrize("squared", [False, True])
def test_a_class_with_hardly_a_probability_is_not_empty(
    caffe, tmp_path, kind, squared, logit
):
    """Unlabelled, predicted with 1e-44: as wrong as with 0.1 if smooth is 0."""
    member = BY_TYPE[kind]
    options = {"smooth": 0.0, "squared": squared, "activation": "SOFTMAX"}
    x = np.zeros((1, 3, 5, 7), np.float32)
    x[:, 2] = logit
    t = np.zeros((1, 1, 5, 7), np.float32)
    t[..., 0] = 1
    text = layer_text(member, options, python=False)
    loss, grad, _ = run(loss_net(caffe, tmp_path, x.shape, t.shape, text), x, t)
    wanted = member.function(x.astype(float), t, **options)
    assert loss == pytest.approx(wanted.loss, rel=1e-5)
    np.testing.assert_allclose(grad, wanted.grad, rtol=1e-4, atol=1e-6)


def test_twins_have_the_options_of_the_proto(caffe):
    """Both have the same options with the same defaults."""
    from randrop import layers

    parameters = caffe.proto.caffe_pb2.LayerParameter()
    for member in FAMILY:
        twin = getattr(layers, member.twin)
        defaults = twin.defaults(twin.__new__(twin))
        message = getattr(parameters, member.field)
        for name, value in defaults.items():
            if name in ("ignore_label", "normalization"):
                continue
            about = message.DESCRIPTOR.fields_by_name[name]
            found = getattr(message, name)
            if about.enum_type:
                found = about.enum_type.values_by_number[found].name
            assert (list(found) if about.is_repeated else found) == (
                list(value) if about.is_repeated else value
            ), (member.type, name)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("SigmoidFocalCELoss", "SigmoidFocalLoss"),
        ("SoftmaxFocalCELoss", "SoftmaxFocalLoss"),
        ("SoftDiceLoss", "DiceLoss"),
    ],
)
def test_second_names(caffe, tmp_path, new, old):
    import dataclasses

    from randrop import layers

    assert getattr(layers, f"{new}Layer") is getattr(layers, f"{old}Layer")
    member = BY_TYPE[new]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    results = []
    for name in (new, old):
        text = layer_text(dataclasses.replace(member, type=name), {})
        t = labels(np.random.default_rng(1), member, {"activation": "SOFTMAX"}
                   if new == "SoftDiceLoss" else {}, x.shape)  # fmt: skip
        results.append(run(loss_net(caffe, tmp_path, x.shape, t.shape, text), x, t))
    assert results[0][0] == results[1][0] != 0
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SigmoidTopKCELoss", {"k_percent": 30.0}),
        ("SigmoidTopKCELoss", {"selection": "PERCENT", "positive_weight": 3.0}),
        ("SoftmaxTopKLoss", {"negatives_per_positive": 3.0}),
        ("SigmoidFocalCELoss", {"alpha_mode": "PER_IMAGE", "alpha": 0.3}),
        ("ExpLogLoss", {"weight_dice": 0.0, "gamma_dice": 2.0}),
        ("ExpLogLoss", {"weight_cross": 0.0, "gamma_cross": 2.0}),
    ],
)
def test_options_without_effect_are_warned_of(caffe, tmp_path, kind, options):
    """Not refused: a prototxt that was accepted before is still accepted."""
    from randrop.pycaffe.build import caffe_binary

    member = BY_TYPE[kind]
    channels = {"score": 2, "t": 1 if member.softmax else 2}
    inputs = (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ dim: 1 dim: {n} dim: 3 dim: 4 }} }} }}\n"
        for name, n in channels.items()
    )
    path = tmp_path / "net.prototxt"
    path.write_text("".join(inputs) + layer_text(member, options))
    told = subprocess.run(
        [caffe_binary(), "time", "-model", path, "-iterations", "1"],
        env={**os.environ, "GLOG_minloglevel": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{[*options][-1]} has no effect" in told.stderr
